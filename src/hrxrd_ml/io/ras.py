"""Rigaku .ras files: text, one header and one block of rows "angle value attenuation" for each scan."""

import re

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.content import decode, to_number
from hrxrd_ml.io.scan import Scan, kind_of_scan, recover_counts

_HEADER = re.compile(r'^\*(?P<key>[A-Z0-9_-]+)\s+"(?P<value>.*)"\s*$')


def read(data: bytes) -> list[Scan]:
    """All scans of a .ras file, in the order of the file.

    Raises
    ------
    InputFileError
        If a block of rows is damaged or its axis is not ω or 2θ.
    """
    scans: list[Scan] = []
    header: dict[str, str] = {}
    rows: list[list[float]] | None = None
    lines: list[int] = []
    for number, line in enumerate(decode(data).splitlines(), start=1):
        text = line.strip()
        if text.startswith("*RAS_HEADER_START"):
            header = {}
        elif text.startswith("*RAS_INT_START"):
            rows, lines = [], []
        elif text.startswith("*RAS_INT_END"):
            if rows is None:
                raise InputFileError(f"line {number}: *RAS_INT_END without *RAS_INT_START")
            scans.append(make_scan(header, rows, lines))
            rows = None
        elif rows is not None and text:
            rows.append([to_number(word, f"line {number}") for word in text.split()])
            lines.append(number)
        elif match := _HEADER.match(text):
            header[match["key"]] = match["value"].strip()
    if rows is not None:
        raise InputFileError("the file ends in the middle of its data (no *RAS_INT_END); copy it anew")
    return scans


def make_scan(header: dict[str, str], rows: list[list[float]], lines: list[int]) -> Scan:
    """One scan from its header, with the keys of a .ras file, and its rows (angle, value[, attenuation])."""
    widths = {len(row) for row in rows}
    if not rows or len(widths) != 1 or widths.pop() not in (2, 3):
        raise InputFileError("expected rows of two or three numbers (angle, counts, attenuation)")
    table = np.array(rows, dtype=np.float64)
    name = header.get("MEAS_SCAN_AXIS_X_INTERNAL") or header.get("MEAS_SCAN_AXIS_X", "")
    kind, question = kind_of_scan(name)
    if not kind:
        kind, question = kind_of_scan(header.get("MEAS_SCAN_AXIS_X", ""))
    if not kind:
        raise InputFileError(f"the scan axis is {name!r}; expected an Omega or a 2Theta/Omega scan")
    if question and kind == "omega" and (stood := _stood_at(header, table[:, 0])):
        kind, question = stood, ""
    unit = header.get("MEAS_SCAN_UNIT_X", "deg").lower()
    if unit not in ("deg", "mdeg", "rad"):
        raise InputFileError(f"the angles are in {unit!r}; expected deg, mdeg or rad")
    seconds = _seconds(header, len(table))
    values, values_unit = table[:, 1], header.get("MEAS_SCAN_UNIT_Y", "counts").lower()
    if values_unit != "counts":
        counts = recover_counts(values, seconds)
        values, values_unit = (values, values_unit) if counts is None else (counts, "counts")
    wavelength = header.get("HW_XG_WAVE_LENGTH_ALPHA1", "")
    return Scan(
        axes={"" if question else kind: table[:, 0]},
        values=values,
        unit=unit,
        values_unit=values_unit,
        attenuation=table[:, 2] if table.shape[1] == 3 else None,
        counting_time=seconds,
        wavelength=to_number(wavelength, "wavelength") if wavelength else None,
        lines=lines,
        scan_axis=name,
        kind_question=question,
    )


def _stood_at(header: dict[str, str], angles: FloatArray) -> str:
    """Kind of the listed angles, by the axis that stood within their range before or after the scan."""
    kinds = {"Omega": "omega", "TwoTheta": "two_theta", "2-Theta": "two_theta", "2Theta": "two_theta"}
    margin = 0.1 * float(np.ptp(angles)) + 0.01
    found = set()
    for key, name in header.items():
        if key.startswith(("MEAS_COND_AXIS_NAME-", "MEAS_COND_AXIS_NAME_INTERNAL-")) and name in kinds:
            place = header.get(f"MEAS_COND_AXIS_POSITION-{key.rpartition('-')[2]}", "")
            try:
                at = float(place)
            except ValueError:
                continue
            if angles.min() - margin <= at <= angles.max() + margin:
                found.add(kinds[name])
    return found.pop() if len(found) == 1 else ""


def _seconds(header: dict[str, str], n: int) -> FloatArray | None:
    """Counting time per point [s]: step over speed of a continuous scan, or the time of a stepwise one."""
    try:
        speed = float(header["MEAS_SCAN_SPEED"])
        step = abs(float(header["MEAS_SCAN_STEP"]))
    except (KeyError, ValueError):
        return None
    unit = header.get("MEAS_SCAN_SPEED_UNIT", "").lower()
    seconds = {"deg/min": 60.0 * step / speed if speed > 0 else 0.0, "sec": speed, "s": speed}.get(unit, 0.0)
    return np.full(n, seconds) if seconds > 0 else None
