"""What an experiment file says, as frozen dataclasses: one a section, each field with the values that its key may hold.

Lengths are in Å, angles in the unit of the axis, as the user wrote them; nothing is converted here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hrxrd_ml.crystal.monochromator import SETTINGS
from hrxrd_ml.crystal.reflection import MOST_MISCUT
from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.io.experiment import values
from hrxrd_ml.io.experiment.parameters import ParameterValue, read_parameters
from hrxrd_ml.io.experiment.table import Table, is_number, key, shown
from hrxrd_ml.units import ANGLE_UNITS, AXIS_KINDS

DATA_KINDS = ("counts", "intensity")
EXITS = ("high", "low")
METHODS = (
    "least_squares", "leastsq", "nelder", "powell", "lbfgsb", "bfgs", "cg", "newton", "tnc", "cobyla", "slsqp",
    "trust-constr", "trust-ncg", "trust-exact", "trust-krylov", "differential_evolution", "basinhopping", "ampgo",
    "shgo", "dual_annealing", "brute", "emcee",
)  # fmt: skip
"""Minimisers of lmfit that a `[fit]` section may name."""

_UNIT_SIGNS = {"°": "deg", "′": "arcmin", "″": "arcsec"}


_CRYSTAL = "a built-in name such as 'GGG', or the path of a CIF file"


def _crystal(table: Table, key: str) -> str:
    """Name of a built-in crystal, or the absolute path of a CIF file that exists."""
    name = values.text(table, key)
    if not name.lower().endswith(".cif"):
        return name
    try:
        path = (table.folder / Path(name).expanduser()).resolve()
        found = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long, of an unknown user, with a zero in it
        table.fail(key, f"the path of a CIF file ({' '.join(str(error).split())})")
    if not found:
        raise ExperimentError(f"{table.place(key)}: there is no CIF file {path} (paths are relative to the TOML file)")
    return str(path)


@dataclass(frozen=True)
class SusceptibilitySettings:
    """``[reflection.susceptibility]``: Fourier components of χ, χ0' ≤ 0, χ'' ≥ 0, written [real, imaginary].

    The fields have the names of the arguments of ``hrxrd_ml.Susceptibility``.
    """

    chi0: complex = key(values.complex_number, expected="two numbers [real, imaginary]")
    chih: complex = key(values.complex_number, expected="two numbers [real, imaginary]")
    chihbar: complex | None = key(values.complex_number, None)
    chih_pi: complex | None = key(values.complex_number, None)
    chihbar_pi: complex | None = key(values.complex_number, None)


def _check_susceptibility(table: Table, settings: SusceptibilitySettings) -> SusceptibilitySettings:
    if settings.chi0.real > 0 or settings.chi0.imag < 0:
        table.fail("chi0", "a real part <= 0 and an imaginary part >= 0 (fields exp[i(kr - wt)])")
    for name, value in vars(settings).items():
        if value is not None and abs(value) > 1e-2:
            table.fail(name, "a modulus below 0.01, as X-ray susceptibilities have")
    if settings.chih == 0:
        table.fail("chih", "something else than zero")
    return settings


def _wavelength(table: Table, key: str) -> float | str:
    value = table.data[key]
    if isinstance(value, str) and value.strip():
        return value.strip()
    if not is_number(value) or not 0.2 <= value <= 10.0:
        table.fail(key, "a name such as 'CuKa1', or a number from 0.2 to 10 Å (not nm, not keV)")
    return float(value)


def _monochromator(table: Table, key: str) -> tuple[str, ...]:
    value = table.data[key]
    value = [value] if isinstance(value, str) else value
    if isinstance(value, list):
        value = [re.sub(r"[()\[\]]", " ", m) if isinstance(m, str) else m for m in value]  # Ge(220)
    if not isinstance(value, list) or not all(isinstance(m, str) and len(m.split()) >= 2 for m in value):
        table.fail(key, 'a list of reflections, one a crystal, such as ["Si 111", "Ge 111"] or ["4x Ge 220"]')
    return tuple(" ".join(m.split()) for m in value)


def _analyser(table: Table, key: str) -> float | str:
    value = table.data[key]
    return _monochromator(table, key)[0] if isinstance(value, str) else values.number(0.0, 7200.0, "arcsec")(table, key)


@dataclass(frozen=True)
class DiffractometerSettings:
    """``[diffractometer]``: declared parts; the fields have the names of the arguments of `hrxrd_ml.Diffractometer`."""

    source: float | str = key(_wavelength, "CuKa1")
    monochromator: tuple[str, ...] = key(_monochromator, ())
    setting: str = key(values.choice(("parallel", "dispersive")), "parallel")
    bounces: str | None = key(values.choice(("parallel", "dispersive", "bartels")), None)
    analyser: float | str | None = key(_analyser, None)
    beam_height: float | None = key(values.number(0.0, 100.0, "mm", above=True), None)
    sample_length: float | None = key(values.number(0.0, 1000.0, "mm", above=True), None)
    bandwidth: float | None = key(values.number(1e-7, 0.05), None)


@dataclass(frozen=True)
class ReflectionSettings:
    """``[reflection]``: crystal (name or absolute path of a CIF), hkl, wavelength [Å or a name], geometry."""

    crystal: str = key(_crystal, expected=_CRYSTAL)
    hkl: tuple[int, int, int] = key(values.indices, expected="three integers such as [4, 4, 4]")
    wavelength: float | str = key(_wavelength, "CuKa1")
    surface: tuple[int, int, int] | None = key(values.indices, None)
    exit: str = key(values.choice(EXITS), "high")
    monochromator: tuple[str, ...] = key(_monochromator, ())
    monochromator_setting: str | None = key(values.choice(SETTINGS), None)
    miscut: float = key(values.number(-MOST_MISCUT, MOST_MISCUT, "deg"), 0.0)
    miscut_azimuth: float = key(values.number(-360.0, 360.0, "deg"), 0.0)
    lattice: float | None = key(values.number(2.0, 100.0, "Å"), None)
    polarization_ratio: float | None = key(values.number(0.0, 1000.0), None)
    susceptibility: SusceptibilitySettings | None = key(
        values.section(SusceptibilitySettings, _check_susceptibility), None
    )


def _check_reflection(table: Table, settings: ReflectionSettings) -> ReflectionSettings:
    if settings.exit == "low" and settings.surface is None:
        raise ExperimentError(
            f"{table.place('exit')}: 'low' is for asymmetric reflections; give surface = [h, k, l] as well"
        )
    return settings


@dataclass(frozen=True)
class AxisSettings:
    """``[axis]``: column (name, or index from 0), kind, unit; ``scan`` picks one of several scans, from 0."""

    column: str | int | None = key(values.column, None)
    kind: str | None = key(values.choice(AXIS_KINDS), None)
    unit: str | None = key(values.choice(ANGLE_UNITS, _UNIT_SIGNS), None)
    scan: int | None = key(values.integer(0, 100_000), None)


@dataclass(frozen=True)
class IntensitySettings:
    """``[intensity]``: columns, whether they hold counts (Poisson) or an intensity with errors, seconds a point."""

    column: str | int | None = key(values.column, None)
    kind: str | None = key(values.choice(DATA_KINDS), None)
    sigma_column: str | int | None = key(values.column, None)
    relative_error: float | None = key(values.number(0.0, 1.0, above=True), None)
    attenuation_column: str | int | None = key(values.column, None)
    counting_time_column: str | int | None = key(values.column, None)
    counting_time: float | None = key(values.number(0.0, 1e6, "s", above=True), None)


def _check_intensity(table: Table, settings: IntensitySettings) -> IntensitySettings:
    for error in ("sigma_column", "relative_error"):
        if settings.kind == "counts" and error in table:
            raise ExperimentError(
                f'{table.place(error)}: counts carry their Poisson error; leave {error} out or set kind = "intensity"'
            )
    if "sigma_column" in table and "relative_error" in table:
        raise ExperimentError(f"{table.place('relative_error')}: give sigma_column or relative_error, not both")
    return settings


def _layer_name(table: Table, key: str) -> str:
    name = values.text(table, key)
    if not name.isidentifier() or name == "substrate":
        table.fail(key, "a name of letters, digits and _ (it begins parameter names), other than 'substrate'")
    return name


@dataclass(frozen=True)
class LayerSettings:
    """One layer of ``[sample]``: crystal, thickness [Å], what else is known (None: nothing was said)."""

    name: str = key(_layer_name)
    crystal: str = key(_crystal, expected=_CRYSTAL)
    thickness: float = key(values.number(0.0, 1e7, "Å", above=True), expected="a number in Å")
    x: float | tuple[float, ...] | None = key(values.numbers(0.0, 1.0), None)
    strain: float | tuple[float, ...] | None = key(values.numbers(-0.1, 0.1), None)
    relaxation: float | tuple[float, ...] | None = key(values.numbers(0.0, 1.0), None)
    density: float | None = key(values.number(0.0, 2.0, "times the nominal one", above=True), None)
    damage: float | None = key(values.number(0.0, 20.0), None)
    tilt: float | None = key(values.number(-5.0, 5.0, "deg"), None)
    interface: float | None = key(values.number(0.0, 1e4, "Å"), None)
    amorphous: bool | None = key(values.flag, None)
    hkl: tuple[int, int, int] | None = key(values.indices, None)


_LAYERS = "a list of tables { crystal = ..., thickness = ... }, from the substrate up"


def _layer(table: Table, name: str) -> LayerSettings:
    if "strain" in table and "relaxation" in table:
        raise ExperimentError(f"{table.place('relaxation')}: give strain or relaxation, not both")
    return table.fill(LayerSettings, name=name)


def _period(table: Table, key: str) -> tuple[LayerSettings, ...]:
    layers = table.data[key]
    if not isinstance(layers, list) or not layers:
        table.fail(key, _LAYERS)
    begin = table.data["name"] if isinstance(table.data.get("name"), str) else table.section.rpartition("#")[2]
    begin = begin if begin.isidentifier() else f"layer{begin}"
    sections = [(f"{table.section} #{place}", place, data) for place, data in enumerate(layers, start=1)]
    return tuple(_layer(table.inner(LayerSettings, where, data), f"{begin}_{place}") for where, place, data in sections)


@dataclass(frozen=True)
class SuperlatticeSettings:
    """Layers of ``[sample]`` that are repeated; what is None was not said."""

    name: str = key(_layer_name)
    repeats: int = key(values.integer(1, 5000), expected="how often its layers are grown, an integer")
    layers: tuple[LayerSettings, ...] = key(_period, expected=_LAYERS)
    by: str | None = key(values.choice(("thickness", "period")), None)
    drift: float | None = key(values.number(-0.2, 0.2), None)
    interface: float | None = key(values.number(0.0, 1e4, "Å"), None)


def _layers(table: Table, key: str) -> tuple[LayerSettings | SuperlatticeSettings, ...]:
    layers = table.data[key]
    if not isinstance(layers, list):
        table.fail(key, _LAYERS)
    read: list[LayerSettings | SuperlatticeSettings] = []
    for place, data in enumerate(layers, start=1):
        where, name = f"sample.layers #{place}", f"layer{place}"
        if isinstance(data, Mapping) and {"layers", "repeats"} & set(data):
            read.append(table.inner(SuperlatticeSettings, where, data).fill(SuperlatticeSettings, name=name))
        else:
            read.append(_layer(table.inner(LayerSettings, where, data), name))
    names = [layer.name for layer in read]
    names += [layer.name for each in read if isinstance(each, SuperlatticeSettings) for layer in each.layers]
    for name in names:
        if names.count(name) > 1:
            raise ExperimentError(f"{table.place(key)}: two layers are named {name!r}; names must differ")
    return tuple(read)


@dataclass(frozen=True)
class SampleSettings:
    """``[sample]``: layers from the substrate up."""

    layers: tuple[LayerSettings | SuperlatticeSettings, ...] = key(_layers, ())


@dataclass(frozen=True)
class ModelSettings:
    """``[model]``: which strain profile, damage profile, diffuse component, resolution function and background to use.

    By name; whether there is one of that name is seen when the model is made.
    ``strain_knots`` and ``damage_knots`` are numbers of B-spline coefficients, ``tolerance`` is the relative
    error that the discretisation of the profile may leave in the reflectivity; None leaves them to the model.
    """

    profile: str = key(values.text, "implanted")
    damage: str = key(values.text, "tied")
    diffuse: str = key(values.text, "correlation")
    resolution: str = key(values.text, "gaussian")
    background: str = key(values.text, "constant")
    strain_knots: int | None = key(values.integer(4, 100), None)
    damage_knots: int | None = key(values.integer(4, 100), None)
    tolerance: float | None = key(values.number(0.0, 0.1, above=True), None)


def _model(experiment: Table, key: str) -> ModelSettings:
    # What is not written follows from what is: films are seldom implanted, without a profile there is nothing to tie
    # damage to, and without damage nothing to scatter diffusely.
    films = bool(experiment.data.get("sample", {}).get("layers"))
    table = experiment.inner(ModelSettings, key, experiment.data[key])
    settings = table.fill(ModelSettings, profile="none" if films else "implanted")
    if settings.profile == "none" and "damage" not in table:
        settings = replace(settings, damage="none")
    if settings.damage == "none" and "diffuse" not in table:
        settings = replace(settings, diffuse="none")
    if settings.damage in ("tied", "displacements") and settings.profile == "none":
        table.fail("damage", 'none with profile = "none", which has no strain to tie damage to')
    for part, knots in (("profile", "strain_knots"), ("damage", "damage_knots")):
        chosen = getattr(settings, part)
        if knots in table and "spline" not in chosen:
            raise ExperimentError(f'{table.place(knots)}: only with {part} = "bspline", but {part} is {chosen!r}')
    return settings


def _mask(table: Table, key: str) -> tuple[tuple[float, float], ...]:
    ranges = table.data[key]
    expected = "a list of ranges [[low, high], ...] in the unit of the axis, low < high"
    if not isinstance(ranges, list):
        table.fail(key, expected)
    for pair in ranges:
        is_pair = isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair))
        if not is_pair or pair[0] >= pair[1]:
            raise ExperimentError(f"{table.place(key)}: expected {expected}, got {shown(pair)}")
    return tuple((float(low), float(high)) for low, high in ranges)


@dataclass(frozen=True)
class FitSettings:
    """``[fit]``: minimiser, ranges [low, high] of the axis (in its unit) to leave out, limits, kind of errors."""

    method: str | None = key(values.choice(METHODS), None)
    mask: tuple[tuple[float, float], ...] = key(_mask, ())
    max_nfev: int | None = key(values.integer(1, 10_000_000), None)
    seconds: float | None = key(values.number(0.0, 1e7, "s", above=True), None)
    errors: str = key(values.choice(("misfit", "noise")), "misfit")


def _range(table: Table, key: str) -> tuple[float, float]:
    ends = table.data[key]
    if (
        not isinstance(ends, list)
        or len(ends) != 2
        or not all(map(is_number, ends))
        or not -1e5 < ends[0] < ends[1] < 1e5
    ):
        table.fail(key, _RANGE)
    return float(ends[0]), float(ends[1])


_RANGE = "two angles [low, high] from the substrate's Bragg angle, in arcsec of ω"


@dataclass(frozen=True)
class CandidateSettings:
    """One ``[[candidate]]``, a curve that could be measured, but for its reflection: where, and for how long."""

    range: tuple[float, float] = key(_range, expected=_RANGE)
    points: int = key(values.integer(20, 100_000), 301)
    time: float = key(values.number(0.0, 1e6, "times that of the first curve", above=True), 1.0)
    counts: float | None = key(values.number(0.0, 1e12, "counts", above=True), None)


@dataclass(frozen=True)
class Candidate:
    """A curve that could be measured: its label, what an experiment file would say of it, where and for how long."""

    label: str
    experiment: Experiment
    scan: CandidateSettings


@dataclass(frozen=True)
class Experiment:
    """All that an experiment file says, checked; ``path`` is the file, or None."""

    reflection: ReflectionSettings = key(
        values.section(ReflectionSettings, _check_reflection),
        expected="a table [reflection] with at least crystal and hkl",
    )
    axis: AxisSettings = key(values.section(AxisSettings), AxisSettings())
    intensity: IntensitySettings = key(values.section(IntensitySettings, _check_intensity), IntensitySettings())
    sample: SampleSettings = key(values.section(SampleSettings), SampleSettings())
    diffractometer: DiffractometerSettings | None = key(values.section(DiffractometerSettings), None)
    model: ModelSettings = key(_model, ModelSettings())
    parameters: Mapping[str, Mapping[str, ParameterValue]] = field(
        default_factory=dict, hash=False, metadata={"read": read_parameters}
    )
    fit: FitSettings = key(values.section(FitSettings), FitSettings())
    path: Path | None = None
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class CurveOfSample:
    """One curve of several: its label, which begins the names of its own parameters, its file, and its experiment."""

    label: str
    file: Path
    experiment: Experiment


@dataclass(frozen=True)
class Sample:
    """All that an experiment file with several ``[[curve]]`` tables says, checked.

    ``predicted`` are curves that are not fitted, but compared with what the fit of the others says of them.
    """

    curves: tuple[CurveOfSample, ...]
    parameters: Mapping[str, Mapping[str, ParameterValue]]
    fit: FitSettings
    shared: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    path: Path | None = None
    predicted: tuple[CurveOfSample, ...] = ()
    candidates: tuple[Candidate, ...] = ()
