"""What a reader hands on: one scan as the file holds it, before any choice of axis or check of values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError


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
    foreign_unit
        Unit of the angles that the file names and that is none of `hrxrd_ml.units`, or ``""``.
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
    guessed_kind, guessed_unit
        What a column's heading or a scan's name suggests; used only where nobody says otherwise.
    """

    axes: Mapping[str, FloatArray]
    values: FloatArray
    unit: str | None = None
    values_unit: str = ""
    foreign_unit: str = ""
    attenuation: FloatArray | None = None
    counting_time: FloatArray | None = None
    sigma: FloatArray | None = None
    wavelength: float | None = None
    lines: Sequence[int] | None = field(default=None, repr=False)
    scan_axis: str = ""
    guessed_kind: str | None = None
    guessed_unit: str | None = None


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
            listed = ", ".join(f"{i}: {s.scan_axis or 'scan'}, {len(s.values)} points" for i, s in enumerate(scans[:5]))
            more = ", ..." if len(scans) > 5 else ""
            raise InputFileError(
                f"the file holds {len(scans)} scans ({listed}{more}); choose one with scan=, counted from 0"
            )
        return scans[0]
    if not 0 <= scan < len(scans):
        raise InputFileError(f"the file holds {len(scans)} scan(s), numbered from 0; there is no scan {scan}")
    return scans[scan]


def kind_of_scan(name: str) -> tuple[str, bool] | None:
    """Kind of the angle listed by a Rigaku file, by the name of the scan, and whether that is certain.

    ``Omega`` lists ω; ``2Theta/Omega`` and Bragg–Brentano scans list 2θ; programs differ on
    ``Omega/2Theta``, where ω is likely. Other motions give None.
    """
    key = "".join(c for c in name.lower() if c.isalnum()).replace("twotheta", "2theta")
    if key in ("omega", "theta"):
        return "omega", True
    if key in ("2thetaomega", "2thetatheta", "theta2theta", "thetatheta", "2theta"):
        return "two_theta", True
    return ("omega", False) if key == "omega2theta" else None


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
