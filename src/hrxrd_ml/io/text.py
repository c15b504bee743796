"""Text files with columns: .csv, .tsv, .xy, .dat, .txt and whatever else is rows of numbers.

Understood are comma, semicolon, tab or blanks between columns; decimal points or commas; comment lines
(``#``, ``;``, ``%``, ``'``); headings, also as the last comment line; any number of lines of text before
the table.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.columns import Column, choose_angles, choose_data, choose_times, find_column, plain
from hrxrd_ml.io.content import decode
from hrxrd_ml.io.headings import Heading, is_unit, mentions_rate, mentions_two_theta, understand
from hrxrd_ml.io.scan import Scan, kind_of_scan, recover_counts
from hrxrd_ml.units import ANGLE_UNITS, AXIS_KINDS

COMMENTS = ("#", ";", "%", "'")
_DELIMITERS = ("\t", ";", ",", None)  # None: any blanks
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?$")
_SAMPLE_LINES = 200
_ALONE = 10.0
"""Steps by which the first or last point lies apart that is none, but a line of other numbers."""

_MAX_LINE = 10_000
_MAX_TEXT = 10_000_000
"""Most letters of a line and of a file: every cell takes many times the memory of its letters."""


@dataclass(frozen=True)
class _Table:
    """Rows of a text file, split into cells; ``lines`` counts from 1, ``above`` are the lines before the table."""

    rows: list[list[str]]
    lines: list[int]
    header: list[str] | None
    delimiter: str | None
    above: list[str]

    @property
    def scan_axis(self) -> str:
        """What the lines above call the scan, as PANalytical writes it: 2Theta-Omega."""
        found = (re.match(r"\W*scan axis\W+([\w/-]+)", line, re.IGNORECASE) for line in self.above)
        return next((match[1] for match in found if match), "")


def read(
    data: bytes,
    *,
    x_column: Column | None = None,
    column: Column | None = None,
    sigma_column: Column | None = None,
    attenuation_column: Column | None = None,
    counting_time_column: Column | None = None,
    data_kind: str | None = None,
) -> Scan:
    """The curve in a text file; columns by name or index from 0, else those whose headings say so, else the first two.

    Raises
    ------
    InputFileError
        If there is no table, its rows differ in their columns, a column does not exist, a cell is not a finite number,
        or a sign may be a decimal one or stand between thousands (not for ``data_kind="intensity"``).
    """
    table = _split(decode(data), x_column)
    width = max(len(row) for row in table.rows)
    if width < 2:
        raise InputFileError(
            f"line {table.lines[0]}: only one column; expected an angle and a counts column "
            "separated by comma, semicolon, tab or blanks"
        )
    headings = [understand(text) for text in table.header or ()]

    def find(wanted: Column | None, role: str) -> int | None:
        return None if wanted is None else find_column(wanted, role, table.header, width)

    ix = find(choose_angles(headings) if x_column is None else x_column, "angle")
    assert ix is not None
    optional = [
        find(sigma_column, "sigma"),
        find(attenuation_column, "attenuation"),
        find(counting_time_column, "counting time"),
    ]
    known = [ix, *(i for i in optional if i is not None)]
    iy = choose_data(headings, width, known) if column is None else find(column, "counts")
    assert iy is not None
    if ix == iy:
        raise InputFileError(f"angles and counts are both asked from column {ix}; give two different columns")
    of_angles, of_values = (headings[i] if i < len(headings) else Heading("") for i in (ix, iy))
    if of_values.quantity == "data" and of_values.broken:
        raise InputFileError(
            f"{_called(table, iy)} holds {of_values.broken}; expected counts or intensities: save those, or name "
            "another column"
        )
    used = [ix, iy, *(i for i in optional if i is not None)]
    decimal = data_kind == "intensity" or bool(of_values.scale)
    number = _reader(table, used, [] if decimal else [iy])
    angles = _column(table, ix, number)
    if table.delimiter == "," and len(np.unique(angles)) < 0.5 * len(angles) and (angles == np.round(angles)).all():
        raise InputFileError(
            f"the angles repeat, line {table.lines[0]} begins with {','.join(table.rows[0])[:40]}: commas seem to "
            "stand both between columns and in numbers; save the table with semicolons or tabs, or with decimal points"
        )
    _check_ends(angles, table.lines)
    sigma, attenuation, seconds = (None if i is None else _column(table, i, number) for i in optional)
    values = _column(table, iy, number)
    if column is None and width > 2 and np.ptp(values) == 0.0:
        raise InputFileError(
            f"{_called(table, iy)}, taken for the counts, is {values[0]:g} in every row; the file has {width} columns: "
            "name the right one (column under [intensity], or column=)"
        )
    rate = _rate(of_values, table)
    unit = "arb. units" if of_values.scale == "scaled" else ""
    if rate:
        unit = rate if of_values.scale else "counts per second"
    if rate and seconds is None:
        times = _times(table, choose_times(headings, [ix, iy]))
        seconds = None if recover_counts(values * of_values.per_second, times) is None else times
    kind, question = of_angles.kind, _which_angle(of_angles, table)
    if table.scan_axis and not kind:
        kind, asked = kind_of_scan(table.scan_axis)
        question = asked if kind else question
    return Scan(
        axes={"": angles},
        values=values,
        values_unit=unit,
        attenuation=attenuation,
        counting_time=seconds,
        sigma=sigma,
        lines=table.lines,
        said_kind="" if question else kind,
        said_unit=of_angles.unit,
        kind_question=question,
        unit_question=_which_unit(of_angles),
        values_question=_which_values(of_values, values, table, rate),
    )


def _which_angle(heading: Heading, table: _Table) -> str:
    """Question for the kind of the angles, where their heading, or what is written above, leaves it open."""
    if heading.kind:
        return ""
    ask = (
        f"give its kind, one of {', '.join(AXIS_KINDS)} (kind under [axis], or kind=), or name the column of the "
        "angles (column, or x_column=)"
    )
    if table.header is not None:
        return f"the heading {heading.text!r} does not say which angle this is; {ask}"
    spoken = next((line for line in table.above if mentions_two_theta(line)), "")
    return f"the columns have no headings, and the text above speaks of 2θ ({spoken[:60]!r}); {ask}" if spoken else ""


def _which_unit(heading: Heading) -> str:
    ask = f"give the unit, one of {', '.join(ANGLE_UNITS)} (unit under [axis], or unit=)"
    if heading.foreign_unit:
        return f"the heading of the angles says {heading.foreign_unit}, which is none of those known; convert, or {ask}"
    if heading.kind.endswith("offset") and not heading.unit:
        return f"the heading {heading.text!r} does not say in which unit; {ask}"
    return ""


def _rate(heading: Heading, table: _Table) -> str:
    """Where the heading says a rate, or leaves it to the text above, which says so: the words."""
    if heading.scale or heading.counts:
        return heading.text if heading.scale == "rate" else ""
    return next((line[:60] for line in table.above if mentions_rate(line)), "")


def _which_values(heading: Heading, values: FloatArray, table: _Table, rate: str) -> str:
    """Question for what the values are, where they are a rate, or called counts and are not whole."""
    if rate:
        return (
            f"{rate!r} says a rate, whose noise depends on the counting time; give it (counting_time = seconds a "
            "point, 1 for counts, or counting_time_column, under [intensity] or as arguments), or standard errors "
            '(sigma_column, relative_error), or kind = "intensity" (data_kind=) for none'
        )
    broken = np.flatnonzero(values != np.round(values))
    line = f"line {table.lines[broken[0]]}" if len(broken) else ""
    if len(broken) == 1:
        return (
            f"{line}: {values[broken[0]]:g} alone is not whole; is this line no point? Correct or delete it, or say "
            'kind = "intensity" under [intensity] (data_kind=)'
        )
    if len(broken) and heading.counts:
        return (
            f"{line}: {heading.text!r} speaks of counts, and {values[broken[0]]:g} is not whole; say "
            'kind = "counts" for counts with a small correction, which keep the errors of counts, or "intensity" for '
            "anything else, under [intensity] (data_kind=)"
        )
    return ""


def _check_ends(angles: FloatArray, lines: list[int]) -> None:
    """Refuse a line of other numbers, such as start and step, or sums, before or behind the points."""
    steps = np.abs(np.diff(angles))
    if len(steps) < 5:
        return
    for step, near, i in ((steps[0], steps[1:4].max(), 0), (steps[-1], steps[-4:-1].max(), -1)):
        if step > _ALONE * near:
            raise InputFileError(
                f"line {lines[i]}: the angle {angles[i]:g} lies {step / near if near else np.inf:.0f} steps from its "
                "neighbour; a line of other numbers seems to stand among the points: correct or delete it"
            )


def _times(table: _Table, index: int | None) -> FloatArray | None:
    """Return the column whose heading speaks of a time, if it holds numbers: nobody has asked for it."""
    try:
        return None if index is None else _column(table, index, _reader(table, [index], []))
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
    _check_widths(table, content[begin:], delimiter)
    header = _header(lines, cells[:begin], table[0], delimiter)
    above = [line for number, line in lines if number < table[0][0]]
    return _Table([row for _, row in table], [number for number, _ in table], header, delimiter, above)


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
        text = next(line for n, line in lines if n == last_number)
        for cells in (last, *(_ways(text) if delimiter is None else ())):
            if len(cells) == len(row):
                return cells
            if 2 <= len(cells) < len(row) and all(understand(cell).quantity for cell in cells):
                raise InputFileError(
                    f"line {last_number} names {len(cells)} columns and line {number} has {len(row)}: blanks or commas "
                    "seem to stand both between columns and in numbers; save the table with semicolons or tabs"
                )
        return last if len(last) > len(row) and delimiter is not None else None
    comments = [line for n, line in lines if n < number and line.startswith(COMMENTS)]
    if not comments:
        return None
    text = re.sub(r"^#L\s+", "", comments[-1])  # of a SPEC file
    text = text.lstrip("".join(COMMENTS) + " ")
    for split in (_cells(text, delimiter), *_ways(text)):
        # Without delimiters, any comment of as many words fits: it has to say something of what the columns hold.
        told = any(understand(cell).quantity for cell in split) or (delimiter and not any(map(_NUMBER.match, split)))
        if len(split) == len(row) and len(row) > 1 and told:
            return split
    return None


def _ways(text: str) -> tuple[list[str], ...]:
    """Headings in a line without delimiters: words, words with what is in brackets behind them, by wide gaps."""
    return text.split(), re.sub(r"\s+(?=[(\[])", "", text).split(), re.split(r"\s{2,}", text.strip())


def _check_widths(table: list[tuple[int, list[str]]], content: list[tuple[int, str]], delimiter: str | None) -> None:
    """Refuse rows of other widths than the most: blanks or commas between thousands, and lines that are no points."""

    def width(row: list[str], line: str) -> int:
        return len(row) if delimiter is None else line.count(delimiter)  # blank cells at the end count too

    usual = Counter(len(row) for _, row in table).most_common(1)[0][0]
    raw = Counter(width(row, line) for (_, row), (_, line) in zip(table, content, strict=True)).most_common(1)[0][0]
    for (number, row), (_, line) in zip(table, content, strict=True):
        if len(row) != usual and width(row, line) != raw:
            raise InputFileError(
                f"line {number} has {len(row)} column{'s' * (len(row) != 1)} where the others have {usual}: blanks or "
                "commas between thousands, or a line that is no point? Correct or delete it"
            )
    for left, right in zip(range(usual - 1), range(1, usual), strict=True):
        cells = [(row[left], row[right]) for _, row in table if right < len(row)]
        groups = all(re.fullmatch(r"[+-]?\d{1,3}", a) and re.fullmatch(r"\d{3}", b) for a, b in cells)
        if groups and any(b.startswith("0") for _, b in cells):  # no number begins with zero
            raise InputFileError(
                f"{'blanks' if delimiter is None else 'signs'} seem to stand between thousands, as in line "
                f"{table[0][0]}, {content[0][1][:40]!r}; expected numbers without them"
            )


def _reader(table: _Table, used: list[int], whole: list[int]) -> Callable[[str], float]:
    """Function that turns a cell into a number, with the decimal sign that the used columns have.

    In the columns ``whole`` nothing says that there are decimals.
    """
    points = commas = False
    for row in table.rows:
        for i in used:
            if i < len(row):
                points = points or "." in row[i]
                commas = commas or "," in row[i]
    for i in used:
        cells = [row[i] for row in table.rows if i < len(row)]
        if _thousands(cells):
            raise InputFileError(
                f"{_called(table, i)}: the points or commas in the numbers seem to stand between thousands, as in "
                "1,234; expected one decimal sign and no sign between thousands"
            )
        if i in whole and _thousands_or_decimals(cells):
            raise InputFileError(
                f"{_called(table, i)}: {cells[0]} and all others have three digits behind the sign, which may be a "
                'decimal sign or stand between thousands; save the numbers without it, or say kind = "intensity" under '
                '[intensity] (data_kind="intensity") if these are decimals'
            )
    if points and commas:
        raise InputFileError(
            "decimal points and commas are mixed; expected one decimal sign and no sign between thousands"
        )
    if commas:
        return lambda cell: float(cell.replace(",", "."))
    return float


def _thousands(cells: list[str]) -> bool:
    """Whether there are numbers such as 1,234 beside whole ones below 1000, and no others."""
    apart = [bool(re.fullmatch(r"[+-]?\d{1,3}[.,]\d{3}", cell)) for cell in cells]
    whole = [bool(re.fullmatch(r"[+-]?\d{1,3}", cell)) for cell in cells]
    return any(apart) and any(whole) and all(a or b for a, b in zip(apart, whole, strict=True))


def _thousands_or_decimals(cells: list[str]) -> bool:
    """Whether all numbers look like 1,234 and none shows that these are decimals: 0.123, or .000 throughout."""
    found = [re.fullmatch(r"([1-9]\d{0,2})[.,](\d{3})", cell) for cell in cells]
    return all(found) and any(match is not None and match[2] != "000" for match in found)


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
