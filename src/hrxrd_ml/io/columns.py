"""Columns of a text file: finding them by name or index, or by what their headings say."""

import difflib
import re
from collections.abc import Collection, Sequence

from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.headings import Heading

Column = str | int


def plain(heading: str) -> str:
    """Heading without its unit and punctuation: ``"2Theta (deg)"`` and ``"2theta"`` are one column."""
    text = re.sub(r"\(.*?\)|\[.*?\]|/.*$", "", heading.strip().strip("\"'").lower())
    return re.sub(r"[\s_]+", " ", text).strip()


def find_column(wanted: Column, role: str, header: list[str] | None, width: int) -> int:
    """Index of a column, given its name or its index.

    Parameters
    ----------
    wanted
        Name, with or without unit and in any case, or index counted from 0.
    role
        What the column is for, to name it in messages.
    header
        Headings, or None if the file has none.
    width
        Number of columns.

    Raises
    ------
    InputFileError
        If there is no such column, or two of that name.
    """
    if isinstance(wanted, str) and re.fullmatch(r"[0-9]{1,9}", wanted.strip()) and wanted not in (header or ()):
        wanted = int(wanted)
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        if not 0 <= wanted < width:
            raise InputFileError(
                f"the {role} column {wanted} does not exist; the file has {width} columns, counted from 0"
            )
        return wanted
    if not isinstance(wanted, str):
        raise InputFileError(f"the {role} column must be a name or an index from 0, got {wanted!r}")
    if header is None:
        raise InputFileError(
            f"the {role} column {wanted!r} cannot be found: the file has no headings; "
            f"give an index from 0 to {width - 1}"
        )
    for matches in (
        [i for i, h in enumerate(header) if h.strip() == wanted.strip()],
        [i for i, h in enumerate(header) if plain(h) == plain(wanted)],
    ):
        if len(matches) == 1 and matches[0] < width:
            return matches[0]
        if len(matches) > 1:
            raise InputFileError(f"the {role} column {wanted!r} is there {len(matches)} times; give its index")
    near = difflib.get_close_matches(wanted, header, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputFileError(
        f"there is no {role} column {wanted!r}; the file has {', '.join(header)}; {hint}columns are named in the "
        "experiment file ([axis] column, [intensity] column) or in read_curve (x_column=, column=)"
    )


def choose_angles(headings: Sequence[Heading]) -> int:
    """Column of the angles: the first that its heading calls so, else the first of all."""
    return next((i for i, heading in enumerate(headings) if heading.quantity == "angle"), 0)


def choose_data(headings: Sequence[Heading], width: int, taken: Collection[int]) -> int:
    """Column of the counts: the one whose heading says so; without headings, the first that is left.

    Raises
    ------
    InputFileError
        If several headings speak of counts, or none does and what is left is no fair guess.
    """
    data = [i for i, h in enumerate(headings) if h.quantity == "data" and i not in taken]
    # Of several, counts are nearer to what was detected than rates, and both are than logarithms.
    for best in ([i for i in data if not (headings[i].scale or headings[i].broken)], data):
        if len(best) == 1:
            return best[0]
    left = [i for i in range(width) if i not in taken]
    if not headings:
        return left[0] if left else 1
    unknown = [i for i in left if i >= len(headings) or not headings[i].quantity]
    if not data and unknown and len(left) <= 2:
        return unknown[0]
    listed = ", ".join(heading.text for heading in headings[:12]) + (", ..." if len(headings) > 12 else "")
    raise InputFileError(
        f"{'several columns' if data else 'no column'} of {listed} may hold the counts; name the right one "
        "(column under [intensity], or column=)"
    )


def choose_times(headings: Sequence[Heading], taken: Collection[int]) -> int | None:
    """Column that its heading alone calls a time, or None."""
    found = [i for i, heading in enumerate(headings) if heading.quantity == "time" and i not in taken]
    return found[0] if len(found) == 1 else None
