"""An unknown user is a wrong password: same words, same work, same answer each time.

So are a disabled user, one without a verifier of the hash, and one without any secret.
Time is measured elsewhere; here calls are counted.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from logins import OPEN, client, login, server
from sasl_auxprop.memory import MemoryStore
from sasl_auxprop.sasldb.store import SqliteStore
from sasl_core import AuthenticationError, Result, Server
from sasl_core import verifier as verifier_module
from sasl_core.needs import Change
from sasl_core.plugin import Blocking, UserName
from sasl_core.runners import blocking as blocking_runner
from store_kit import make_verifier

SCRAM = "SCRAM-SHA-256"
KINDS = ("known", "ghost", "locked", "oldhash", "empty")
WRONG = "not-the-password"
RIGHT = "the-right-password"


def filled(kind: str, path: Path) -> Any:
    """A store of one kind with a user of every sort but a ghost."""
    users: Any = MemoryStore() if kind == "memory" else SqliteStore(path / "sasldb.sqlite")
    if kind == "sasldb":
        users.create()
    verifier, old = make_verifier(RIGHT), make_verifier(RIGHT, "SHA-1")
    for name, values, disabled in (
        ("known", (verifier,), False),
        ("locked", (verifier,), True),
        ("oldhash", (old,), False),
        ("empty", (), False),
    ):
        change = Change({"authPassword": values} if values else {}, create=True, disabled=disabled)
        assert users.write(UserName(name), change) is Result.OK
    return users


@contextmanager
def watched(users: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, list[str]]]:
    """A server whose store and derivations note each call, by its name."""
    calls: list[str] = []

    def spy(owner: Any, name: str, label: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def noted(*arguments: Any) -> Any:
            calls.append(label)
            return real(*arguments)

        monkeypatch.setattr(owner, name, noted)

    # A store that blocks nobody is read without its generator.
    spy(users, "read" if users.read_blocking is Blocking.NEVER else "lookup", "lookup")
    for name in ("update", "users", "decoy_secret"):
        spy(users, name, name)
    # The derivation runs under the runner's own name for it.
    monkeypatch.setattr(blocking_runner, "derive", verifier_module.derive)
    spy(blocking_runner, "derive", "derive")
    with server([users]) as owner:
        yield owner, calls


def told(error: AuthenticationError) -> tuple[object, ...]:
    """All that a peer may learn of an error."""
    return type(error), str(error), error.code, error.wire, error.result


def scram(owner: Server, user: str, nonce: str = "abcdefghijklmnop") -> tuple[list[bytes], Any]:
    """What a server says to a client that has a well-formed proof and no password."""
    with owner.session() as session:
        challenge = session.start(SCRAM, f"n,,n={user},r={nonce}".encode()).data or b""
        both = challenge.split(b",")[0]
        with pytest.raises(AuthenticationError) as caught:
            session.step(b"c=biws,%b,p=%b=" % (both, b"A" * 43))
        return [challenge, caught.value.wire or b""], told(caught.value)


def plain(owner: Server, user: str, word: str = WRONG) -> Any:
    with owner.session() as session:
        with pytest.raises(AuthenticationError) as caught:
            session.start("PLAIN", f"\0{user}\0{word}".encode())
        return told(caught.value)


BASE64 = set((string.ascii_letters + string.digits + "+/=").encode())


@pytest.mark.parametrize("kind", ["memory", "sasldb"])
def test_scram_says_the_same(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages have the same number, length, alphabet and rounds; errors the same bytes."""
    with watched(filled(kind, tmp_path), monkeypatch) as (owner, calls):
        shapes, errors, works = set(), set(), set()
        _ = scram(owner, "warmup")
        for name in KINDS * 2:
            calls.clear()
            (challenge, last), error = scram(owner, name)
            nonce, salt, rounds = challenge.split(b",")
            assert set(nonce[2:]) <= BASE64
            assert set(salt[2:]) <= BASE64
            shapes.add((len(nonce), len(salt), rounds, len(challenge), last))
            errors.add(error)
            works.add(tuple(calls))
    assert len(shapes) == len(errors) == len(works) == 1
    assert works == {("lookup",)}


@pytest.mark.parametrize("kind", ["memory", "sasldb"])
def test_plain_says_the_same(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look-up, one derivation and one and the same refusal, for everybody."""
    with watched(filled(kind, tmp_path), monkeypatch) as (owner, calls):
        errors, works = set(), set()
        _ = plain(owner, "warmup")
        for name in KINDS * 2:
            calls.clear()
            errors.add(plain(owner, name))
            works.add(tuple(calls))
            calls.clear()
            with pytest.raises(AuthenticationError) as caught:
                owner.checkpass(name, WRONG)
            errors.add(told(caught.value))
            works.add(tuple(calls))
    assert len(errors) == 1
    assert works == {("lookup", "derive")}


@pytest.mark.parametrize("kind", ["memory", "sasldb"])
@pytest.mark.parametrize("name", ["ghost", "locked", "known"])
def test_the_first_login_of_a_server_tells_nothing(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a new server has to fetch once it fetches for anybody."""
    with watched(filled(kind, tmp_path), monkeypatch) as (owner, calls):
        _ = plain(owner, name)
        assert calls == ["decoy_secret", "lookup", "derive"]


@pytest.mark.parametrize("kind", ["memory", "sasldb"])
def test_salts_are_the_same_each_time(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name has its salt, whoever bears it and however it is spelt; two names have two."""
    with watched(filled(kind, tmp_path), monkeypatch) as (owner, _):
        salts = {
            name: {scram(owner, spelling)[0][0].split(b",")[1] for spelling in (name, name, odd)}
            for name, odd in ((name, f" {name[0]}\u00ad{name[1:]} ") for name in KINDS)
        }
    assert all(len(each) == 1 for each in salts.values())
    assert len(set.union(*salts.values())) == len(KINDS)


def test_salts_outlive_the_server(tmp_path: Path) -> None:
    """After a restart with the same file, and in another process's server, they are the same."""
    users = filled("sasldb", tmp_path)
    seen = []
    for _ in range(2):
        with server([users]) as owner:
            seen.append([scram(owner, name)[0][0].split(b",")[1:] for name in KINDS])
        users = SqliteStore(tmp_path / "sasldb.sqlite")
    with server([SqliteStore(tmp_path / "sasldb.sqlite")]) as owner:
        seen.append([scram(owner, name)[0][0].split(b",")[1:] for name in KINDS])
    assert seen[0] == seen[1] == seen[2]


def test_two_stores_have_two_secrets(tmp_path: Path) -> None:
    """A decoy's salt cannot be worked out from the name: it takes the store's own secret."""
    salts = set()
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        with server([filled("sasldb", tmp_path / str(number))]) as owner:
            salts.add(scram(owner, "ghost")[0][0].split(b",")[1])
    assert len(salts) == 2


@pytest.mark.parametrize("kind", ["memory", "sasldb"])
def test_nobody_but_the_known_user_gets_in(kind: str, tmp_path: Path) -> None:
    """With the right password too, a disabled user is refused as a wrong password is."""
    with server([filled(kind, tmp_path)]) as owner, client() as theirs:
        for name in KINDS:
            far = theirs.session(authid=name, password=RIGHT)
            near = owner.session()
            if name == "known":
                _ = login(far, near, [SCRAM])
                assert near.done
            else:
                with pytest.raises(AuthenticationError) as caught:
                    login(far, near, [SCRAM])
                assert caught.value.wire == b"e=invalid-proof"
        errors = {plain(owner, name, RIGHT) for name in ("ghost", "locked", "empty")}
        errors |= {plain(owner, "known", WRONG)}
        assert len(errors) == 1


def test_the_administrator_learns_the_truth(tmp_path: Path) -> None:
    """What the peer is not told stands in the audit event and in the session's detail."""
    events: list[Any] = []
    with server([filled("memory", tmp_path)], config=OPEN, audit=[events.append]) as owner:
        for name in KINDS:
            _ = scram(owner, name)
    results = {event.authid: event.result for event in events}
    assert results == {
        "known": Result.BADAUTH,
        "ghost": Result.NOUSER,
        "locked": Result.DISABLED,
        "oldhash": Result.NOUSERPASS,
        "empty": Result.NOUSERPASS,
    }
    assert len({event.detail for event in events}) == len(KINDS)


def test_a_decoy_believes_no_proof() -> None:
    """Even a proof that matched a decoy would let nobody in."""
    with server([MemoryStore()]) as owner, owner.session() as session:
        challenge = session.start(SCRAM, b"n,,n=ghost,r=abcdefghijklmnop").data or b""
        without = b"c=biws," + challenge.split(b",")[0]
        # A decoy's StoredKey is the hash of no ClientKey that anybody could find.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sasl_core.context.server.proof_matches", lambda *_: True)
            with pytest.raises(AuthenticationError) as caught:
                session.step(without + b",p=" + b"A" * 43 + b"=")
        assert caught.value.wire == b"e=invalid-proof"
        assert not session.done
