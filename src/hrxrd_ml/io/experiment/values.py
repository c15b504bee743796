"""How the value of a key is read: functions of a table and a key that is in it, which raise for a wrong value."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from hrxrd_ml.crystal.miller import parse_hkl
from hrxrd_ml.errors import CrystalError
from hrxrd_ml.io.experiment.table import Reader, Table, is_number, suggestion

T = TypeVar("T")


def section(settings: type[T], check: Callable[[Table, T], T] | None = None) -> Reader:
    """A table that holds the fields of a dataclass; ``check`` looks at what they say together."""

    def read(table: Table, key: str) -> T:
        inner = table.inner(settings, f"{table.section}.{key}" if table.section else key, table.data[key])
        filled = inner.fill(settings)
        return check(inner, filled) if check else filled

    return read


def text(table: Table, key: str) -> str:
    """A non-empty string."""
    value = table.data[key]
    if not isinstance(value, str) or not value.strip():
        table.fail(key, "a non-empty string")
    return value.strip()


def flag(table: Table, key: str) -> bool:
    """True or false."""
    value = table.data[key]
    if not isinstance(value, bool):
        table.fail(key, "true or false")
    return value


def choice(words: Sequence[str], signs: Mapping[str, str] | None = None) -> Reader:
    """One of the given words, or a sign that stands for one."""

    def read(table: Table, key: str) -> str:
        value = table.data[key]
        word = (signs or {}).get(str(value), value)
        if word not in words:
            table.fail(key, f"one of {', '.join(words)}", suggestion(value, words) if isinstance(value, str) else "")
        return str(word)

    return read


def number(low: float, high: float, unit: str = "", *, above: bool = False) -> Reader:
    """A finite number within [low, high], or within (low, high] if it has to be ``above``."""

    def read(table: Table, key: str) -> float:
        value = table.data[key]
        if not is_number(value) or not low <= value <= high or (above and value == low):
            begin = f"above {low:g}" if above else f"from {low:g}"
            table.fail(key, f"a number {begin} to {high:g}" + (f" {unit}" if unit else ""))
        return float(value)

    return read


def numbers(low: float, high: float) -> Reader:
    """A finite number within [low, high], or a list of two and more: a gradient from below."""

    def read(table: Table, key: str) -> float | tuple[float, ...]:
        value = table.data[key]
        given = value if isinstance(value, list) and len(value) > 1 else [value]
        if not all(is_number(each) and low <= each <= high for each in given):
            table.fail(key, f"a number from {low:g} to {high:g}, or a list of at least two for a gradient")
        return tuple(map(float, given)) if isinstance(value, list) else float(value)

    return read


def integer(low: int, high: int) -> Reader:
    """An integer within [low, high]."""

    def read(table: Table, key: str) -> int:
        value = table.data[key]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            table.fail(key, f"an integer from {low} to {high}")
        return value

    return read


def indices(table: Table, key: str) -> tuple[int, int, int]:
    """Miller indices: integers that are not all zero, or text such as "004"."""
    try:
        return parse_hkl(table.data[key])
    except CrystalError:
        table.fail(key, "three integers (four, h k i l, of a hexagonal crystal), not all zero, such as [4, 4, 4]")


def column(table: Table, key: str) -> str | int:
    """A column of a text file: its name, or its index counted from 0."""
    value = table.data[key]
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    table.fail(key, "the name of a column, or its index counted from 0")


def complex_number(table: Table, key: str) -> complex:
    """A complex number written [real, imaginary]."""
    value = table.data[key]
    if not isinstance(value, list) or len(value) != 2 or not all(is_number(v) for v in value):
        table.fail(key, "two finite numbers [real, imaginary]")
    return complex(value[0], value[1])
