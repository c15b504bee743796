"""`read_curve`: from a file of any known format to a labelled curve."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import CurveError, InputFileError
from hrxrd_ml.io import brml, content, ras, rasx, text, xrdml
from hrxrd_ml.io.columns import Column
from hrxrd_ml.io.curve import make_curve
from hrxrd_ml.io.experiment.read import find_experiment, read_experiment
from hrxrd_ml.io.experiment.settings import DATA_KINDS, AxisSettings, Experiment, IntensitySettings
from hrxrd_ml.io.scan import Scan, select_scan
from hrxrd_ml.units import ANGLE_UNITS, AXIS_KINDS, convert_angle

if TYPE_CHECKING:
    import xarray as xr


def read_curve(
    path: str | os.PathLike[str],
    *,
    x_column: Column | None = None,
    column: Column | None = None,
    kind: str | None = None,
    unit: str | None = None,
    data_kind: str | None = None,
    sigma_column: Column | None = None,
    relative_error: float | None = None,
    wavelength: float | None = None,
    scan: int | None = None,
    attenuation_column: Column | None = None,
    counting_time_column: Column | None = None,
    experiment: Experiment | str | os.PathLike[str] | bool | None = None,
) -> "xr.DataArray":
    """Read a measured rocking curve.

    The format is told from the content: columns of text, PANalytical .xrdml, Rigaku .ras and .rasx,
    Bruker .brml. Counts are kept as detected: attenuation factors and counting times become coordinates
    beside them and are never multiplied in.

    Parameters
    ----------
    path
        The data file.
    x_column, column, sigma_column, attenuation_column, counting_time_column
        Columns of a text file: heading or index from 0. By default the first two are angle and counts.
    kind
        Kind of the angle axis: ``"offset"``, ``"omega"`` or ``"two_theta"``. By default what the file
        says, else what the heading of the column suggests, else ``"omega"``.
    unit
        Unit of the angles: ``"arcsec"``, ``"deg"``, ``"mdeg"`` or ``"rad"``. By default what the file
        says or the heading suggests, else ``"deg"``. A file that states its unit is converted to the one
        asked for.
    data_kind
        ``"counts"`` or ``"intensity"``; by default counts if all values are whole numbers.
    relative_error
        Relative standard error of an intensity without sigma column. Where it is not given the curve has no ``sigma``,
        and a fit takes some error and scales it (statistics "relative").
    wavelength
        Wavelength [Å] to record with the curve instead of the one the file names.
    scan
        Number of the scan, from 0, in a file that holds several.
    experiment
        An experiment, or the path of its file, whose ``[axis]`` and ``[intensity]`` fill in what is not given
        here. By default the file of the same stem beside the curve, if there is one; False: none.

    Returns
    -------
    xarray.DataArray
        Named ``counts`` or ``intensity``, dimension ``x`` (strictly increasing; attributes ``kind``,
        ``units``), coordinates ``attenuation``, ``counting_time`` [s] and ``sigma`` where known;
        attributes ``source``, ``wavelength`` and ``experiment`` (the file used) where known.

    Raises
    ------
    InputFileError
        If the file cannot be read or does not hold a rocking curve; the message names the file.
    ExperimentError
        If the experiment file is wrong.
    """
    path = Path(path)
    try:
        data = content.load(path)
    except InputFileError as error:
        raise InputFileError(f"{path}: {error}") from error
    settings = _experiment(path, experiment)
    axis = settings.axis if settings else AxisSettings()
    intensity = settings.intensity if settings else IntensitySettings()
    kind, unit = kind or axis.kind, unit or axis.unit
    data_kind = data_kind or intensity.kind
    columns = {
        "x_column": _first(x_column, axis.column),
        "column": _first(column, intensity.column),
        "sigma_column": _first(sigma_column, intensity.sigma_column),
        "attenuation_column": _first(attenuation_column, intensity.attenuation_column),
        "counting_time_column": _first(counting_time_column, intensity.counting_time_column),
    }
    try:
        for value, choices, what in (
            (kind, AXIS_KINDS, "kind"),
            (unit, ANGLE_UNITS, "unit"),
            (data_kind, DATA_KINDS, "data_kind"),
        ):
            if value is not None and value not in choices:
                raise InputFileError(f"{what} must be one of {', '.join(choices)}, got {value!r}")
        # Infinite and huge numbers are refused by `make_curve`, which says where; on the way there nothing has to warn.
        with np.errstate(all="ignore"):
            found, name = _read_scan(path, data, columns, _first(scan, axis.scan))
            x, kind, unit = _choose_axis(found, kind, unit)
        attrs: dict[str, Any] = {"source": _writable(path), "format": name}
        if found.scan_axis:
            attrs["scan_axis"] = found.scan_axis
        if wavelength is None:
            wavelength = found.wavelength
        elif not isinstance(wavelength, int | float) or not 0.0 < wavelength < 100.0:
            raise InputFileError(f"wavelength must be a number of Å, got {wavelength!r}")
        if wavelength is not None:
            attrs["wavelength"] = float(wavelength)
        if settings and settings.path:
            attrs["experiment"] = _writable(settings.path)
        if data_kind is None and found.values_unit not in ("", "counts"):
            data_kind = "intensity"
        if data_kind != "counts" and found.values_unit not in ("", "counts"):
            attrs["units"] = found.values_unit
        return make_curve(
            x,
            found.values,
            kind=kind,
            unit=unit,
            data_kind=data_kind,
            sigma=found.sigma,
            attenuation=found.attenuation,
            counting_time=found.counting_time,
            relative_error=_first(relative_error, intensity.relative_error),
            attrs=attrs,
            lines=found.lines,
        )
    except (InputFileError, CurveError) as error:
        beside = f" (with the settings of {settings.path})" if settings and settings.path else ""
        raise InputFileError(f"{path}: {error}{beside}") from error


def _writable(path: Path) -> str:
    """Path as text that every file can hold, also where the name of the file is no text."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _first(given: Any, otherwise: Any) -> Any:
    return otherwise if given is None else given


def _experiment(path: Path, experiment: Experiment | str | os.PathLike[str] | bool | None) -> Experiment | None:
    if path.suffix.lower() == ".toml":
        raise InputFileError(f"{path}: this is an experiment file; give the data file that it belongs to")
    if isinstance(experiment, Experiment):
        return experiment
    if experiment is False:
        return None
    beside = find_experiment(path) if experiment is None or experiment is True else experiment
    return None if beside is None else read_experiment(beside)


_Reader = Callable[[bytes], list[Scan]]


def _structured(path: Path, data: bytes) -> tuple[_Reader, str] | None:
    """Reader and name of the format if the content is of one that describes itself; None: columns of text."""
    start = data[:4096]
    if start.startswith(b"PK"):
        names = content.open_archive(data).namelist()
        if any("RawData" in name and name.endswith(".xml") for name in names):
            return brml.read, "brml"
        if any("Profile" in name and name.endswith(".txt") for name in names):
            return rasx.read, "rasx"
        raise InputFileError("an archive that is neither .rasx nor .brml; unpack it, or export the scan as text")
    if start.startswith((b"RAW", b"FI\0\0")) and b"\0" in start:
        raise InputFileError(
            "a binary .raw file, whose layout its makers do not publish; export the scan as text "
            "(.xy), .brml or .rasx from the program that measured it"
        )
    first = start.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")
    if first.startswith(b"<") or path.suffix.lower() == ".xrdml":
        return xrdml.read, "xrdml"
    if first.startswith(b"*RAS_"):
        return ras.read, "ras"
    return None


def _read_scan(path: Path, data: bytes, columns: dict[str, Any], scan: int | None) -> tuple[Scan, str]:
    found = _structured(path, data)
    if found is None:
        if scan not in (None, 0):
            raise InputFileError(f"a text file holds one scan; there is no scan {scan}: choose columns instead")
        return text.read(data, **columns), "text"
    read, name = found
    given = [key for key, value in columns.items() if value is not None]
    if given:
        raise InputFileError(f"a .{name} file has no columns to choose; leave out {', '.join(given)}")
    return select_scan(read(data), scan), name


def _choose_axis(found: Scan, kind: str | None, unit: str | None) -> tuple[FloatArray, str, str]:
    """Angles, kind and unit of the axis asked for, or of the one the file prefers."""
    if "" in found.axes:
        x, kind = found.axes[""], kind or found.guessed_kind or "omega"
    else:
        kind = kind or next(iter(found.axes))
        if kind not in found.axes:
            raise InputFileError(
                f"kind {kind!r} is not in this {found.scan_axis or 'unnamed'} scan, in which "
                f"{', '.join(found.axes)} moves; set the kind of the axis to {next(iter(found.axes))!r}"
            )
        x = found.axes[kind]
    if found.unit is None and unit is None and found.foreign_unit:
        raise InputFileError(
            f"the heading of the angles says {found.foreign_unit}, which is none of {', '.join(ANGLE_UNITS)}; convert "
            "them, or give the unit (unit under [axis], or unit=)"
        )
    if found.unit is None:
        return x, kind, unit or found.guessed_unit or "deg"
    wanted = unit or found.unit
    return convert_angle(x, found.unit, wanted), kind, wanted
