"""Conformance of a source of credentials: what fetches a client's access tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core._checks import is_a
from sasl_core.credentials import CredentialsPlug
from sasl_core.errors import AuthenticationError, BackendError
from sasl_core.needs import HttpResponse, NeedHttp
from sasl_core.testing.answers import ELSEWHERE, garbled, refusing
from sasl_core.testing.leaks import captured_logs, find_secret
from sasl_core.testing.setups import fail, require
from sasl_core.testing.source_subject import SourceSubject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl_core.errors import SaslError
    from sasl_core.needs import HttpRequest, Need
    from sasl_core.testing.source_subject import Counter, Fetched, Meddler

__all__ = ["CredentialsConformance"]

NEEDS_LIMIT: Final = 32
"""More than a source has any reason to ask for one token."""

BODY_LIMIT: Final = 1024 * 1024
"""Longest answer that it has any reason to take."""


def _failures() -> Iterator[tuple[str, SaslError]]:
    yield "an outage", BackendError(detail="the kit: out of order")
    yield "a lasting outage", BackendError(detail="the kit: gone", temporary=False)
    yield "a refusal", AuthenticationError(detail="the kit: refused")


class CredentialsConformance(SourceSubject):
    """Derive from it, set what `SourceSubject` lists, and let pytest collect the class."""

    def test_metadata(self) -> None:
        """It is a source of that name, can be used, and `token` makes a generator of needs."""
        with self.counter() as counter:
            source = counter.source
            require(
                is_a(source, CredentialsPlug),
                f"{self.name} is a {type(source).__name__}, no CredentialsPlug",
            )
            require(source.name == self.name, f"{self.name} is called {source.name!r}")
            require(is_a(source.human, bool), f"{self.name}: human is no bool")
            hosts = source.allowed_hosts
            require(
                hosts is None or (is_a(hosts, tuple) and all(is_a(host, str) for host in hosts)),
                f"{self.name}: allowed_hosts is no tuple of strings",
            )
            reason = source.availability()
            require(reason is None, f"{self.name} cannot be used: {reason}")
            body = source.token(self.request)
            require(
                is_a(body, Generator),
                f"{self.name}: token() gives a {type(body).__name__}, no generator of needs",
            )
            body.close()

    def test_gives_its_token(self) -> None:
        """It gives the token through each driver, and asks for the same with each."""
        kinds: dict[str, list[str]] = {}
        for driver in self.drivers:
            with self.counter(driver) as counter:
                kinds[driver] = self.honest(counter, why=f"({driver})").kinds()
        first = kinds[self.drivers[0]]
        require(
            all(asked == first for asked in kinds.values()),
            f"{self.name} does not ask for the same with each driver: {kinds!r}",
        )

    def test_fetches_anew(self) -> None:
        """Asked again it fetches again: to keep tokens is for whoever asks it."""
        with self.counter() as counter:
            first = self.honest(counter).kinds()
            again = self.honest(counter, why="asked again").kinds()
            require(
                again == first, f"{self.name} asked for {first!r}, and the next time for {again!r}"
            )

    def test_asks_for_what_it_may(self) -> None:
        """Its needs are a source's, few, within bounds, and show no secret to who logs them."""
        secrets = self.secrets()
        with self.counter() as counter:
            fetched = self.honest(counter)
        require(
            len(fetched.needs) <= NEEDS_LIMIT,
            f"{self.name} asks {len(fetched.needs)} times for one token",
        )
        for need in fetched.needs:
            require(
                find_secret(repr(need), secrets) is None,
                f"{self.name}: the repr of its {type(need).__name__} shows a secret",
            )
        for request in fetched.requests:
            self._within_bounds(request, secrets)
        total = sum(request.deadline for request in fetched.requests)
        require(
            total <= self.request.deadline,
            f"{self.name}: its requests may take {total:g} s, and it has "
            f"{self.request.deadline:g} s",
        )

    def _within_bounds(self, request: HttpRequest, secrets: set[str]) -> None:
        who = f"{self.name}: the {request.method} request"
        require(is_a(request.url, str) and is_a(request.body, bytes), f"{who} is mistyped")
        scheme, _, rest = request.url.partition("://")
        require(
            rest and scheme == ("http" if request.cleartext else "https"),
            f"{who} is for {scheme}://, with cleartext={request.cleartext}",
        )
        require(math.isfinite(request.deadline) and request.deadline > 0, f"{who} has no deadline")
        require(0 < request.limit <= BODY_LIMIT, f"{who} takes answers of {request.limit} bytes")
        # As it is written there, or as a form would write it.
        url = request.url
        shown = (url, _unquoted(url), _unquoted(url.replace("+", " ")))
        require(find_secret(shown, secrets) is None, f"{who} has a secret in its address")

    def test_servers_lead_nowhere(self) -> None:
        """What a server says of its provider takes no secret of a machine there."""
        with self.counter() as counter:
            if counter.source.human:
                return
            named = attrs.evolve(
                self.request,
                issuer=f"https://{ELSEWHERE}",
                client_id="conformance",
                scopes=("openid",),
            )
            self._stays(counter.fetch(request=named), "a server that names its own provider")

    def _stays(self, fetched: Fetched, what: str) -> None:
        for request in fetched.requests:
            require(
                ELSEWHERE not in request.url.lower().partition("://")[2].partition("/")[0],
                f"{self.name}: {what} leads it to {ELSEWHERE}",
            )

    def test_needs_that_fail(self) -> None:
        """Whichever need fails, it fails with an error of ours, or does without it; then works."""
        with self.counter() as counter:
            for number in range(len(self.honest(counter).needs)):
                for what, failure in _failures():

                    def meddle(
                        at: int,
                        need: Need,
                        answer: object,
                        number: int = number,
                        failure: SaslError = failure,
                    ) -> object:
                        del need
                        if at == number:
                            raise failure
                        return answer

                    why = f"{what} as need {number}"
                    self.sound(counter.fetch(meddle), why)
                    _ = self.honest(counter, why=f"after {why}")

    def test_answers_that_refuse(self) -> None:
        """No token comes of answers with a status that says no, and no redirect is followed."""
        with self.counter() as counter:
            for number in self._http_needs(counter):
                for what, meddle in self._answered(counter, number, "refusing"):
                    fetched = counter.fetch(meddle)
                    self.sound(fetched, what)
                    self._stays(fetched, what)
                    require(fetched.error, f"{self.name} takes a token out of {what}")
            _ = self.honest(counter, why="after answers that refuse")

    def test_answers_of_any_kind(self) -> None:
        """Any answer gives a well-formed token, or an error of ours; and the next one works."""
        with self.counter() as counter:
            for number in self._http_needs(counter):
                for what, meddle in self._answered(counter, number, "garbled"):
                    fetched = counter.fetch(meddle)
                    self.sound(fetched, what)
            _ = self.honest(counter, why="after answers of any kind")

    def _http_needs(self, counter: Counter) -> list[int]:
        needs = self.honest(counter).needs
        return [number for number, need in enumerate(needs) if isinstance(need, NeedHttp)]

    def _answered(self, counter: Counter, number: int, how: str) -> Iterator[tuple[str, Meddler]]:
        """Each way to spoil the answer to need `number`, and (refusing) all that come after."""
        honest: list[HttpResponse] = []

        def note(at: int, need: Need, answer: object) -> object:
            del need
            if at == number and isinstance(answer, HttpResponse):
                honest.append(answer)
            return answer

        _ = counter.fetch(note)
        response = honest[0]
        if how == "refusing":
            made = refusing(response)
        else:
            made = garbled(response, self.seed, tuple(sorted(self.secrets())))
        for what, spoilt in made:

            def meddle(
                at: int, need: Need, answer: object, spoilt: HttpResponse = spoilt
            ) -> object:
                hit = at == number or (how == "refusing" and at > number)
                return spoilt if hit and isinstance(need, NeedHttp) else answer

            yield f"{what} in answer to need {number}", meddle

    def test_closed_anywhere(self) -> None:
        """Given up at any need it ends at once, and leaves nothing that the next one meets."""
        with self.counter() as counter:
            for number in range(len(self.honest(counter).needs)):
                fetched = counter.fetch(close_at=number)
                if fetched.foreign is not None:
                    kind = type(fetched.foreign).__name__
                    fail(f"{self.name} raises {kind} when it is closed at need {number}")
                self._keeps_nothing(counter, f"closed at need {number}")
                _ = self.honest(counter, counter.fetch_in_time(), f"after one closed at {number}")

    def test_keeps_nothing(self) -> None:
        """When it has given a token it does not hold it any more."""
        with self.counter() as counter:
            fetched = self.honest(counter)
            refresh = getattr(fetched.token, "refresh_token", None)
            del fetched
            self._keeps_nothing(counter, "asked", refresh)

    def _keeps_nothing(self, counter: Counter, when: str, refresh: str | None = None) -> None:
        given = {self.token, self.request.refresh_token or "", refresh or ""}
        # What it is configured with it has to hold.
        path = find_secret(counter.source, given - {"", *self.own_secrets})
        require(path is None, f"{self.name}, {when}, keeps what it gave: {path}")

    def test_no_secret_is_shown(self) -> None:
        """No repr and no log record shows a secret, whether it works or fails."""
        secrets = self.secrets()
        with captured_logs() as records, self.counter() as counter:
            fetched = self.honest(counter)
            for shown in (counter.source, fetched.token, self.request):
                require(
                    find_secret((repr(shown), str(shown)), secrets) is None,
                    f"{self.name}: the repr of {type(shown).__name__} shows a secret",
                )
            for number in self._http_needs(counter):
                for _, meddle in self._answered(counter, number, "refusing"):
                    _ = counter.fetch(meddle)
        for record in records:
            path = find_secret((record.getMessage(), record.args, record.exc_text), secrets)
            require(path is None, f"{self.name}: {record.name} logs a secret ({record.lineno})")


def _unquoted(url: str) -> str:
    return re.sub("%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), url)
