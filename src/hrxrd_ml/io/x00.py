"""X'Pert .x00 files: lines ``Name, value``, then the rates of one scan, one a line."""

import re

import numpy as np

from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.content import decode, to_number
from hrxrd_ml.io.curve import MAX_POINTS
from hrxrd_ml.io.scan import Scan, kind_of_scan, recover_counts

BEGIN = "HR-XRDScan"


def read(data: bytes) -> list[Scan]:
    """The scan of an .x00 file.

    Values are rates; times the counting time they give counts, which are restored where all are whole.

    Raises
    ------
    InputFileError
        If the header lacks what a scan needs, the number of values is not the one it says, or the axis is not ω or 2θ.
    """
    lines = [line.strip() for line in decode(data).splitlines()]
    if "ScanData" not in lines:
        raise InputFileError("the file ends before its data (no line ScanData); copy it anew")
    begin = lines.index("ScanData") + 1
    header = {name.strip(): value.strip() for name, _, value in (line.partition(",") for line in lines[: begin - 1])}
    points = [(number, line) for number, line in enumerate(lines[begin:], start=begin + 1) if line]
    values = np.array([to_number(line, f"line {number}") for number, line in points])

    def number(key: str) -> float:
        if key not in header:
            raise InputFileError(f"the header has no {key}; the file is damaged")
        return to_number(header[key], key)

    n = len(values)
    if n != number("NrOfData") or n > MAX_POINTS:
        raise InputFileError(
            f"{n} values where the header says {header['NrOfData']} (at most {MAX_POINTS}); copy it anew"
        )
    axis = header.get("ScanAxis", "")
    # Of "Omega/2Theta" this program lists the first: FirstAngle lies at Omega.
    kind, question = ("omega", "") if axis.replace(" ", "").lower() == "omega/2theta" else kind_of_scan(axis)
    if not kind:
        raise InputFileError(f"the scan axis is {axis!r}; expected an Omega or a 2Theta/Omega scan")
    times = np.full(n, number("TimePerStep"))
    counts = recover_counts(values, times)
    hkl = [int(word) for word in header.get("Reflection", "").split() if re.fullmatch(r"-?[0-9]{1,3}", word)]
    return [
        Scan(
            axes={"" if question else kind: number("FirstAngle") + number("StepWidth") * np.arange(float(n))},
            values=values if counts is None else counts,
            unit="deg",
            values_unit="cps" if counts is None else "counts",
            counting_time=times,
            wavelength=number("Wavelength") if "Wavelength" in header else None,
            lines=[number for number, _ in points],
            scan_axis=axis,
            hkl=(hkl[0], hkl[1], hkl[2]) if len(hkl) == 3 and any(hkl) else None,
            kind_question=question,
        )
    ]
