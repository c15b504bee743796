"""SPEC files: text, scans that begin with ``#S``, columns named by ``#L``."""

import re

from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.content import decode
from hrxrd_ml.io.scan import listed

BEGIN = re.compile(rb"^#S\s+\d+", re.MULTILINE)
_SCAN = re.compile(r"^#S\s+\d+", re.MULTILINE)


def pick(data: bytes, scan: int | None) -> bytes:
    """One scan of a SPEC file, as the text of its table, with as many lines before it as in the file.

    Parameters
    ----------
    data
        The file.
    scan
        Which one, counted from 0 in the order of the file; None: the only one.

    Raises
    ------
    InputFileError
        If there are several and no choice, or none of that number.
    """
    text = decode(data)
    starts = [match.start() for match in _SCAN.finditer(text)]
    blocks = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    names = [block.splitlines()[0].removeprefix("#S").strip() for block in blocks]
    if scan is None and len(blocks) > 1:
        raise InputFileError(listed(names))
    number = scan or 0
    if not 0 <= number < len(blocks):
        raise InputFileError(f"the file holds {len(blocks)} scan(s), numbered from 0; there is no scan {number}")
    before = text[: starts[number]].count("\n")
    return ("\n" * before + blocks[number]).encode()
