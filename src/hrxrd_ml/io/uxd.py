"""Bruker .uxd files: text, settings ``_NAME=value``, then numbers; each range is a scan."""

import re

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.content import decode, to_number
from hrxrd_ml.io.curve import MAX_POINTS
from hrxrd_ml.io.scan import DETECTOR_SCAN, Scan, recover_counts

BEGIN = re.compile(r"^_FILEVERSION\s*=", re.MULTILINE)
_SETTING = re.compile(r"_(?P<key>\w+)\s*=\s*(?P<value>.*)")
_DATA = re.compile(r"_(?P<angle>2THETA|THETA|OMEGA)?(?P<unit>COUNTS|CPS)")
_DRIVES = {
    "COUPLED": ("two_theta", ""), "2THETA/THETA": ("two_theta", ""), "THETA": ("omega", ""), "OMEGA": ("omega", ""),
    "TWOTHETA": ("two_theta", DETECTOR_SCAN), "2THETA": ("two_theta", DETECTOR_SCAN),
}  # fmt: skip


def read(data: bytes) -> list[Scan]:
    """All ranges of a .uxd file, in the order of the file.

    Raises
    ------
    InputFileError
        If a range is damaged, or its drive is not ω, 2θ or both coupled.
    """
    scans: list[Scan] = []
    settings: dict[str, str] = {}
    rows: list[list[float]] = []
    lines: list[int] = []
    mark: re.Match[str] | None = None

    def finish() -> None:
        if mark is not None:
            try:
                scans.append(_scan(settings, mark, rows, lines))
            except InputFileError as error:
                raise InputFileError(f"range {len(scans)} of the file: {error}") from error

    for number, line in enumerate(decode(data).splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith(";"):
            continue
        if found := _SETTING.fullmatch(text):
            if rows or mark:
                finish()
                rows, lines, mark = [], [], None
            settings[found["key"]] = found["value"].strip().strip("'\"").strip()
        elif found := _DATA.fullmatch(text):
            finish()
            mark, rows, lines = found, [], []
        elif mark is None:
            raise InputFileError(f"line {number}: {text[:40]!r} is neither a setting nor behind _COUNTS or _CPS")
        else:
            rows.append([to_number(word, f"line {number}") for word in text.replace(",", " ").split()])
            lines.append(number)
    finish()
    return scans


def _scan(settings: dict[str, str], mark: re.Match[str], rows: list[list[float]], lines: list[int]) -> Scan:
    drive = settings.get("DRIVE", "").upper().replace(" ", "")
    if drive not in _DRIVES:
        raise InputFileError(f"the drive is {drive or 'not named'!r}; expected COUPLED, OMEGA or THETA")
    kind, question = _DRIVES[drive]
    if mark["angle"]:
        if {len(row) for row in rows} != {2}:
            raise InputFileError(f"expected rows of two numbers behind {mark[0]}, angle and counts")
        angles, values = np.array(rows, dtype=np.float64).T
        if (mark["angle"] == "2THETA") != (kind == "two_theta"):
            question = (
                f"the drive is {drive} and the column {mark[0]}; say whether these angles are ω or 2θ (kind under "
                "[axis], or kind=)"
            )
        placed: list[int] | None = lines
    else:
        values = np.array([value for row in rows for value in row])
        angles = _angles(settings, kind, len(values))
        placed = None
    seconds = _number(settings, "STEPTIME")
    times = np.full(len(values), seconds) if seconds else None
    unit = "counts"
    if mark["unit"] == "CPS":
        counts = recover_counts(values, times)
        values, unit = (values, "cps") if counts is None else (counts, "counts")
    return Scan(
        axes={"" if question else kind: angles},
        values=values,
        unit="deg",
        values_unit=unit,
        counting_time=times,
        wavelength=_number(settings, "WL1"),
        lines=placed,
        scan_axis=drive,
        kind_question=question,
    )


def _angles(settings: dict[str, str], kind: str, n: int) -> FloatArray:
    """Angles of a range that lists counts alone: from where its drive began, in steps."""
    if n > MAX_POINTS:
        raise InputFileError(f"{n} points; expected at most {MAX_POINTS}")
    own = _number(settings, "2THETA" if kind == "two_theta" else "THETA")
    start = _number(settings, "START") if own is None else own
    step = _number(settings, "STEPSIZE")
    if start is None or not step:
        raise InputFileError("neither angles nor _START and _STEPSIZE; expected one of them")
    return start + step * np.arange(float(n))


def _number(settings: dict[str, str], key: str) -> float | None:
    return to_number(settings[key], f"_{key}") if settings.get(key) else None
