"""Bruker .brml files: a zip archive of XML, one ``RawData<i>.xml`` with comma-separated points for each scan.

A ``Datum`` row holds time, attenuation factor, one position for each scan axis, and the counts of a point
detector. Where the file describes its columns (``DataViews``), the description decides; otherwise that
order is taken.
"""

import re
import xml.etree.ElementTree as ET

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.content import numbered_members, open_archive, parse_xml, read_member, to_number
from hrxrd_ml.io.curve import MAX_POINTS
from hrxrd_ml.io.scan import Scan

_RAW_DATA = re.compile(r"(?:^|/)Experiment([0-9]{1,9})/RawData([0-9]{1,9})\.xml$")
_INDEX = re.compile(r"[0-9]{1,9}")
_MAX_COLUMNS = 100
_KINDS = {"twotheta": "two_theta", "2theta": "two_theta", "theta": "omega", "omega": "omega"}


def read(data: bytes) -> list[Scan]:
    """All scans of a .brml file, in the order of their numbers.

    Raises
    ------
    InputFileError
        If the archive or its XML is damaged, or a scan is not one of ω or 2θ with a point detector.
    """
    archive = open_archive(data)
    scans = []
    for name in numbered_members(archive, _RAW_DATA):
        root = parse_xml(read_member(archive, name))
        routes = list(root.iter("DataRoute"))
        for route in [r for r in routes if r.get("RouteFlag") == "Final"] or routes or [root]:
            if route.find(".//Datum") is not None:
                try:
                    scans.append(_scan(route, root))
                except InputFileError as error:
                    raise InputFileError(f"{name}: {error}") from error
    return scans


def _scan(route: ET.Element, root: ET.Element) -> Scan:
    rows = [(d.text or "").split(",", maxsplit=_MAX_COLUMNS) for d in route.iter("Datum")]
    if len(rows) > MAX_POINTS or len(rows[0]) > _MAX_COLUMNS:
        raise InputFileError(
            f"{len(rows)} points of {len(rows[0])} or more columns; expected a scan with a point detector"
        )
    if len({len(row) for row in rows}) != 1:
        raise InputFileError("its points have different numbers of columns; the file is damaged")
    table = np.array([[to_number(word, f"point {i}") for word in row] for i, row in enumerate(rows)])
    names = [(a.get("AxisId") or a.get("AxisName") or "") for a in route.iter("ScanAxisInfo")]
    columns = _columns_described(route) or _columns_usual(names)
    width = table.shape[1]
    if max(columns.values()) >= width or len(columns) != width:
        raise InputFileError(
            f"its points have {width} columns where {len(columns)} were expected ({', '.join(columns)}); "
            "expected a scan with a point detector: export it as text"
        )
    axes: dict[str, FloatArray] = {}
    for name, column in columns.items():
        kind = _KINDS.get(name.lower())
        if kind and np.ptp(table[:, column]) > 0.0:
            axes[kind] = table[:, column]
    if not axes:
        raise InputFileError(f"neither Theta nor 2Theta moves (axes: {', '.join(names) or 'none named'})")
    scan_name = _scan_name(route)
    wavelength = root.find(".//WaveLengthAlpha1")
    text = "" if wavelength is None else (wavelength.get("Value") or wavelength.text or "")
    return Scan(
        axes={kind: axes[kind] for kind in ("omega", "two_theta") if kind in axes},
        values=table[:, columns["counts"]],
        unit="deg",
        values_unit="counts",
        attenuation=table[:, columns["attenuation"]] if "attenuation" in columns else None,
        counting_time=table[:, columns["time"]] if "time" in columns else None,
        wavelength=to_number(text, "wavelength") if text.strip() else None,
        scan_axis=scan_name or "-".join(names),
    )


def _scan_name(route: ET.Element) -> str:
    information = route.find(".//ScanInformation")
    return "" if information is None else information.get("VisibleName", "")


def _columns_usual(names: list[str]) -> dict[str, int]:
    """Columns of a file that does not describe them: time, attenuation, the axes, counts."""
    listed = ["time", "attenuation", *names, "counts"]
    return {name: column for column, name in enumerate(listed)}


def _columns_described(route: ET.Element) -> dict[str, int]:
    """Columns by the descriptions in ``DataViews``; empty if there is none or it is not understood."""
    columns: dict[str, int] = {}
    for view in route.iter("RawDataView"):
        start, length = view.get("Start", ""), view.get("Length", "")
        if not _INDEX.fullmatch(start) or not _INDEX.fullmatch(length):
            return {}
        described = [
            child.get("AxisId") or child.get("LogicName") or child.get("VisibleName") or ""
            for child in view.iter()
            if child.tag in ("Varying", "Recording")
        ]
        names = described or [view.get("LogicName", "")]
        if len(names) != int(length):
            return {}
        for offset, name in enumerate(names):
            columns[_meaning(name, recorded=view.find(".//Recording") is not None)] = int(start) + offset
    return columns if "counts" in columns else {}


def _meaning(name: str, *, recorded: bool) -> str:
    lowered = name.lower()
    if recorded or "counter" in lowered:
        return "counts"
    if "absor" in lowered or "attenuat" in lowered:
        return "attenuation"
    return "time" if "time" in lowered else name
