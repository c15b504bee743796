"""What an experiment file says, as frozen dataclasses: one a section, and the words that each key may hold.

Lengths are in Å, angles in the unit of the axis, as the user wrote them; nothing is converted here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hrxrd_ml.io.experiment.parameters import ParameterValue

PROFILES = ("implanted", "bspline", "pseudo_voigt", "none")
DAMAGES = ("none", "tied", "bspline")
DIFFUSES = ("none", "correlation", "loops", "clusters")
RESOLUTIONS = ("gaussian", "pseudo_voigt", "split_pseudo_voigt", "double_crystal")
BACKGROUNDS = ("constant", "linear", "exponential")
DATA_KINDS = ("counts", "intensity")
EXITS = ("high", "low")
METHODS = (
    "least_squares",
    "leastsq",
    "nelder",
    "powell",
    "lbfgsb",
    "bfgs",
    "cg",
    "newton",
    "tnc",
    "cobyla",
    "slsqp",
    "trust-constr",
    "trust-ncg",
    "trust-exact",
    "trust-krylov",
    "differential_evolution",
    "basinhopping",
    "ampgo",
    "shgo",
    "dual_annealing",
    "brute",
    "emcee",
)
"""Minimisers of lmfit that a `[fit]` section may name."""


@dataclass(frozen=True)
class SusceptibilitySettings:
    """``[reflection.susceptibility]``: Fourier components of χ, χ0' ≤ 0, χ'' ≥ 0, written [real, imaginary].

    The fields have the names of the arguments of ``hrxrd_ml.Susceptibility``.
    """

    chi0: complex
    chih: complex
    chihbar: complex | None = None
    chih_pi: complex | None = None
    chihbar_pi: complex | None = None


@dataclass(frozen=True)
class ReflectionSettings:
    """``[reflection]``: crystal (name or absolute path of a CIF), hkl, wavelength [Å or a name], geometry."""

    crystal: str
    hkl: tuple[int, int, int]
    wavelength: float | str = "CuKa1"
    surface: tuple[int, int, int] | None = None
    exit: str = "high"
    monochromator: tuple[str, ...] = ()
    lattice: float | None = None
    polarization_ratio: float | None = None
    susceptibility: SusceptibilitySettings | None = None


@dataclass(frozen=True)
class AxisSettings:
    """``[axis]``: column (name, or index from 0), kind, unit; ``scan`` picks one of several scans, from 0."""

    column: str | int | None = None
    kind: str | None = None
    unit: str | None = None
    scan: int | None = None


@dataclass(frozen=True)
class IntensitySettings:
    """``[intensity]``: columns, and whether they hold counts (Poisson) or an intensity with errors."""

    column: str | int | None = None
    kind: str | None = None
    sigma_column: str | int | None = None
    relative_error: float | None = None
    attenuation_column: str | int | None = None
    counting_time_column: str | int | None = None


@dataclass(frozen=True)
class LayerSettings:
    """One layer of ``[sample]``: crystal, thickness [Å], what else is known (None: nothing was said)."""

    name: str
    crystal: str
    thickness: float
    x: float | None = None
    strain: float | None = None
    relaxation: float | None = None
    roughness: float | None = None
    density: float | None = None
    damage: float | None = None


@dataclass(frozen=True)
class SampleSettings:
    """``[sample]``: layers from the substrate up."""

    layers: tuple[LayerSettings, ...] = ()


@dataclass(frozen=True)
class ModelSettings:
    """``[model]``: which strain profile, damage profile, diffuse component, resolution function and background to use.

    ``strain_knots`` and ``damage_knots`` are numbers of B-spline coefficients, ``tolerance`` is the relative
    error that the discretisation of the profile may leave in the reflectivity; None leaves them to the model.
    """

    profile: str = "implanted"
    damage: str = "tied"
    diffuse: str = "correlation"
    resolution: str = "gaussian"
    background: str = "constant"
    strain_knots: int | None = None
    damage_knots: int | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class FitSettings:
    """``[fit]``: minimiser, ranges [low, high] of the axis (in its unit) to leave out, limit on calls."""

    method: str | None = None
    mask: tuple[tuple[float, float], ...] = ()
    max_nfev: int | None = None


@dataclass(frozen=True)
class Experiment:
    """All that an experiment file says, checked; ``path`` is the file, or None."""

    reflection: ReflectionSettings
    axis: AxisSettings = AxisSettings()
    intensity: IntensitySettings = IntensitySettings()
    sample: SampleSettings = SampleSettings()
    model: ModelSettings = ModelSettings()
    parameters: Mapping[str, Mapping[str, ParameterValue]] = field(default_factory=dict, hash=False)
    fit: FitSettings = FitSettings()
    path: Path | None = None
