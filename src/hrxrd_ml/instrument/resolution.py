"""Resolution functions of the diffractometer, as Fourier transforms.

Each is one class that keeps to the protocol `Resolution`; a user's own does, too.  Derivatives come from the complex
step (`hrxrd_ml.complex_step`).  `Response` is what a model works with: a resolution function and, for whatever
diffractometer, the bent crystal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.fft import rfft
from scipy.special import loggamma

from hrxrd_ml.arrays import ComplexArray, FloatArray, Values
from hrxrd_ml.complex_step import STEP, check_analytic, derivative
from hrxrd_ml.crystal.monochromator import transmission
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.instrument.angles import AngleGrid
from hrxrd_ml.parameters import ParameterSpace, named, space_of
from hrxrd_ml.units import ARCSEC

if TYPE_CHECKING:
    from hrxrd_ml.crystal.reflection import Reflection

Transform = ComplexArray | FloatArray
LN2 = math.log(2.0)
_LAST_SQUARE = 60.0  # of the distance over the half width; a Gaussian has fallen to 1e-18 there
GAUSSIAN_REACH = 3.8
"""Of the FWHM; a Gaussian has fallen to 4e-18 there."""

# A line shape that is fitted differs from reflection to reflection, so all its parameters belong to the curve.
_FWHM, _ETA, _TAIL, _ASYMMETRY = space_of(
    ("fwhm", "arcsec", 12.0, 0.5, 500.0, True, "FWHM of the resolution function"),
    ("eta", "", 0.2, 0.0, 1.0, True, "Lorentzian fraction of the resolution function"),
    ("tail", "", 1.0, 0.6, 5.0, False, "exponent of the Lorentzian (Pearson VII): its tail falls as x**(-2 tail)"),
    (
        "asymmetry", "", 0.0, -0.9, 0.9, True,
        "difference of the two half widths over their sum, positive: wider at larger angles",
    ),
    scope="curve",
)  # fmt: skip
_BENT = space_of(
    ("curvature", "arcsec", 0.0, 0.0, 300.0, False, "turn of a bent crystal across the beam's footprint"),
    ("curvature_skew", "", 0.0, -20.0, 20.0, False, "log of the intensity ratio of the footprint's ends"),
    scope="curve",
).with_changes("curvature", even=True, skewed_by="curvature_skew")


class Resolution(Protocol):
    """A resolution function r(x): the curve is the convolution of the reflectivity with it.

    A user's own is an object with these two members.  It is written with functions that NumPy and SciPy have for
    complex numbers, and branches look at real parts: that gives its derivatives by the complex step.  Two more members
    are optional: ``polarised``, true where the arrays of `transform` have the shape (2, frequencies), for the
    polarisations sigma and pi; and ``reach(values)``, the distance beyond which r is zero to rounding [arcsec], which
    makes the curve faster.
    """

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds; ``fwhm`` [arcsec] among them, which the grid of angles follows."""
        ...

    def transform(self, grid: AngleGrid, values: Values) -> Any:
        """Return the Fourier transform at the angular frequencies ``grid.omega`` [1/rad].

        For a symmetric function ∫ r(x) cos(ωx) dx, shape (frequencies,), 1 at ω = 0; for any other one a pair, this
        and ∫ r(x) sin(ωx) dx.  `transform_of` makes such a pair from samples of r.
        """
        ...


def transform_of(samples: Any, step: float, size: int) -> tuple[Any, Any]:
    """Return the cosine and the sine transform of a function that has no closed ones.

    Parameters
    ----------
    samples : ndarray, shape (n,)
        The function at the angles of `sampling`, in their order [1/rad].
    step : float
        Distance of these angles [rad].
    size : int
        Length of the uniform grid, ``grid.size``.
    """
    parts = [samples.real, samples.imag] if np.iscomplexobj(samples) else [samples]
    spectra = rfft(parts)[:, : size // 2 + 1] * step
    if len(spectra) == 1:
        return spectra[0].real, -spectra[0].imag
    return spectra[0].real + 1j * spectra[1].real, -(spectra[0].imag + 1j * spectra[1].imag)


def sampling(grid: AngleGrid, fine: int = 1) -> tuple[FloatArray, float]:
    """Return angles on which a resolution function is sampled, and their distance [rad].

    In the order of the discrete Fourier transform, over a period of the grid, ``fine`` times as dense.
    """
    n = grid.size * fine
    return np.fft.fftfreq(n, 1.0 / n) * grid.step / fine, grid.step / fine


def gaussian(omega: FloatArray, fwhm: Any) -> Any:
    """Return the transform of a Gaussian of a FWHM [arcsec]."""
    return np.exp(-((omega * (fwhm * ARCSEC)) ** 2) / (16.0 * LN2))


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian."""

    @property
    def space(self) -> ParameterSpace:
        """Its width."""
        return ParameterSpace((_FWHM,))

    def transform(self, grid: AngleGrid, values: Values) -> Any:
        """Return the transform."""
        return gaussian(grid.omega, values["fwhm"])

    def reach(self, values: Values) -> float:
        """Return where it has fallen below rounding [arcsec]."""
        return GAUSSIAN_REACH * float(values["fwhm"])


@dataclass(frozen=True)
class PseudoVoigt:
    """A Gaussian and a Lorentzian, or a Pearson VII function, of the same width."""

    @property
    def space(self) -> ParameterSpace:
        """Width, Lorentzian fraction, exponent of the tail."""
        return ParameterSpace((_FWHM, _ETA, _TAIL))

    def transform(self, grid: AngleGrid, values: Values) -> Any:
        """Return the transform; without a closed one where the tail is not a Lorentzian's."""
        if np.iscomplexobj(values["tail"]) or values["tail"] != 1.0:
            return _sampled(grid, values, 0.0)[0]
        eta, width = values["eta"], values["fwhm"] * ARCSEC
        lorentz = np.exp(-0.5 * grid.omega * width) - width * _lorentzian_images(grid.size, grid.step)
        return (1.0 - eta) * gaussian(grid.omega, values["fwhm"]) + eta * lorentz


@dataclass(frozen=True)
class SplitPseudoVoigt:
    """A pseudo-Voigt function whose half widths differ."""

    @property
    def space(self) -> ParameterSpace:
        """Those of `PseudoVoigt`, and the asymmetry."""
        return ParameterSpace((_FWHM, _ETA, _TAIL, _ASYMMETRY))

    def transform(self, grid: AngleGrid, values: Values) -> Any:
        """Return the transform."""
        return _sampled(grid, values, values["asymmetry"])


@dataclass(frozen=True)
class DoubleCrystal:
    """The angular acceptance of the monochromator crystals times a Gaussian, polarisation by polarisation.

    Parameters
    ----------
    reflection : Reflection
        Names the monochromator.
    """

    reflection: Reflection | None
    polarised = True

    def __post_init__(self) -> None:
        """Check that the monochromator is named."""
        if self.reflection is None or all(crystal.mosaic for crystal in self.reflection.monochromator_crystals):
            raise ParameterError(
                'the resolution "double_crystal" is made of the Darwin curves of the monochromator; name it in the '
                'reflection, e.g. monochromator=("Ge 220",), or choose another resolution'
            )

    @property
    def space(self) -> ParameterSpace:
        """Width of the Gaussian."""
        return ParameterSpace((_FWHM,))

    def transform(self, grid: AngleGrid, values: Values) -> Any:
        """Return the transforms."""
        assert self.reflection is not None
        gauss, acceptance = gaussian(grid.omega, values["fwhm"]), _acceptance(self.reflection, grid.size, grid.step)
        return acceptance.real * gauss, -acceptance.imag * gauss


@lru_cache(maxsize=16)
def _acceptance(reflection: Reflection, size: int, step: float) -> ComplexArray:
    """Return the transform of the monochromator's acceptance for both polarisations, shape (2, frequencies)."""
    omega = 2.0 * np.pi * np.fft.rfftfreq(size, step)
    widths = [crystal.darwin_width for crystal in reflection.monochromator_crystals if not crystal.mosaic]
    angle = np.arange(-12.0 * max(widths), 12.0 * max(widths), min(widths) / 60.0)
    curve = transmission(reflection.monochromator_crystals, angle)
    curve /= curve.sum(axis=1, keepdims=True)
    centre = (curve * angle).sum(axis=1)
    # The sample is turned through a fixed beam: what it sees is the mirrored acceptance.
    phase = np.exp(1j * np.multiply.outer(omega, angle))
    acceptance = np.array([phase @ row * np.exp(-1j * omega * c) for row, c in zip(curve, centre, strict=True)])
    acceptance.flags.writeable = False
    return acceptance


@lru_cache(maxsize=64)
def _lorentzian_images(size: int, step: float) -> FloatArray:
    """Return the transform of what a Lorentzian of unit width has too much when it is repeated with the grid's period.

    The inverse transform of exp(-omega width/2) on a grid is the sum of a Lorentzian and all its repetitions, whose
    tails are not small.  Far from their centres they are width/(2 pi x**2), and all of them together
    width/(2 pi) ((pi/P)**2/sin(pi x/P)**2 - 1/x**2) within half a period P around the one that is wanted.
    """
    period = size * step
    x = np.fft.fftfreq(size, 1.0 / size) * step
    away = np.where(x == 0.0, 0.5 * period, x)
    images = (np.pi / period) ** 2 / np.sin(np.pi * away / period) ** 2 - 1.0 / away**2
    images = np.where(x == 0.0, np.pi**2 / (3.0 * period**2), images) / (2.0 * np.pi)
    spectrum = np.asarray(rfft(images).real * step)
    spectrum.flags.writeable = False
    return spectrum


def _sampled(grid: AngleGrid, values: Values, asymmetry: Any) -> tuple[Any, Any]:
    """Return the transforms of a pseudo-Voigt function with a tail exponent and, possibly, different half widths."""
    x, step = sampling(grid, 4 if asymmetry else 2)
    width, eta, tail = values["fwhm"] * ARCSEC, values["eta"], values["tail"]
    c = 2.0 ** (1.0 / tail) - 1.0
    # Areas of both halves together do not depend on the asymmetry.
    gauss_area = width * math.sqrt(math.pi / LN2) / 2.0
    pearson_area = 0.5 * width * np.sqrt(math.pi / c) * np.exp(loggamma(tail - 0.5) - loggamma(tail))
    t = x * np.where(x < 0.0, 2.0 / (width * (1.0 - asymmetry)), 2.0 / (width * (1.0 + asymmetry)))
    t2 = t * t
    shape = eta / pearson_area * (1.0 + c * t2) ** -tail
    near = np.flatnonzero(t2.real < _LAST_SQUARE)
    shape[near] += (1.0 - eta) / gauss_area * np.exp(-LN2 * t2[near])
    return transform_of(shape, step, grid.size)


RESOLUTIONS: Mapping[str, type[Resolution]] = {
    "gaussian": Gaussian,
    "pseudo_voigt": PseudoVoigt,
    "split_pseudo_voigt": SplitPseudoVoigt,
    "double_crystal": DoubleCrystal,
}
"""Resolution functions by the names that models, experiment files and saved files have for them."""


def make_resolution(kind: str | Resolution, reflection: Reflection | None = None) -> Resolution:
    """Return the resolution function of a name, or a user's own after checking it.

    Parameters
    ----------
    kind : str or Resolution
        One of `RESOLUTIONS`, or a function of your own.
    reflection : Reflection, optional
        Needed for "double_crystal": names the monochromator.

    Raises
    ------
    ParameterError
        If the name is unknown, the monochromator is not named, the object is no resolution function, or derivatives
        by the complex step are wrong.
    """
    if isinstance(kind, str):
        made = named("resolution", kind, RESOLUTIONS)
        return DoubleCrystal(reflection) if made is DoubleCrystal else made()
    _check(kind)
    return kind


def _check(function: Resolution) -> None:
    """Refuse an object that is no resolution function, or has no derivatives by the complex step."""
    what, space = type(function).__name__, getattr(function, "space", None)
    if not isinstance(space, ParameterSpace) or not callable(getattr(function, "transform", None)):
        raise ParameterError(
            f"a resolution function is a name ({', '.join(RESOLUTIONS)}) or an object with `space`, a ParameterSpace, "
            f"and a method `transform(grid, values)`; got {what}"
        )
    if "fwhm" not in space or space["fwhm"].unit != "arcsec":
        raise ParameterError(
            f"a resolution function needs a parameter fwhm [arcsec], its full width at half maximum, which the grid of "
            f"angles follows; {what} has {', '.join(space.names) or 'none'}"
        )
    width = space["fwhm"].value * ARCSEC
    grid = AngleGrid.covering(np.linspace(-40.0, 40.0, 161) * width, width, 10.0 * width)
    shape = (2, len(grid.omega)) if getattr(function, "polarised", False) else (len(grid.omega),)

    def parts(values: Values) -> Any:
        found = np.array(_cosine_and_sine(function.transform(grid, values)))
        if found.shape != (2, *shape) or not np.all(np.isfinite(found)):
            raise ParameterError(
                f"{what}.transform must return {shape} finite numbers, or a pair of such arrays, the cosine and the "
                f"sine transform; got shape {found.shape[1:]}"
            )
        return found

    inside = space.inside()
    start = parts(inside)
    if np.iscomplexobj(start):
        raise ParameterError(
            f"{what}.transform must return real arrays, the cosine and the sine transform; a complex one T is the pair "
            "T.real, -T.imag"
        )
    if np.max(np.abs(start[0, ..., 0] - 1.0)) > 0.02:
        raise ParameterError(
            f"{what} must be normalised: its cosine transform at frequency 0 is {np.ravel(start[0, ..., 0])[0]:.4g} "
            "instead of 1"
        )
    check_analytic(parts, inside, space.names, f"{what}.transform")


def _cosine_and_sine(transform: Any) -> tuple[Any, Any]:
    return transform if isinstance(transform, tuple) else (transform, np.zeros_like(transform))


def _joined(transform: Any) -> Transform:
    """Return a transform as one array, which is real for a symmetric function."""
    return transform[0] - 1j * transform[1] if isinstance(transform, tuple) else transform


def bent(omega: FloatArray, tilt: Any, skew: Any) -> Any:
    """Return the transforms of the tilts across the footprint on a bent crystal, centred on the footprint's middle.

    They run through ``tilt`` [rad]; the illumination changes along the footprint as exp(skew t), t from -1/2 to 1/2.
    """
    if not np.iscomplexobj(skew) and skew == 0.0:
        return _sinc(omega * tilt)
    cosine, sine = _sinhc(skew, omega * tilt)
    area, _ = _sinhc(skew, np.zeros(1))
    return cosine / area, sine / area


def _sinc(b: Any) -> Any:
    """Return sin(b/2)/(b/2)."""
    near = np.abs(np.real(b)) < 1e-2
    square = b * b
    return np.where(
        near, 1.0 - square / 24.0 + square * square / 1920.0, np.sin(0.5 * b) / np.where(near, 1.0, 0.5 * b)
    )


def _sinhc(a: Any, b: Any) -> tuple[Any, Any]:
    """Return real and negative imaginary part of sinh(z/2)/(z/2) at z = a - i b, each analytic in a and b."""
    square, cross = a * a - b * b, 2.0 * a * b  # z**2 = square - i cross
    near = abs(np.real(a)) + np.abs(np.real(b)) < 1e-2
    size = np.where(near, 1.0, a * a + b * b)
    even, odd = np.sinh(0.5 * a) * np.cos(0.5 * b), np.cosh(0.5 * a) * np.sin(0.5 * b)
    cosine = 1.0 + square / 24.0 + (square * square - cross * cross) / 1920.0
    sine = cross / 24.0 + square * cross / 960.0
    return (
        np.where(near, cosine, 2.0 * (even * a + odd * b) / size),
        np.where(near, sine, 2.0 * (odd * a - even * b) / size),
    )


class Broadening(Protocol):
    """What a model works with: all that broadens a curve, as `Response` and ``declared.DeclaredResponse`` do."""

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units, bounds and scope."""
        ...

    @property
    def names(self) -> frozenset[str]:
        """Names of the parameters."""
        ...

    @property
    def polarised(self) -> bool:
        """Whether the two polarisations are broadened differently."""
        ...

    def width(self, values: Values) -> float:
        """Return the FWHM that the grid of angles has to follow [arcsec]."""
        ...

    def far(self, values: Values) -> float:
        """Return how far beyond the data the reflectivity must be known [arcsec]."""
        ...

    def reach(self, values: Values) -> float:
        """Return the distance beyond which nothing is broadened to [arcsec]; infinite for a function with tails."""
        ...

    def caught(self, angle: FloatArray) -> tuple[FloatArray | float, FloatArray | float]:
        """Return which part of the beam meets the sample at offsets from the Bragg angle [rad], and its derivative."""
        ...

    def transform(
        self, grid: AngleGrid, values: Values, names: Collection[str] = ()
    ) -> tuple[Transform, dict[str, Transform]]:
        """Return the transform, shape (frequencies,) or (2, frequencies), and its derivatives by parameters.

        Those of ``names`` that are parameters of it.  Arrays are real for symmetric functions.
        """
        ...


@dataclass(frozen=True)
class Response:
    """A line shape that is fitted: a resolution function, and the bent crystal.

    Parameters
    ----------
    function : Resolution
    """

    function: Resolution

    @cached_property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        own = self.function.space.scoped("curve")
        return ParameterSpace((own["fwhm"],)) + _BENT + own

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the parameters."""
        return frozenset(self.space.names)

    @property
    def polarised(self) -> bool:
        """Whether the two polarisations are broadened differently."""
        return bool(getattr(self.function, "polarised", False))

    def width(self, values: Values) -> float:
        """Return the FWHM [arcsec]."""
        return float(values["fwhm"])

    def far(self, values: Values) -> float:
        """Return how far beyond the data the reflectivity must be known [arcsec]."""
        return float(1.7 * values["fwhm"] + 0.5 * abs(values["curvature"]))

    def reach(self, values: Values) -> float:
        """Return the distance beyond which nothing is broadened to [arcsec]; infinite for a function with tails."""
        reach = getattr(self.function, "reach", None)
        return math.inf if reach is None else float(reach(values)) + 0.5 * abs(values["curvature"])

    def caught(self, angle: FloatArray) -> tuple[FloatArray | float, FloatArray | float]:
        """Return 1 and 0: of the beam's height nothing is known."""
        return 1.0, 0.0

    def transform(
        self, grid: AngleGrid, values: Values, names: Collection[str] = ()
    ) -> tuple[Transform, dict[str, Transform]]:
        """Return the transform, and its derivatives by parameters; see `Broadening`."""
        by_bend = [name for name in names if name in _BENT.names]
        by_shape = [name for name in names if name in self.names and name not in by_bend]
        parts = [part(lambda v: self.function.transform(grid, v), values, by_shape)]
        if values["curvature"] != 0.0 or by_bend:

            def bend(v: Values) -> Any:
                return bent(grid.omega, ARCSEC * v["curvature"], v["curvature_skew"])

            parts.append(part(bend, values, by_bend))
        return product(parts)


Part = tuple[Transform, Mapping[str, Transform]]
"""A transform, and its derivatives by the parameters that it depends on."""


def part(function: Callable[[Values], Any], values: Values, names: Iterable[str]) -> Part:
    """Return a transform and its derivatives by the complex step: most parts depend on few parameters."""
    slopes = {}
    for name in names:
        transform = function({**values, name: values[name] + 1j * STEP})
        pair = isinstance(transform, tuple)
        slopes[name] = _joined(tuple(map(derivative, transform)) if pair else derivative(transform))
    return _joined(function(values)), slopes


def product(parts: Sequence[Part]) -> tuple[Transform, dict[str, Transform]]:
    """Return the convolution of several parts, each with parameters of its own: the product of their transforms."""
    whole, slopes = parts[0][0], dict(parts[0][1])
    for value, by_each in parts[1:]:
        slopes = {name: slope * value for name, slope in slopes.items()}
        slopes |= {name: whole * slope for name, slope in by_each.items()}
        whole = whole * value
    return whole, slopes
