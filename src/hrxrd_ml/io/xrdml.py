"""PANalytical .xrdml files, schema versions 1.x and 2.x.

Version 2 stores ``counts``, as detected, and the attenuation factors beside them. Version 1 stores
``intensities``, already multiplied by the factors; dividing restores what was detected. Either way the
values handed on are detected counts and the factors stay a separate column.
"""

import re
import xml.etree.ElementTree as ET

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.content import parse_xml, to_number, to_numbers
from hrxrd_ml.io.scan import DETECTOR_SCAN, Scan, detected, recover_counts

_KINDS = {"Omega": "omega", "2Theta": "two_theta"}
_UNITS = {"deg": "deg", "mdeg": "mdeg", "rad": "rad", "sec": "arcsec", "arcsec": "arcsec"}
_PREFER_TWO_THETA = ("Gonio", "2Theta")
_COUPLED = ("Gonio", "2Theta-Omega", "Omega-2Theta")


def read(data: bytes) -> list[Scan]:
    """All scans of an .xrdml file, in the order of the file.

    Raises
    ------
    InputFileError
        If the XML is damaged or lacks what a scan needs.
    """
    root = parse_xml(data)
    if root.tag != "xrdMeasurements":
        raise InputFileError(f"expected an .xrdml file (root xrdMeasurements), got XML with root {root.tag}")
    scans = []
    for measurement in root.iter("xrdMeasurement"):
        wavelength = _wavelength(measurement)
        for element in measurement.iter("scan"):
            try:
                scans.append(_scan(element, wavelength))
            except InputFileError as error:
                raise InputFileError(f"scan {len(scans)} of the file: {error}") from error
    return scans


def _wavelength(measurement: ET.Element) -> float | None:
    """Wavelength [Å] that was used: Kα1 unless Kβ was intended."""
    used = measurement.find("usedWavelength")
    if used is None:
        return None
    line = "kBeta" if "beta" in used.get("intended", "").lower() else "kAlpha1"
    text = used.findtext(line)
    return to_number(text, f"wavelength {line}") if text and text.strip() else None


def _scan(element: ET.Element, wavelength: float | None) -> Scan:
    points = element.find("dataPoints")
    if points is None:
        raise InputFileError("no dataPoints; expected positions and counts")
    attenuation = _optional(points, "beamAttenuationFactors")
    values, unit = _values(points, attenuation)
    n = len(values)
    seconds = _optional(points, "countingTimes")
    common = points.findtext("commonCountingTime")
    if seconds is None and common and common.strip():
        seconds = np.full(n, to_number(common, "commonCountingTime"))
    for array, what in ((attenuation, "beamAttenuationFactors"), (seconds, "countingTimes")):
        if array is not None and len(array) != n:
            raise InputFileError(f"{what} has {len(array)} values for {n} points; the file is damaged")
    if unit not in ("", "counts"):
        counts = recover_counts(values, seconds)
        values, unit = (values, unit) if counts is None else (counts, "counts")
    scan_axis = element.get("scanAxis", "")
    axes, angle_unit = _axes(points, n)
    if not axes:
        raise InputFileError(
            f"neither Omega nor 2Theta moves in this scan (scan axis {scan_axis or 'not named'}); "
            "expected a rocking curve"
        )
    order = ("two_theta", "omega") if scan_axis in _PREFER_TWO_THETA else ("omega", "two_theta")
    return Scan(
        axes={kind: axes[kind] for kind in order if kind in axes},
        values=values,
        unit=angle_unit,
        values_unit=unit or "counts",
        attenuation=attenuation,
        counting_time=seconds,
        wavelength=wavelength,
        scan_axis=scan_axis,
        hkl=_hkl(element),
        kind_question=DETECTOR_SCAN if set(axes) == {"two_theta"} and scan_axis not in _COUPLED else "",
    )


def _hkl(element: ET.Element) -> tuple[int, int, int] | None:
    """Reflection of the sample, where the file names one."""
    words = [(element.findtext(f"reflection/hkl/{index}") or "").strip() for index in "hkl"]
    if not all(re.fullmatch(r"[+-]?[0-9]{1,3}", word) for word in words):
        return None
    h, k, l = map(int, words)  # noqa: E741
    return (h, k, l) if h or k or l else None


def _optional(points: ET.Element, tag: str) -> FloatArray | None:
    element = points.find(tag)
    return None if element is None else to_numbers(element.text, tag)


def _values(points: ET.Element, attenuation: FloatArray | None) -> tuple[FloatArray, str]:
    """What was detected, and its unit."""
    counts = points.find("counts")
    if counts is not None:
        return to_numbers(counts.text, "counts"), counts.get("unit", "counts")
    corrected = points.find("intensities")
    if corrected is None:
        raise InputFileError("no counts and no intensities; expected one of them")
    values, unit = to_numbers(corrected.text, "intensities"), corrected.get("unit", "counts")
    if attenuation is None or len(attenuation) != len(values) or np.any(attenuation <= 0):
        return values, unit
    return detected(values, attenuation), unit


def _axes(points: ET.Element, n: int) -> tuple[dict[str, FloatArray], str]:
    """Axes that move, by kind, and their unit."""
    axes: dict[str, FloatArray] = {}
    units = set()
    for positions in points.iter("positions"):
        name = positions.get("axis", "")
        if name not in _KINDS or positions.find("commonPosition") is not None:
            continue
        angles = _positions(positions, name, n)
        if n > 1 and np.ptp(angles) == 0.0:
            continue
        axes[_KINDS[name]] = angles
        unit = positions.get("unit", "deg")
        if unit not in _UNITS:
            raise InputFileError(f"axis {name} is in {unit!r}; expected one of {', '.join(_UNITS)}")
        units.add(_UNITS[unit])
    if len(units) > 1:
        raise InputFileError(f"the axes have different units ({', '.join(sorted(units))}); expected one")
    return axes, units.pop() if units else "deg"


def _positions(positions: ET.Element, name: str, n: int) -> FloatArray:
    listed = positions.find("listPositions")
    if listed is not None:
        angles = to_numbers(listed.text, f"positions of {name}")
        if len(angles) != n:
            raise InputFileError(f"axis {name} lists {len(angles)} positions for {n} points")
        return angles
    start, end = positions.findtext("startPosition"), positions.findtext("endPosition")
    if start is None or end is None:
        raise InputFileError(f"axis {name} has neither start and end nor listed positions")
    return np.linspace(to_number(start, f"start of {name}"), to_number(end, f"end of {name}"), n)
