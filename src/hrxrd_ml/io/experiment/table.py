"""Checked access to one table of a TOML file: complaints name file, section, key, and what was expected.

The keys of a table are the fields of a dataclass. A field made by `key` says how its value is read; the value of any
other has to be of the type of its default.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from hrxrd_ml.errors import ExperimentError, HrxrdError

T = TypeVar("T")

_MEANT = {
    "theta": "omega",
    "th": "omega",
    "om": "omega",
    "2theta": "two_theta",
    "tth": "two_theta",
    "ttheta": "two_theta",
}
"""Names of axes that programs write, by those that they have here; spelling would propose the wrong one."""


def suggestion(word: str, words: Sequence[str]) -> str:
    """Sentence that proposes the nearest of ``words``, or an empty string if none is near."""
    if _MEANT.get(word.lower()) in words:
        return f"; {word} is {_MEANT[word.lower()]!r} here"
    lowered = {w.lower(): w for w in words}
    near = difflib.get_close_matches(word.lower(), list(lowered), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(lowered[n]) for n in near)}?" if near else ""


def shown(value: object) -> str:
    """Short one-line representation of a value for an error message."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 80 else text[:77] + "..."


@dataclass(frozen=True)
class Table:
    """One table, its keys checked against ``keys`` when it is made.

    Parameters
    ----------
    data
        What the TOML file holds at this place.
    source
        Name of the file, for messages.
    section
        Name of the table as a user would write it, such as ``reflection``.
    keys
        All keys the table may hold.
    folder
        Folder that paths in it are relative to.
    """

    data: Mapping[str, Any]
    source: str
    section: str
    keys: tuple[str, ...]
    folder: Path = Path()

    def __post_init__(self) -> None:
        if not isinstance(self.data, Mapping):
            raise ExperimentError(f"{self.source}: [{self.section}] must be a table, got {shown(self.data)}")
        for key in self.data:
            if key not in self.keys:
                place, what = (f"[{self.section}]", "key") if self.section else ("an experiment", "section")
                raise ExperimentError(
                    f"{self.source}: {place} has no {what} {key!r}{suggestion(key, self.keys)} "
                    f"(known: {', '.join(self.keys)})"
                )

    def inner(self, settings: type, section: str, data: Any) -> "Table":
        """A table in this one, whose keys are the fields of a dataclass."""
        return Table(data, self.source, section, _names(settings), self.folder)

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def fail(self, key: str, expected: str, hint: str = "") -> NoReturn:
        """Raise the error for a value that is not what was expected."""
        got = shown(self.data.get(key))
        raise ExperimentError(f"{self.place(key)}: expected {expected}, got {got}{hint}")

    def place(self, key: str) -> str:
        """File, section and key, to begin a message with."""
        return f"{self.source}: [{self.section}] {key}" if self.section else f"{self.source}: {key}"

    def require(self, key: str, expected: str) -> None:
        """Raise unless the key is there."""
        if key not in self.data:
            raise ExperimentError(f"{self.place(key)} is missing: expected {expected}")

    def fill(self, settings: type[T], **unwritten: Any) -> T:
        """The dataclass of this table; ``unwritten`` is what keys are that nobody wrote, before their defaults."""
        given = dict(unwritten)
        for own in fields(settings):  # type: ignore[arg-type]
            if own.name in self:
                given[own.name] = own.metadata.get("read", _like(own.default))(self, own.name)
            elif own.name not in given and own.default is MISSING and own.default_factory is MISSING:
                self.require(own.name, own.metadata["expected"])
        try:
            return settings(**given)
        except HrxrdError as error:
            raise ExperimentError(f"{self.source}: [{self.section}]: {error}") from error


def fill(settings: type[T], data: Any, source: str, section: str) -> T:
    """Return a dataclass filled from a table, whose keys and types must be those of the fields.

    Raises
    ------
    ExperimentError
        If a key is unknown, or a value is not what its field takes.
    """
    return Table(data, source, section, _names(settings)).fill(settings)


def _names(settings: type) -> tuple[str, ...]:
    return tuple(own.name for own in fields(settings))


# --- how values are read ---

Reader = Callable[[Table, str], Any]
"""Gets the value of a key that is there, or raises."""


def key(read: Reader, default: Any = MISSING, expected: str = "") -> Any:
    """Field for a key: how it is read, what it is if nobody writes it, or what is expected where somebody has to."""
    return field(default=default, metadata={"read": read, "expected": expected})


_KINDS = {bool: "true or false", int: "an integer", float: "a finite number", str: "a text"}


def _like(default: Any) -> Reader:
    """Value of the type of a default; a number will do for a text."""

    def read(table: Table, key: str) -> Any:
        value = table.data[key]
        if isinstance(default, tuple):
            kinds = {type(v) for v in default} or {float}
            if not isinstance(value, list | tuple) or not all(_is(kinds, v) for v in value):
                table.fail(key, f"a list such as {list(default) or [1.0]}")
            return tuple(value)
        if not _is({str, float} if isinstance(default, str) else {type(default)}, value):
            table.fail(key, _KINDS[type(default)])
        return float(value) if isinstance(default, float) else value

    return read


def _is(kinds: set[type], value: Any) -> bool:
    """Tell whether a value is of one of these kinds; where numbers are, an integer is one, true and false are none."""
    return is_number(value) if float in kinds and type(value) in (int, float) else type(value) in kinds


def is_number(value: object) -> bool:
    """Whether the value is a finite real number that a float can hold (booleans are none)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of more than 308 digits
        return False
