"""`record`: attrs classes that attrs completes at their first use."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
import weakref
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import attrs
import pytest

from sasl_core._record import record
from sasl_core.names import UserName
from sasl_core.verifier import ScramVerifier

A = TypeVar("A")


def is_written(cls: type) -> bool:
    """Whether attrs has completed `cls`."""
    return isinstance(vars(cls)["__attrs_attrs__"], tuple)


def is_constructible(cls: type) -> bool:
    """Whether attrs has written the constructor of `cls`."""
    return str(vars(cls)["__init__"].__code__.co_filename).startswith("<attrs generated")


def positive(_instance: object, _field: object, value: int) -> None:
    """A validator."""
    if value < 0:
        raise ValueError("negative")


def fresh(decorate: Callable[[type], type]) -> list[Any]:
    """Classes of every sort that a record may be, made by `decorate`."""

    class Plain:
        number: int
        text: str = "t"
        secret: bytes = attrs.field(default=b"", repr=False)
        kind: ClassVar[str] = "k"

        @property
        def twice(self) -> int:
            return self.number * 2

    class Fields:
        number: int = attrs.field(validator=positive)
        items: list[int] = attrs.field(factory=list, eq=False)
        named: int = attrs.field(default=3, kw_only=True, converter=int)
        made: int = attrs.field(init=False, default=7)

    class Nothing:
        pass

    class Box(Generic[A]):
        held: A

    made = [decorate(cls) for cls in (Plain, Fields, Nothing, Box)]

    parent: Any = made[0]

    class Child(parent):  # type: ignore[misc]  # any record may be below another
        number: int = 4
        more: int = 5

        def __attrs_post_init__(self) -> None:
            self.more += 1

    return [*made, decorate(Child)]


NAMES = ["Plain", "Fields", "Nothing", "Box", "Child"]
VALUES = {"Plain": (1,), "Fields": (1,), "Nothing": (), "Box": ("h",), "Child": ()}


@pytest.mark.parametrize("place", range(len(NAMES)), ids=NAMES)
def test_a_record_is_what_attrs_would_have_made(place: int) -> None:
    """Signature, fields, repr, equality, slots and order of patterns are those of attrs."""
    theirs = fresh(lambda cls: attrs.define(cls, unsafe_hash=True))[place]
    ours = fresh(record)[place]
    values = VALUES[NAMES[place]]
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert [field.name for field in attrs.fields(ours)] == [
        field.name for field in attrs.fields(theirs)
    ]
    assert ours.__match_args__ == theirs.__match_args__
    assert repr(ours(*values)).rpartition(">.")[2] == repr(theirs(*values)).rpartition(">.")[2]
    assert ours(*values) == ours(*values)
    assert ours(*values) == ours(*values)
    assert ours(*values) != theirs(*values)
    assert ours.__slots__ == theirs.__slots__
    assert not hasattr(ours(*values), "__dict__")
    assert weakref.ref(made := ours(*values))() is made
    assert ours.__name__ == theirs.__name__
    assert ours.__qualname__.rpartition(".")[2] == NAMES[place]


def test_values_make_hash_and_equality() -> None:
    """Equal values are equal and have one hash; others are not; another class never is."""
    plain, *_ = fresh(record)
    assert hash(plain(1)) == hash(plain(1))
    assert {plain(1): "here"}[plain(1)] == "here"
    assert plain(1) != plain(2)
    assert plain(1) != (1, "t", b"")


def test_validators_and_converters_run_on_both_ways_in() -> None:
    """A value is checked when it is given and when it is set, the first time as later."""
    _, fields, *_ = fresh(record)
    with pytest.raises(ValueError, match="negative"):
        fields(-1)
    made = fields(1, named="5")
    assert made.named == 5
    with pytest.raises(ValueError, match="negative"):
        made.number = -1


@pytest.mark.parametrize(
    "use",
    [
        attrs.fields,
        inspect.signature,
        lambda cls: cls.__match_args__,
        lambda cls: repr(cls(1)),
        lambda cls: hash(cls(1)),
        lambda cls: cls(1) == cls(1),
    ],
    ids=["fields", "signature", "match", "repr", "hash", "eq"],
)
def test_a_record_is_completed_when_it_is_used(use: Callable[[type], object]) -> None:
    """Making a class writes nothing; whatever is asked of it first has it written."""
    plain, *_ = fresh(record)
    assert not is_written(plain)
    assert not is_constructible(plain)
    _ = use(plain)
    assert is_written(plain)
    assert is_constructible(plain)


@pytest.mark.parametrize("use", [lambda cls: cls(1), lambda cls: fresh_child(cls)()])
def test_an_object_needs_its_constructor_alone(use: Callable[[type], object]) -> None:
    """Who only makes objects does not pay for comparing and showing them."""
    plain, *_ = fresh(record)
    first = use(plain)
    assert is_constructible(plain)
    assert not is_written(plain)
    assert first == first  # noqa: PLR0124 - the first comparison of this class
    assert is_written(plain)


def fresh_child(parent: Any) -> Any:
    """A class below a record that is no record itself."""

    class Below(parent):  # type: ignore[misc]  # as above
        def __init__(self) -> None:
            super().__init__(1)

    return Below


def test_a_class_below_a_record_keeps_its_own_constructor() -> None:
    """What completes the parent calls the parent's constructor, not the child's."""
    plain, *_ = fresh(record)
    below = fresh_child(plain)
    assert below().number == 1
    assert list(inspect.signature(below).parameters) == []


def test_records_are_copied_and_pickled() -> None:
    """Slots are kept, also in a class that nobody has used in this process."""
    name = UserName("tim", "example")
    assert copy.copy(name) == name
    assert pickle.loads(pickle.dumps(name)) == name  # noqa: S301 - its own
    assert copy.deepcopy([name]) == [name]


def test_a_masked_field_is_masked_at_the_first_repr() -> None:
    """No secret is shown by a class that was not complete yet."""
    verifier = ScramVerifier("SHA-256", 4096, b"salt", b"stored key", b"server key")
    assert "key'" not in repr(verifier)
    plain, *_ = fresh(record)
    unfilled = plain.__new__(plain)
    for name, value in (("number", 1), ("text", "t"), ("secret", b"hidden")):
        setattr(unfilled, name, value)
    assert not is_written(plain)
    assert "hidden" not in repr(unfilled)


def test_a_class_may_be_completed_twice() -> None:
    """A second completion, by a thread that came too late, takes nothing away."""
    plain, fields, *_ = fresh(record)
    for cls in (plain, fields):
        complete = vars(cls)["__attrs_attrs__"].complete
        assert complete() is cls
        known, signature, before = attrs.fields(cls), inspect.signature(cls), cls(1)
        assert complete() is cls
        assert inspect.signature(cls) == signature
        assert attrs.fields(cls) == known
        assert cls(1) == before


def test_threads_may_complete_a_class_together() -> None:
    """However many threads are first, each gets whole objects, equal to one another."""
    for _ in range(20):
        plain, fields, *_ = fresh(record)
        start, made = threading.Barrier(4), []

        def use(plain: type = plain, fields: type = fields) -> None:
            start.wait()  # noqa: B023 - joined below
            made.append((plain(1), fields(2), hash(plain(3))))  # noqa: B023 - joined below

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 4
        assert all(each == made[0] for each in made)


def unusual() -> dict[str, Any]:
    """Classes that are made by attrs at once, and stay what attrs makes of them."""

    class Super:
        number: int = 1

        def __str__(self) -> str:
            return super().__str__() + "!"

    class Compares:
        number: int = 1

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    class Unannotated:
        number = attrs.field(default=1)

    class Cached:
        number: int = 1

        @cached_property
        def twice(self) -> int:
            return self.number * 2

    class Failure(Exception):  # noqa: N818 - the point is what it is made from
        number: int = 1

    class Slotted:
        __slots__ = ("other",)
        number: int

    classes = (Super, Compares, Unannotated, Cached, Failure, Slotted)
    return {cls.__name__: record(cls) for cls in classes}


@pytest.mark.parametrize("name", list(unusual()))
def test_what_is_unusual_is_made_by_attrs_at_once(name: str) -> None:
    """What only attrs can carry over is not put off."""
    assert is_written(unusual()[name])


def test_what_is_unusual_works() -> None:
    """`super()`, a comparison and a cached property of its own live on in the new class."""
    classes = unusual()
    assert str(classes["Super"]()).endswith("Super(number=1)!")
    assert classes["Compares"]() == object()
    assert classes["Cached"]().twice == 2
