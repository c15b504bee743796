"""`read_curve`: from a file of any known format to a labelled curve."""

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import CurveError, InputFileError
from hrxrd_ml.io import brml, content, ras, rasx, spec, text, uxd, x00, xrdml
from hrxrd_ml.io.columns import Column
from hrxrd_ml.io.curve import make_curve
from hrxrd_ml.io.experiment.read import find_experiment, read_experiment
from hrxrd_ml.io.experiment.settings import DATA_KINDS, AxisSettings, Experiment, IntensitySettings
from hrxrd_ml.io.headings import understand
from hrxrd_ml.io.scan import Scan, recover_counts, select_scan
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
    counting_time: float | None = None,
    experiment: Experiment | str | os.PathLike[str] | bool | None = None,
) -> "xr.DataArray":
    """Read a measured rocking curve.

    The format is told from the content: columns of text, SPEC, PANalytical .xrdml and .x00, Rigaku .ras and .rasx,
    Bruker .brml and .uxd. Counts are kept as detected: attenuation factors and counting times become coordinates
    beside them and are never multiplied in.

    Parameters
    ----------
    path
        The data file.
    x_column, column, sigma_column, attenuation_column, counting_time_column
        Columns of a text file: heading or index from 0. By default those whose headings speak of an angle and of
        counts; without headings, the first two.
    kind
        Kind of the angle axis, one of `hrxrd_ml.units.AXIS_KINDS`. By default what the file or the heading says; it is
        asked for where that leaves it open, and ``"omega"`` for text without headings.
    unit
        Unit of the angles, one of `hrxrd_ml.units.ANGLE_UNITS`. By default what the file or the heading says, else
        ``"deg"``, but offsets have no default. A file that states its unit is converted to the one asked for.
    data_kind
        ``"counts"`` or ``"intensity"``; by default counts if the file or whole numbers say so. Counts that are not
        whole keep the variance of counts, with a warning.
    counting_time
        Seconds a point, which make counts of a rate.
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
        attributes ``read_as`` (what was decided about angles and values), ``source``, ``wavelength``, ``hkl`` and
        ``experiment`` (the file used) where known.

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
        relative_error = _first(relative_error, intensity.relative_error)
        # Infinite and huge numbers are refused by `make_curve`, which says where; on the way there nothing has to warn.
        with np.errstate(all="ignore"):
            found, name = _read_scan(path, data, columns, data_kind, _first(scan, axis.scan))
            x, read_kind, read_unit = _choose_axis(found, kind, unit)
            found, data_kind = _choose_values(
                found, data_kind, _first(counting_time, intensity.counting_time), relative_error is not None
            )
        attrs: dict[str, Any] = {"source": _writable(path), "format": name}
        if found.scan_axis:
            attrs["scan_axis"] = found.scan_axis
        if found.hkl:
            attrs["hkl"] = " ".join(map(str, found.hkl))
        if wavelength is None:
            wavelength = found.wavelength
        elif not isinstance(wavelength, int | float) or not 0.0 < wavelength < 100.0:
            raise InputFileError(f"wavelength must be a number of Å, got {wavelength!r}")
        if wavelength is not None:
            attrs["wavelength"] = float(wavelength)
        if settings and settings.path:
            attrs["experiment"] = _writable(settings.path)
        if data_kind != "counts" and found.values_unit not in ("", "counts"):
            attrs["units"] = found.values_unit
        curve = make_curve(
            x,
            found.values,
            kind=read_kind,
            unit=read_unit,
            data_kind=data_kind,
            sigma=found.sigma,
            attenuation=found.attenuation,
            counting_time=found.counting_time,
            relative_error=relative_error,
            attrs=attrs,
            lines=found.lines,
        )
        assumed = " (no heading says so)" if "" in found.axes and not (kind or found.said_kind) else ""
        for warning in (_other_kind(found, kind), _other_hkl(found.hkl, settings)):
            if warning:
                warnings.warn(warning, stacklevel=2)
        curve.attrs["read_as"] = f"{NAMES[read_kind]}, {read_unit}{assumed}; {_values_in_words(curve)}"
        return curve
    except (InputFileError, CurveError) as error:
        beside = f" (with the settings of {settings.path})" if settings and settings.path else ""
        raise InputFileError(f"{path}: {error}{beside}") from error


def _values_in_words(curve: "xr.DataArray") -> str:
    if curve.name == "intensity":
        return f"intensity ({curve.attrs['units']})"
    return "counts, corrected" if "corrected" in curve.attrs else "counts"


def _other_kind(found: Scan, kind: str | None) -> str:
    """Warning where a heading names another kind of angle than the one that was asked for."""
    if not kind or not found.said_kind or kind == found.said_kind:
        return ""
    return f"the heading of the angles says {NAMES[found.said_kind]}; they are read as {NAMES[kind]}, as was asked for"


def _other_hkl(hkl: tuple[int, int, int] | None, settings: Experiment | None) -> str:
    """Warning where file and experiment name reflections that no order of the axes makes the same."""
    if not hkl or not settings or sorted(map(abs, hkl)) == sorted(map(abs, settings.reflection.hkl)):
        return ""
    return f"the file says reflection {' '.join(map(str, hkl))} and the experiment {settings.reflection.hkl}"


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


NAMES = {"offset": "ω offset", "omega": "ω", "two_theta": "2θ", "two_theta_offset": "2θ offset"}
"""Kinds of axis as people write them."""

_UNREAD = (
    (
        re.compile(r"^\*(?:TYPE|CLASS|GROUP_COUNT)\s*=", re.MULTILINE),
        "a Rigaku .asc file, which lists counts without their angles; save the scan as .ras, .rasx or columns of text",
    ),
    (
        re.compile(r"^SampleIdent\s*,", re.MULTILINE),
        "a Philips .udf file, which lists counts without their angles; save the scan as .xrdml or columns of text",
    ),
)

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
    if first.startswith(x00.BEGIN.encode()):
        return x00.read, "x00"
    head = start.decode("latin-1").replace("\r\n", "\n")
    if uxd.BEGIN.search(head):
        return uxd.read, "uxd"
    for sign, what in _UNREAD:
        if sign.search(head):
            raise InputFileError(what)
    return None


def _read_scan(
    path: Path, data: bytes, columns: dict[str, Any], data_kind: str | None, scan: int | None
) -> tuple[Scan, str]:
    found = _structured(path, data)
    if found is None:
        if spec.BEGIN.search(data):
            return text.read(spec.pick(data, scan), **columns, data_kind=data_kind), "spec"
        if scan not in (None, 0):
            raise InputFileError(f"a text file holds one scan; there is no scan {scan}: choose columns instead")
        return text.read(data, **columns, data_kind=data_kind), "text"
    read, name = found
    given = [key for key, value in columns.items() if value is not None]
    if given:
        raise InputFileError(f"a .{name} file has no columns to choose; leave out {', '.join(given)}")
    return select_scan(read(data), scan), name


def _choose_axis(found: Scan, kind: str | None, unit: str | None) -> tuple[FloatArray, str, str]:
    """Angles, kind and unit of the axis asked for, or of the one the file prefers."""
    if kind is None and found.kind_question:
        raise InputFileError(found.kind_question)
    if "" in found.axes:
        x = found.axes[""]
        kind = kind or found.said_kind or "omega"
    else:
        kind = kind or next(iter(found.axes))
        if kind not in found.axes:
            raise InputFileError(
                f"kind {kind!r} is not in this {found.scan_axis or 'unnamed'} scan, in which "
                f"{', '.join(found.axes)} moves; set the kind of the axis to {next(iter(found.axes))!r}"
            )
        x = found.axes[kind]
    if found.unit is None and unit is None and found.unit_question:
        raise InputFileError(found.unit_question)
    if found.unit is None:
        return x, kind, unit or found.said_unit or "deg"
    wanted = unit or found.unit
    return convert_angle(x, found.unit, wanted), kind, wanted


def _choose_values(found: Scan, data_kind: str | None, seconds: float | None, error: bool) -> tuple[Scan, str | None]:
    """The scan with counts in place of a rate where the counting time is known, and the kind of its data.

    ``error`` says whether a relative error was given.
    """
    if seconds is not None:
        if not isinstance(seconds, int | float) or not 0.0 < seconds < 1e6:
            raise InputFileError(f"counting_time must be a number of seconds, got {seconds!r}")
        found = replace(found, counting_time=np.full(len(found.values), float(seconds)))
    unit = understand(found.values_unit)
    if found.values_unit in ("", "counts"):
        if data_kind is None and found.values_unit == "counts" and not error and found.sigma is None:
            data_kind = "counts"  # the file says so; what was corrected keeps the noise of counts
        if data_kind is None and found.values_question and not error and found.sigma is None:
            raise InputFileError(found.values_question)
        return found, data_kind
    if unit.scale == "rate" and data_kind != "intensity" and not error and found.sigma is None:
        rate, times = found.values * unit.per_second, found.counting_time
        counts = recover_counts(rate, times)
        if counts is None and times is not None and (seconds is not None or data_kind == "counts"):
            counts = rate * times
        if counts is not None:
            return replace(found, values=counts, values_unit="counts"), "counts"
        if data_kind == "counts":
            raise InputFileError(
                f"the values are rates ({found.values_unit}); give the counting time that makes counts of them "
                "(counting_time under [intensity], or counting_time=)"
            )
        if found.values_question:
            raise InputFileError(found.values_question)
    return found, data_kind or "intensity"
