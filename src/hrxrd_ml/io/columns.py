"""Columns of a text file: finding them by name or index, and what their headings suggest."""

import difflib
import re

from hrxrd_ml.errors import InputFileError

Column = str | int
_DATA_WORDS = re.compile(r"\b(counts?|cts|cps|intensit(y|ies)|detector|signal)\b")
_RATE_WORDS = re.compile(r"\bcps\b|\bc/s|/ ?s\b|per s|a\.? ?u\.?\b|\bnorm")
_ANGLE_WORDS = re.compile(r"theta|θ|omega|ω|\b2th\b|\btth\b|\bom\b|angle|winkel|offset")
_TIME_WORDS = re.compile(r"\btimes?\b|\bseconds\b|\bt ?(count|step)\b|\bs/(step|point)\b")
_LOGARITHM = re.compile(r"\b(log|log ?10|ln|lg)\b")
_OTHER_UNITS = re.compile(r"(?:[(\[] *(min|gon|grad)\.? *[)\]])|(?:^|[^a-zµμ])([µμu]rad|micro ?rad\w*)(?:$|[^a-z])")
_UNIT_WORDS = (
    ("arcsec", r"arc ?sec\w*|asec|seconds? of arc|″|''|(?<=[(\[])(?:sec|\")(?=[)\]])"),
    ("arcmin", r"arc ?min\w*|amin|minutes? of arc|′"),
    ("mrad", r"mrad\w*|millirad\w*"),
    ("mdeg", r"mdeg\w*|millideg\w*"),
    ("rad", r"rad(ians?)?"),
    ("deg", r"deg(rees?)?|°"),
)


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


def guess_kind(heading: str) -> str | None:
    """Kind of angle axis that a heading names, or None."""
    text = re.sub(r"[\W_]+", "", heading.lower())
    relative = re.search(r"offset|delta|relative|^dtheta|^domega|omega.*omega[0b]|theta.*theta[0b]", text)
    if relative or re.search(r"\brel\b", _words(heading)):
        return "offset"
    if re.search(r"2theta|twotheta|2th|tth", text) or "2θ" in heading:
        return "two_theta"
    return "omega" if re.search(r"omega|^om\b|ω", heading.lower()) else None


def guess_unit(heading: str) -> str | None:
    """Angle unit that a heading names, or None."""
    text = _words(heading)
    for unit, words in _UNIT_WORDS:
        if re.search(rf"(?:^|[^a-z])(?:{words})(?:$|[^a-z])", text):
            return unit
    return None


def is_unit(cell: str) -> bool:
    """Whether a cell is nothing but an angle unit, in brackets or not."""
    text = cell.lower().strip(" []()")
    return any(re.fullmatch(words, text) for _, words in _UNIT_WORDS)


def guess_data(header: list[str] | None, others: list[int]) -> int | None:
    """Column whose heading alone speaks of counts or an intensity, or None; ``others`` are something else."""
    return _only(_DATA_WORDS, header, others)


def guess_times(header: list[str] | None, others: list[int]) -> int | None:
    """Column whose heading alone speaks of a time, or None; ``others`` are something else."""
    return _only(_TIME_WORDS, header, others)


def guess_angles(header: list[str] | None) -> int:
    """Column of the angles: the first, unless only the headings of others speak of angles."""
    headings = [_words(heading) for heading in header or ()]
    named = [i for i, text in enumerate(headings) if _ANGLE_WORDS.search(text) and not _DATA_WORDS.search(text)]
    return 0 if not named or 0 in named or guess_unit(headings[0]) else named[0]


def _only(what: re.Pattern[str], header: list[str] | None, others: list[int]) -> int | None:
    found = [i for i, heading in enumerate(header or ()) if what.search(_words(heading)) and i not in others]
    return found[0] if len(found) == 1 else None


def _words(heading: str) -> str:
    return heading.lower().replace("_", " ")


def is_rate(heading: str) -> bool:
    """Whether a heading says that what stands below was divided by something, so that whole numbers are no counts."""
    return _RATE_WORDS.search(_words(heading)) is not None


def foreign_unit(heading: str) -> str:
    """Unit of angles in a heading that nobody here knows, or an empty string."""
    found = _OTHER_UNITS.search(_words(heading))
    return next(filter(None, found.groups())) if found else ""


def is_logarithm(heading: str) -> bool:
    """Whether a heading says that what stands below is a logarithm."""
    return _LOGARITHM.search(_words(heading)) is not None
