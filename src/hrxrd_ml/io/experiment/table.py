"""Checked access to one table of a TOML file: complaints name file, section, key, and what was expected."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from hrxrd_ml.crystal.miller import parse_hkl
from hrxrd_ml.errors import CrystalError, ExperimentError

D = TypeVar("D")


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
    """

    data: Mapping[str, Any]
    source: str
    section: str
    keys: tuple[str, ...]

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

    def table(self, key: str, keys: tuple[str, ...]) -> "Table":
        """The sub-table ``key``; empty if it is absent."""
        section = f"{self.section}.{key}" if self.section else key
        return Table(self.data.get(key, {}), self.source, section, keys)

    def text(self, key: str, default: D) -> str | D:
        """A non-empty string."""
        if key not in self.data:
            return default
        value = self.data[key]
        if not isinstance(value, str) or not value.strip():
            self.fail(key, "a non-empty string")
        return value.strip()

    def choice(self, key: str, choices: Sequence[str], default: D) -> str | D:
        """One of the given strings."""
        if key not in self.data:
            return default
        value = self.data[key]
        if value not in choices:
            near = suggestion(value, choices) if isinstance(value, str) else ""
            self.fail(key, f"one of {', '.join(choices)}", near)
        return str(value)

    def number(self, key: str, low: float, high: float, unit: str, default: D, *, open_low: bool = False) -> float | D:
        """A finite number within [low, high], or within (low, high] if ``open_low``."""
        if key not in self.data:
            return default
        value = self.data[key]
        if not is_number(value) or not low <= value <= high or (open_low and value == low):
            begin = f"above {low:g}" if open_low else f"from {low:g}"
            self.fail(key, f"a number {begin} to {high:g}" + (f" {unit}" if unit else ""))
        return float(value)

    def integer(self, key: str, low: int, high: int) -> int | None:
        """An integer within [low, high], or None if it is absent."""
        if key not in self.data:
            return None
        value = self.data[key]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(key, f"an integer from {low} to {high}")
        return value

    def indices(self, key: str) -> tuple[int, int, int] | None:
        """Miller indices: integers that are not all zero, or text such as "004"."""
        if key not in self.data:
            return None
        try:
            return parse_hkl(self.data[key])
        except CrystalError:
            self.fail(key, "three integers (four, h k i l, of a hexagonal crystal), not all zero, such as [4, 4, 4]")

    def column(self, key: str) -> str | int | None:
        """A column of a text file: its name, or its index counted from 0."""
        if key not in self.data:
            return None
        value = self.data[key]
        if isinstance(value, str) and value.strip():
            return value.strip()
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        self.fail(key, "the name of a column, or its index counted from 0")

    def complex(self, key: str) -> complex | None:
        """A complex number written [real, imaginary]."""
        if key not in self.data:
            return None
        value = self.data[key]
        if not isinstance(value, list) or len(value) != 2 or not all(is_number(v) for v in value):
            self.fail(key, "two finite numbers [real, imaginary]")
        return complex(value[0], value[1])


def is_number(value: object) -> bool:
    """Whether the value is a finite real number that a float can hold (booleans are none)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of more than 308 digits
        return False
