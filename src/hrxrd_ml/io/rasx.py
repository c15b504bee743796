"""Rigaku .rasx files: a zip archive with a table and an XML description for each scan.

``Data<i>/Profile<j>.txt`` has rows "angle value attenuation"; ``Data<i>/MesurementConditions<j>.xml`` (so
spelt by the maker) names axis, units, speed and wavelength.
"""

import re
import xml.etree.ElementTree as ET
import zipfile

from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.content import decode, numbered_members, open_archive, parse_xml, read_member, to_number
from hrxrd_ml.io.ras import make_scan
from hrxrd_ml.io.scan import Scan

_PROFILE = re.compile(r"(?:^|/)Data([0-9]{1,9})/Profile([0-9]{1,9})\.txt$")
# Element of the XML, and the key that a .ras file gives to the same thing.
_KEYS = {
    "AxisName": "MEAS_SCAN_AXIS_X",
    "PositionUnit": "MEAS_SCAN_UNIT_X",
    "IntensityUnit": "MEAS_SCAN_UNIT_Y",
    "Step": "MEAS_SCAN_STEP",
    "Speed": "MEAS_SCAN_SPEED",
    "SpeedUnit": "MEAS_SCAN_SPEED_UNIT",
}


def read(data: bytes) -> list[Scan]:
    """All scans of a .rasx file, in the order of their numbers.

    Raises
    ------
    InputFileError
        If the archive or one of its members is damaged, or a scan axis is not ω or 2θ.
    """
    archive = open_archive(data)
    return [_read_scan(archive, name) for name in numbered_members(archive, _PROFILE)]


def _read_scan(archive: zipfile.ZipFile, profile: str) -> Scan:
    conditions = re.sub(r"Profile(\d+)\.txt$", r"MesurementConditions\1.xml", profile)
    right_spelling = conditions.replace("Mesurement", "Measurement")
    present = [name for name in (conditions, right_spelling) if name in archive.namelist()]
    if not present:
        raise InputFileError(f"the archive has {profile} but no {conditions}, which names the scan axis")
    header = _header(parse_xml(read_member(archive, present[0])))
    rows, lines = [], []
    for number, line in enumerate(decode(read_member(archive, profile)).splitlines(), start=1):
        if line.strip():
            rows.append([to_number(word, f"{profile}, line {number}") for word in line.split()])
            lines.append(number)
    return make_scan(header, rows, lines)


def _header(root: ET.Element) -> dict[str, str]:
    """What the XML says, under the keys of a .ras file."""
    header = {}
    scan = next(root.iter("ScanInformation"), root)
    for tag, key in _KEYS.items():
        text = (scan.findtext(f".//{tag}") or "").strip()
        if text:
            header[key] = text
    wavelength = (root.findtext(".//WavelengthKalpha1") or "").strip()
    if wavelength:
        header["HW_XG_WAVE_LENGTH_ALPHA1"] = wavelength
    return header
