"""Text files with columns: .csv, .tsv, .xy, .dat, .txt and whatever else is rows of numbers.

Understood are comma, semicolon, tab or blanks between columns; decimal points or commas; comment lines
(``#``, ``;``, ``%``, ``'``); headings, also as the last comment line; any number of lines of text before
the table.
"""

import csv
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.columns import (
    Column,
    find_column,
    foreign_unit,
    guess_angles,
    guess_data,
    guess_kind,
    guess_times,
    guess_unit,
    is_logarithm,
    is_rate,
    is_unit,
    plain,
)
from hrxrd_ml.io.content import decode
from hrxrd_ml.io.scan import Scan, recover_counts

COMMENTS = ("#", ";", "%", "'")
_DELIMITERS = ("\t", ";", ",", None)  # None: any blanks
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?$")
_SAMPLE_LINES = 200
_MAX_LINE = 10_000
_MAX_TEXT = 10_000_000
"""Most letters of a line and of a file: every cell takes many times the memory of its letters."""


@dataclass(frozen=True)
class _Table:
    """Rows of a text file, split into cells; ``lines`` counts from 1, ``scan_axis`` is what the lines above call it."""

    rows: list[list[str]]
    lines: list[int]
    header: list[str] | None
    delimiter: str | None
    scan_axis: str = ""


def read(
    data: bytes,
    *,
    x_column: Column | None = None,
    column: Column | None = None,
    sigma_column: Column | None = None,
    attenuation_column: Column | None = None,
    counting_time_column: Column | None = None,
) -> Scan:
    """The curve in a text file; columns by name or index from 0, the first two if not given.

    Raises
    ------
    InputFileError
        If there is no table, a column does not exist, or a cell is not a finite number; the line is named.
    """
    table = _split(decode(data), x_column)
    width = max(len(row) for row in table.rows)
    if width < 2:
        raise InputFileError(
            f"line {table.lines[0]}: only one column; expected an angle and a counts column "
            "separated by comma, semicolon, tab or blanks"
        )

    def find(wanted: Column | None, role: str) -> int | None:
        return None if wanted is None else find_column(wanted, role, table.header, width)

    ix = find(guess_angles(table.header) if x_column is None else x_column, "angle")
    assert ix is not None
    optional = [
        find(sigma_column, "sigma"),
        find(attenuation_column, "attenuation"),
        find(counting_time_column, "counting time"),
    ]
    known = [ix, *(i for i in optional if i is not None)]
    # Whoever does not name the column means what its heading calls counts, else the first that is left.
    left = next((i for i in range(width) if i not in known), 1)
    iy = guess_data(table.header, known) if column is None else find(column, "counts")
    iy = left if iy is None else iy
    if ix == iy:
        raise InputFileError(f"angles and counts are both asked from column {ix}; give two different columns")
    used = [ix, iy, *(i for i in optional if i is not None)]
    number = _reader(table, used)
    angles = _column(table, ix, number)
    if table.delimiter == "," and len(np.unique(angles)) < 0.5 * len(angles) and (angles == np.round(angles)).all():
        raise InputFileError(
            f"the angles repeat, line {table.lines[0]} begins with {','.join(table.rows[0])[:40]}: commas seem to "
            "stand both between columns and in numbers; save the table with semicolons or tabs, or with decimal points"
        )
    heading = table.header[ix] if table.header else ""
    sigma, attenuation, seconds = (None if i is None else _column(table, i, number) for i in optional)
    values = _column(table, iy, number)
    if column is None and width > 2 and np.ptp(values) == 0.0:
        raise InputFileError(
            f"{_called(table, iy)}, taken for the counts, is {values[0]:g} in every row; the file has {width} columns: "
            "name the right one (column under [intensity], or column=)"
        )
    unit = ""
    if table.header and is_logarithm(table.header[iy]):
        raise InputFileError(
            f"{_called(table, iy)} holds logarithms; expected counts or intensities: save those, or name another column"
        )
    if table.header and is_rate(table.header[iy]):
        times = seconds if seconds is not None else _times(table, [ix, iy])
        counts = recover_counts(values, times)
        if counts is None:
            unit = "arb. units"
        else:
            values, unit, seconds = counts, "counts", times
    return Scan(
        axes={"": angles},
        values=values,
        values_unit=unit,
        foreign_unit=foreign_unit(heading),
        attenuation=attenuation,
        counting_time=seconds,
        sigma=sigma,
        lines=table.lines,
        guessed_kind=guess_kind(heading) or guess_kind(table.scan_axis),
        guessed_unit=guess_unit(heading),
    )


def _times(table: _Table, others: list[int]) -> FloatArray | None:
    """Return the column whose heading speaks of a time, if it holds numbers: nobody has asked for it."""
    index = guess_times(table.header, others)
    try:
        return None if index is None else _column(table, index, _reader(table, [index]))
    except InputFileError:
        return None


def _split(text: str, x_column: Column | None) -> _Table:
    """Find the table: its delimiter, its heading and its rows, which begin where the angle is a number."""
    if len(text) > _MAX_TEXT:
        raise InputFileError(
            f"the text has {len(text) / 1e6:.0f} MB; expected less than {_MAX_TEXT / 1e6:.0f} MB: leave only the "
            "columns of the curve"
        )
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and line != "\x1a"]
    content = [(number, line) for number, line in lines if not line.startswith(COMMENTS)]
    long = next(((number, len(line)) for number, line in content if len(line) > _MAX_LINE), None)
    if long:
        raise InputFileError(f"line {long[0]} has {long[1]} letters; expected rows of an angle and counts")
    if not content:
        raise InputFileError("no data, only comments; expected rows of angle and counts")
    # The table is what the file ends with, so that its last lines show the delimiter.
    sample = [line for _, line in content[-_SAMPLE_LINES:]]
    delimiter = _delimiter(sample)
    cells = [(number, _cells(line, delimiter)) for number, line in content]
    at = x_column if isinstance(x_column, int) else 0
    if isinstance(x_column, str):
        named = (row.index(c) for _, row in cells[:1000] for c in row if plain(c) == plain(x_column))
        at = next(named, 0)
    begin = next((i for i, (_, row) in enumerate(cells) if _is_data(row, at)), None)
    if begin is None:
        number, line = content[0]
        raise InputFileError(f"no row begins with numbers; line {number} is {line[:60]!r}; expected columns of numbers")
    table = cells[begin:]
    header = _header(lines, cells[:begin], table[0], delimiter)
    above = (re.match(r"\W*scan axis\W+(\w+)", line, re.IGNORECASE) for number, line in lines if number < table[0][0])
    scan_axis = next((found[1] for found in above if found), "")  # as PANalytical writes it: 2Theta-Omega
    return _Table([row for _, row in table], [number for number, _ in table], header, delimiter, scan_axis)


def _delimiter(sample: list[str]) -> str | None:
    """The delimiter under which most lines have at least two numbers, and little else."""
    best: tuple[float, str | None] = (0.0, None)
    for delimiter in _DELIMITERS:
        rows = [_cells(line, delimiter) for line in sample]
        good = sum(share for row in rows if (share := _numeric(row)) * len(row) > 1.5)
        if good / len(rows) > best[0] + 0.2:  # the first of the list wins unless another is clearly better
            best = good / len(rows), delimiter
    return best[1]


def _numeric(row: list[str]) -> float:
    return sum(bool(_NUMBER.match(cell)) for cell in row) / max(len(row), 1)


def _cells(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return line.split()
    try:
        row = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        row = line.split(delimiter)
    row = [cell.strip() for cell in row]
    while row and not row[-1]:  # a delimiter at the end of a line begins no column
        row.pop()
    return row


def _is_data(row: list[str], at: int) -> bool:
    """Whether a row belongs to the table: it holds numbers and no word where the angle should be.

    A blank or "nan" there is a damaged row, to be reported and not passed over as a heading.
    """
    if not any(_NUMBER.match(cell) for cell in row):
        return False
    cell = row[at].lower() if at < len(row) else "0"
    return bool(_NUMBER.match(cell)) or cell in ("", "nan", "inf", "-inf", "+inf")


def _header(
    lines: list[tuple[int, str]],
    before: list[tuple[int, list[str]]],
    first: tuple[int, list[str]],
    delimiter: str | None,
) -> list[str] | None:
    """Headings: the last line before the table, or the last comment there, if its width fits."""
    number, row = first
    if before:
        last_number, last = before[-1]
        if sum(bool(_NUMBER.match(cell)) for cell in last) * 2 >= len(last) and len(last) == len(row):
            raise InputFileError(f"line {last_number}: {last[0]!r} is not a number; expected an angle")
        if len(before) > 1 and is_unit(last[0]):  # a line of units stands between headings and numbers
            names = before[-2][1]
            if len(names) == len(last):
                last = [f"{name} ({unit.strip('[]()')})" for name, unit in zip(names, last, strict=True)]
        if delimiter is None and len(last) != len(row):  # "omega (deg)  counts" are two headings
            text = next(line for n, line in lines if n == last_number)
            last = re.sub(r"\s+(?=[(\[])", "", text).split()
            return last if len(last) == len(row) else None
        return last if len(last) >= len(row) else None
    comments = [line for n, line in lines if n < number and line.startswith(COMMENTS)]
    if not comments:
        return None
    text = re.sub(r"^#L\s+", "", comments[-1])  # of a SPEC file
    text = text.lstrip("".join(COMMENTS) + " ")
    for split in (_cells(text, delimiter), text.split()):
        if len(split) == len(row) and len(row) > 1:
            return split
    return None


def _reader(table: _Table, used: list[int]) -> Callable[[str], float]:
    """Function that turns a cell into a number, with the decimal sign that the used columns have."""
    points = commas = False
    for row in table.rows:
        for i in used:
            if i < len(row):
                points = points or "." in row[i]
                commas = commas or "," in row[i]
    if _thousands(table, used[1:]):
        raise InputFileError(
            "the points or commas in the numbers seem to stand between thousands, as in 1,234; expected one decimal "
            "sign and no sign between thousands"
        )
    if points and commas:
        raise InputFileError(
            "decimal points and commas are mixed; expected one decimal sign and no sign between thousands"
        )
    if commas:
        return lambda cell: float(cell.replace(",", "."))
    return float


def _thousands(table: _Table, used: list[int]) -> bool:
    """Whether a column has numbers such as 1,234 beside whole ones below 1000, and no others."""
    for i in used:
        cells = [row[i] for row in table.rows if i < len(row)]
        apart = [bool(re.fullmatch(r"\d{1,3}[.,]\d{3}", cell)) for cell in cells]
        whole = [bool(re.fullmatch(r"\d{1,3}", cell)) for cell in cells]
        if any(apart) and any(whole) and all(a or b for a, b in zip(apart, whole, strict=True)):
            return True
    return False


def _column(table: _Table, index: int, number: Callable[[str], float]) -> FloatArray:
    values = np.empty(len(table.rows))
    for i, row in enumerate(table.rows):
        if index >= len(row):
            _bad_cell(table, i, index, "no value there")
        cell = row[index]
        try:
            values[i] = number(cell) if "_" not in cell else math.nan
        except ValueError:
            _bad_cell(table, i, index, f"{cell[:40]!r} is not a number" if cell else "no value there")
        if not math.isfinite(values[i]):
            _bad_cell(table, i, index, f"{cell[:40]!r} is not a finite number")
    return values


def _bad_cell(table: _Table, row: int, index: int, why: str) -> NoReturn:
    raise InputFileError(
        f"line {table.lines[row]}, {_called(table, index)}: {why}; expected a number: correct or delete the line"
    )


def _called(table: _Table, index: int) -> str:
    name = f" ({table.header[index]})" if table.header and index < len(table.header) else ""
    return f"column {index}{name}"
