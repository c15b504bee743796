"""Bruker .brml files: a zip archive of XML, one ``RawData<i>.xml`` with comma-separated points for each scan.

A ``Datum`` row holds time, attenuation factor, one position for each scan axis, and the counts of a point
detector. Where the file describes its columns (``DataViews``), the description decides; otherwise that
order is taken. Programs of the maker multiply the counts by the attenuation factor, which is undone here.
"""

import re
import warnings
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.content import numbered_members, open_archive, parse_xml, read_member, to_number
from hrxrd_ml.io.curve import MAX_POINTS
from hrxrd_ml.io.scan import DETECTOR_SCAN, Scan, detected

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
    names = [(a.get("AxisId") or a.get("AxisName") or "") for a in route.iter("ScanAxisInfo")]
    columns = _described(route) or _usual(names)
    width = len(rows[0])
    if len(columns) != width:
        raise InputFileError(
            f"its points have {width} columns where {len(columns)} were expected "
            f"({', '.join(column.name or column.role for column in columns)}); "
            "expected a scan with a point detector: export it as text"
        )

    def values(index: int) -> FloatArray:
        return np.array([to_number(row[index], f"point {i}") for i, row in enumerate(rows)])

    def only(role: str) -> int | None:
        return next((i for i, column in enumerate(columns) if column.role == role), None)

    axes: dict[str, FloatArray] = {}
    for i, column in sorted(enumerate(columns), key=lambda item: item[1].category == "random"):
        kind = _KINDS.get(column.name.lower())
        if column.role == "axis" and kind and kind not in axes and np.ptp(moved := values(i)) > 0.0:
            axes[kind] = moved
    if not axes:
        raise InputFileError(f"neither Theta nor 2Theta moves (axes: {', '.join(names) or 'none named'})")
    factor, time = only("attenuation"), only("time")
    attenuation = None if factor is None else values(factor)
    counted = values(_counter(columns))
    if attenuation is not None and (attenuation > 0.0).all():
        counted = detected(stored := counted, attenuation)  # the program has multiplied them
        if (stored == np.round(stored)).all() and (counted != np.round(counted)).any():
            warnings.warn(
                "the counts are no whole multiples of the absorber's factors; they are divided by them all the same, "
                "as programs of the maker multiply them",
                stacklevel=2,
            )
    wavelength = root.find(".//WaveLengthAlpha1")
    text = "" if wavelength is None else (wavelength.get("Value") or wavelength.text or "")
    return Scan(
        axes={kind: axes[kind] for kind in ("omega", "two_theta") if kind in axes},
        values=counted,
        unit="deg",
        values_unit="counts",
        attenuation=attenuation,
        counting_time=None if time is None else values(time),
        wavelength=to_number(text, "wavelength") if text.strip() else None,
        scan_axis=_scan_name(route) or "-".join(names),
        kind_question=DETECTOR_SCAN if set(axes) == {"two_theta"} and len(names) == 1 else "",
    )


def _scan_name(route: ET.Element) -> str:
    information = route.find(".//ScanInformation")
    return "" if information is None else information.get("VisibleName", "")


@dataclass(frozen=True)
class _Column:
    """One column of a point: its role (time, attenuation, axis, counts, other) and its own name."""

    role: str
    name: str = ""
    category: str = ""


def _counter(columns: list[_Column]) -> int:
    """Column of the counts: the recorded one of the category Count, or the only one."""
    recorded = [i for i, column in enumerate(columns) if column.role == "counts"]
    for found in ([i for i in recorded if columns[i].category.lower() in ("count", "counts")], recorded):
        if len(found) == 1:
            return found[0]
        if found:
            named = ", ".join(columns[i].name for i in found)
            raise InputFileError(f"several columns record counts ({named}); export the right one as text")
    raise InputFileError("no column records counts; expected a scan with a point detector")


def _usual(names: list[str]) -> list[_Column]:
    """Columns of a file that does not describe them: time, attenuation, the axes, counts."""
    return [_Column("time"), _Column("attenuation"), *(_Column("axis", name) for name in names), _Column("counts")]


def _described(route: ET.Element) -> list[_Column]:
    """Columns by the descriptions in ``DataViews``; empty if there are none.

    Drive positions of the view ``RandomAccess``, which newer files have beside those of the scan, come second.
    """
    columns: dict[int, _Column] = {}
    for view in route.iter("RawDataView"):
        start, length = view.get("Start", ""), view.get("Length", "")
        if not _INDEX.fullmatch(start) or not _INDEX.fullmatch(length) or int(length) > _MAX_COLUMNS:
            raise InputFileError(f"a view of its columns has start {start[:20]!r} and length {length[:20]!r}")
        parts = [p for p in view.iter() if p.tag in ("FieldDefinitions", "Varying", "Recording", "Fixed")]
        fields = [p for p in parts if p.tag == "FieldDefinitions"] or parts or [view]
        if len(fields) != int(length):
            fields = fields[:1] * int(length)  # positions of a detector with several channels, of a view without names
        category = next((p.get("Category", "") for p in view.iter() if p.get("Category")), "")
        random = "randomaccess" in " ".join(v for p in (view, *parts) for v in p.attrib.values()).lower()
        for offset, field in enumerate(fields):
            column = _column(field, recorded=view.find(".//Recording") is not None)
            own = "random" if random else field.get("Category") or category
            columns[int(start) + offset] = replace(column, category=own)
    if sorted(columns) != list(range(len(columns))):
        raise InputFileError("the views of its columns leave gaps; export the scan as text")
    return [columns[i] for i in range(len(columns))]


def _column(field: ET.Element, *, recorded: bool) -> _Column:
    own = (field.get(key) for key in ("AxisId", "FieldName", "LogicName", "VisibleName"))
    name = next((text for text in own if text), "")
    lowered = name.lower()
    if recorded or "counter" in lowered:
        return _Column("counts", name)
    if "absor" in lowered or "attenuat" in lowered:
        return _Column("attenuation", name)
    if "time" in lowered:
        return _Column("other" if "planned" in lowered else "time", name)
    return _Column("axis", name)
