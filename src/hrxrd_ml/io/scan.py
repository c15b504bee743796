"""What a reader returns: one scan as the file holds it, before any choice of axis or check of values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError

DETECTOR_SCAN = (
    "2θ moves alone, as in a scan of the detector, which is no rocking curve; expected a scan of ω or one that couples "
    'both: if ω has moved too, say so with kind = "two_theta" under [axis], or kind='
)


@dataclass(frozen=True)
class Scan:
    """One scan of a measurement.

    Parameters
    ----------
    axes
        Angle axes that the file lists and that moved, kind → angles [n]; the preferred one first. Where
        the file does not say for certain what the angle is, as a text file, the one key is ``""``.
    unit
        Unit of the angles, one of ``hrxrd_ml.units.ANGLE_UNITS``, or None where the file does not say.
    values
        What was recorded [n]: counts before any correction for attenuation, or an intensity.
    values_unit
        ``"counts"`` if the file promises counts, else its own word for the unit, ``""`` if it has none.
    attenuation
        Factors by which the beam was weakened [n], 1 where it was not.
    counting_time
        Seconds per point [n].
    sigma
        Standard errors of ``values`` [n].
    wavelength
        Wavelength the file names [Å].
    lines
        Line of the text file that each point came from [n], counted from 1.
    scan_axis
        The file's own name of the scan.
    hkl
        Reflection the file names, or None.
    said_kind, said_unit
        What a column's heading says; used only where nobody says otherwise.
    kind_question, unit_question, values_question
        What the file leaves open, as a message that asks for it: it is asked unless a kind or unit of the axis is
        given, or what makes a rate a curve with errors. ``""``: nothing.
    """

    axes: Mapping[str, FloatArray]
    values: FloatArray
    unit: str | None = None
    values_unit: str = ""
    attenuation: FloatArray | None = None
    counting_time: FloatArray | None = None
    sigma: FloatArray | None = None
    wavelength: float | None = None
    lines: Sequence[int] | None = field(default=None, repr=False)
    scan_axis: str = ""
    hkl: tuple[int, int, int] | None = None
    said_kind: str = ""
    said_unit: str = ""
    kind_question: str = ""
    unit_question: str = ""
    values_question: str = ""


def select_scan(scans: Sequence[Scan], scan: int | None) -> Scan:
    """Pick one scan of a file; a file with several needs ``scan``, counted from 0.

    Raises
    ------
    InputFileError
        If there is none, several and no choice, or no scan of that number.
    """
    if not scans:
        raise InputFileError("the file holds no scan; expected at least one measured curve")
    if scan is None:
        if len(scans) > 1:
            raise InputFileError(listed([f"{s.scan_axis or 'scan'}, {len(s.values)} points" for s in scans]))
        return scans[0]
    if not 0 <= scan < len(scans):
        raise InputFileError(f"the file holds {len(scans)} scan(s), numbered from 0; there is no scan {scan}")
    return scans[scan]


def listed(names: Sequence[str]) -> str:
    """Message that asks which scan of a file is meant."""
    shown = ", ".join(f"{i}: {name[:60]}" for i, name in enumerate(names[:5])) + (", ..." if len(names) > 5 else "")
    return f"the file holds {len(names)} scans ({shown}); choose one with scan=, counted from 0"


def kind_of_scan(name: str) -> tuple[str, str]:
    """Kind of the angle that a scan of this name lists, and a question where the name leaves it open.

    ``Omega`` lists ω; ``2Theta/Omega`` and Bragg–Brentano scans list 2θ; programs differ on ``Omega/2Theta``, where ω
    is more likely. Other motions give an empty kind.
    """
    key = "".join(c for c in name.lower() if c.isalnum()).replace("twotheta", "2theta")
    if key in ("omega", "theta", "rocking", "rockingcurve"):
        return "omega", ""
    if key in ("2thetaomega", "2thetatheta", "theta2theta", "thetatheta", "gonio", "coupled"):
        return "two_theta", ""
    if key == "omega2theta":
        return "omega", (
            f"the scan axis is {name!r}, of which some programs list ω and others 2θ; say which "
            '(kind = "omega" or "two_theta" under [axis], or kind=)'
        )
    return ("two_theta", DETECTOR_SCAN) if key in ("2theta", "detector", "detectorscan") else ("", "")


def recover_counts(rate: FloatArray, seconds: FloatArray | None) -> FloatArray | None:
    """Counts behind a count rate, if rate times counting time gives whole numbers; else None.

    Some programs store counts per second although counts were recorded. The counts are what obeys Poisson
    statistics, so they are restored where the file allows it beyond doubt.
    """
    if seconds is None:
        return None
    counts = rate * seconds
    whole = np.round(counts)
    # Rates are printed with some 4 decimals or 6 digits.
    tolerance = np.minimum(0.2, 1e-3 + 1e-4 * seconds + 2e-6 * np.abs(counts))
    return whole if np.all(np.abs(counts - whole) <= tolerance) else None


def detected(values: FloatArray, attenuation: FloatArray) -> FloatArray:
    """What a counter saw, of values that a program has multiplied by the attenuation factors.

    Where all quotients are whole numbers, to the accuracy that the rounded product leaves, they are rounded.
    """
    counts = values / attenuation
    whole = np.round(counts)
    tolerance = np.where(attenuation > 1.0, np.minimum(0.4, 0.5 / attenuation + 0.01), 1e-6)
    return whole if np.all(np.abs(counts - whole) <= tolerance) else counts
