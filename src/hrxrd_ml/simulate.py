"""The composition of all the physics: parameters in, expected counts out, with exact derivatives.

``RockingCurve`` says what is modelled; bound to the angles of a measurement it becomes a ``BoundCurve``, which holds
the grids and calculates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _gridding
from ._grid import MARGIN, Grid
from .diffuse import CorrelationDiffuse, make_diffuse
from .dynamical import kernel
from .dynamical._contract import Coefficients, Deviation, Lamellae, Material, coefficients
from .errors import CurveError, ParameterError
from .film import Film, film_space, materials, pile
from .instrument import AngleGrid, Resolution, background
from .parameters import ParameterSpace, background_space, base_space, spread_space
from .profile import ImplantedProfile, Profile, make_profile
from .reflection import Reflection
from .specimen import Chain, Damage, Layer, discretise, uniform_films
from .units import ARCSEC

FloatArray = NDArray[np.float64]
Values = Mapping[str, float]

_OFFSET_STEP = 60.0  # arcsec; the grid follows the offset in steps of this
_NODES_PER_WIDTH = 0.55  # coarsest step of the nodes over the FWHM of the resolution
_OCTAVES = 4.0  # how often, at most, the steps are halved for a narrow resolution
_OPTICS_STEP = 1e-5
_kernel = cache(kernel)


@dataclass(frozen=True)
class LayerOptics:
    """What lamellae are made of, and their deviation from the Bragg condition.

    Attributes
    ----------
    materials : tuple of Material
        With films: theirs, by the numbers ``layer.film``; the substrate last.  Empty without.
    parallel : ndarray, shape (n, 1), or 0.0
        With films: strain in the plane.
    mismatch : tuple of ndarray
        See ``Deviation.coefficients``.
    """

    materials: tuple[Material, ...]
    parallel: FloatArray | float
    mismatch: tuple[FloatArray, FloatArray, FloatArray]


@dataclass(frozen=True)
class RockingCurve:
    """What a rocking curve is made of.

    Parameters
    ----------
    reflection : Reflection
    profile : Profile or None
        Strain profile; None for a perfect crystal.
    damage : Damage
    diffuse : CorrelationDiffuse or None
    resolution : str
        See ``instrument.Resolution``.
    background : {"constant", "linear", "exponential"}
    tolerance : float
        Aimed-at error of the coherent reflectivity, relative to R + 1e-6.
    max_depth : float
        Deepest layer that the angular grid is made for [Å]; where films are thicker, a quarter more than they are.
    films : sequence of Film
        Films on the substrate, from the substrate up. The strain profile begins at the surface of the topmost one,
        and is relative to the lattice of the film that it is in.
    """

    reflection: Reflection
    profile: Profile | None = field(default_factory=ImplantedProfile)
    damage: Damage = field(default_factory=Damage)
    diffuse: CorrelationDiffuse | None = field(default_factory=CorrelationDiffuse)
    resolution: str = "gaussian"
    background: str = "constant"
    tolerance: float = 1e-4
    max_depth: float = 8000.0
    films: tuple[Film, ...] = ()

    @classmethod
    def of(
        cls,
        reflection: Reflection,
        profile: Profile | str | None = "auto",
        damage: Damage | str | None = "auto",
        diffuse: CorrelationDiffuse | str | None = "auto",
        *,
        strain_knots: int = 14,
        damage_knots: int = 8,
        **options: Any,
    ) -> RockingCurve:
        """Return a rocking curve whose parts are named as in experiment files.

        Parameters
        ----------
        reflection : Reflection
        profile, damage, diffuse
            The parts themselves, or their names. What is "auto" follows from the rest: "implanted", or "none" with
            films; damage "tied", or "none" without a profile; diffuse "correlation", or "none" without damage.
        strain_knots, damage_knots : int
            Number of spline coefficients, where a part is a "bspline".
        **options
            The other attributes.
        """
        if profile == "auto":
            profile = "none" if options.get("films") else "implanted"
        if isinstance(profile, str):
            profile = make_profile(profile, strain_knots)
        if damage == "auto":
            damage = "none" if profile is None else "tied"
        if isinstance(damage, str) or damage is None:
            damage = Damage(damage or "none", damage_knots)
        if diffuse == "auto":
            diffuse = "none" if damage.kind == "none" else "correlation"
        if isinstance(diffuse, str):
            diffuse = make_diffuse(diffuse)
        return cls(reflection, profile, damage, diffuse, **options)

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        object.__setattr__(self, "films", tuple(self.films))
        if self.profile is None and self.damage.kind != "none":
            raise ParameterError(
                f"damage {self.damage.kind!r} needs a strain profile that ends somewhere; profile is none"
            )
        self.response  # noqa: B018 (raises if the resolution does not fit)
        background(self.background)

    @cached_property
    def response(self) -> Resolution:
        """The resolution function."""
        return Resolution(self.resolution, self.reflection)

    @cached_property
    def space(self) -> ParameterSpace:
        """All parameters with units, bounds and nested constraints."""
        space = self.profile.space if self.profile else ParameterSpace()
        space = space + self.damage.space + film_space(self.films, self.reflection)
        if self.profile:
            space = space + spread_space()
        if self.diffuse:
            space = space + self.diffuse.space
        return space + base_space() + self.response.space + background_space(self.background)

    @cached_property
    def deviation(self) -> Deviation:
        """Deviation from the Bragg condition as a function of strain."""
        return Deviation.of(self.reflection)

    @cached_property
    def physics(self) -> frozenset[str]:
        """Names of the parameters that the reflectivity depends on; all others act after it."""
        instrument = base_space() + self.response.space + background_space(self.background)
        return frozenset(self.space.names) - frozenset(instrument.names) - {"strain_spread"}

    @cached_property
    def optics(self) -> frozenset[str]:
        """Names of the parameters that susceptibilities or strains in the plane depend on."""
        names = {f"{film.name}_{what}" for film in self.films for what in ("x", "relaxation", "density")}
        return frozenset(names & set(self.space.names))

    @cached_property
    def _at_rest(self) -> Coefficients:
        """Coefficients of one lamella without strain on a substrate without damage."""
        rest = np.zeros((1, 3))
        return coefficients(self.reflection, Lamellae.of_one_crystal(self.reflection, np.ones(1), rest, rest))

    @cached_property
    def strain_scale(self) -> tuple[float, float]:
        """Strain that moves the Bragg condition by one in the angle coordinate x, and refraction's share in y."""
        reflection = self.reflection
        slope, _ = self.deviation.at_rest
        refraction = np.pi / reflection.wavelength * abs(reflection.susceptibility.chi0)
        return slope / reflection.diffraction_vector, float(refraction / reflection.diffraction_vector)

    @property
    def fringe(self) -> float:
        """Shortest period that the deepest layer gives the curve [rad]."""
        depth = max(self.max_depth, 1.25 * sum(film.thickness for film in self.films))
        return self.reflection.wavelength / (2.0 * depth * math.cos(self.reflection.bragg_angle))

    def bind(self, dtheta: ArrayLike) -> BoundCurve:
        """Return the curve bound to the angles of a measurement.

        Parameters
        ----------
        dtheta : array_like, shape (n,)
            Offsets from the substrate's Bragg angle [rad], strictly ascending.
        """
        angles = np.ascontiguousarray(dtheta, dtype=float)
        if angles.ndim != 1 or len(angles) < 2 or not np.all(np.isfinite(angles)) or np.any(np.diff(angles) <= 0.0):
            raise CurveError("angles must be one-dimensional, finite and strictly ascending, at least two of them")
        return BoundCurve(self, angles)

    def layer(self, values: Values, strain_range: float | tuple[float, float], *, derivatives: bool = False) -> Layer:
        """Return the strained layer as lamellae; ``strain_range`` as in ``specimen.discretise``."""
        if self.profile is None and not self.films:
            empty = np.zeros((0, 3))
            chain = Chain((), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 7)))
            return Layer(np.zeros(0), empty, empty, empty, chain if derivatives else None)
        films = pile(self.films, values, self.reflection) if self.films else None
        if films is not None and self.profile is None and self.diffuse is None:
            return uniform_films(films, derivatives)
        return discretise(
            self.profile,
            self.damage,
            values,
            diffraction_vector=self.reflection.diffraction_vector,
            strain_range=strain_range,
            tolerance=self.tolerance,
            derivatives=derivatives,
            films=films,
        )

    def layer_optics(self, layer: Layer, values: Values) -> LayerOptics:
        """Return what a layer is made of, and how far each lamella is from the Bragg condition."""
        if layer.film is None:
            return LayerOptics((), 0.0, self.deviation.coefficients(layer.strain))
        parallel = pile(self.films, values, self.reflection).parallel[layer.film, None]
        made_of = materials(self.films, values, self.reflection)
        return LayerOptics(made_of, parallel, self.deviation.coefficients(layer.strain, parallel))

    def coefficients(self, layer: Layer, values: Values, optics: LayerOptics | None = None) -> Coefficients:
        """Return what the dynamical kernel needs; ``optics`` where they are known already."""
        optics = optics or self.layer_optics(layer, values)
        substrate_e = math.exp(-values.get("substrate_damage", 0.0))
        if layer.film is not None:
            in_plane = np.repeat(optics.parallel, layer.strain.shape[1], axis=1)
            return coefficients(
                self.reflection,
                Lamellae(
                    layer.thickness, layer.strain, layer.debye_waller, optics.materials, layer.film, in_plane,
                    substrate_e,
                ),
            )  # fmt: skip
        rest, shape = self._at_rest, layer.strain.shape
        u0, q1, _ = optics.mismatch
        return Coefficients(
            thickness=layer.thickness,
            u0=u0 + rest.u0[0, 0],
            q1=q1,
            q2=np.full(shape, rest.q2[0, 0]),
            absorption=np.full(shape[0], rest.absorption[0]),
            debye_waller=layer.debye_waller,
            sigma_h=rest.sigma_h.repeat(shape[0], axis=0),
            sigma_hbar=rest.sigma_hbar.repeat(shape[0], axis=0),
            substrate_u0=rest.substrate_u0,
            substrate_q1=rest.substrate_q1,
            substrate_q2=rest.substrate_q2,
            substrate_sigma_h=rest.substrate_sigma_h * substrate_e,
            substrate_sigma_hbar=rest.substrate_sigma_hbar * substrate_e,
            turn=rest.turn,
        )


@dataclass(frozen=True)
class Reflectivity:
    """Reflectivity at the nodes of a grid, one row for each polarisation weighting, with derivatives.

    Attributes
    ----------
    coherent, diffuse : ndarray, shape (rows, m)
    slopes : dict of ndarray, shape (rows, m)
        Derivatives of the sum by parameter name.
    """

    coherent: FloatArray
    diffuse: FloatArray
    slopes: dict[str, FloatArray]


class BoundCurve:
    """A rocking curve at the angles of one measurement: expected intensities and their exact derivatives.

    Parameters
    ----------
    model : RockingCurve
    dtheta : ndarray, shape (n,)
        Offsets from the substrate's Bragg angle [rad], ascending.
    """

    def __init__(self, model: RockingCurve, dtheta: FloatArray) -> None:
        self.model = model
        self.dtheta = dtheta
        self._grids: dict[tuple[int, float], Grid] = {}
        # Coarsest step of the nodes [arcsec]
        self._coarse = AngleGrid.coarse_step(float(np.median(np.diff(dtheta))), model.fringe) / ARCSEC
        # A resolution below a thirty-fifth of a fringe changes nothing that could be measured.
        self._narrowest = self._coarse / (_NODES_PER_WIDTH * 2.0**_OCTAVES)
        weights = np.array(model.reflection.polarization_weights)
        self._weights = np.diag(weights) if model.response.polarised else weights[None, :]

    def _grid(self, values: Values) -> Grid:
        """Return the grid around the angles; it follows the offset in steps, and a narrow resolution in octaves.

        In half octaves where the tolerance is loose.
        """
        number = round(values["offset"] / _OFFSET_STEP)
        needed = self._coarse / (_NODES_PER_WIDTH * max(values["fwhm"], self._narrowest))
        rung = 1.0 if self.model.tolerance <= 1e-4 else 0.5
        octave = min(rung * math.ceil(math.log2(max(needed, 1.0)) / rung), _OCTAVES)
        if (number, octave) not in self._grids:
            if len(self._grids) > 8:
                self._grids.clear()
            shifted = self.dtheta - number * _OFFSET_STEP * ARCSEC
            self._grids[number, octave] = Grid.around(self.model, shifted, octave)
        return self._grids[number, octave]

    def _part(self, values: Values, part: slice) -> Grid:
        """Return what of the grid is needed for a part of the angles."""
        grid = self._grid(values)
        if part == slice(None):
            return grid
        first, last = (values["step"] * float(self.dtheta[part][k]) - values["offset"] * ARCSEC for k in (0, -1))
        margin = MARGIN * ARCSEC
        return grid.between(self.model, min(first - margin, -margin), max(last + margin, margin))

    @property
    def strain_range(self) -> float:
        """Largest distance of the scan from the Bragg condition, over H: which strain would diffract there."""
        return max(map(abs, self._grid({"offset": 0.0, "fwhm": math.inf}).strains))

    def layer(self, values: Values, *, derivatives: bool = False) -> Layer:
        """Return the strained layer as lamellae."""
        return self.model.layer(values, self._grid(values).strains, derivatives=derivatives)

    def reflectivity(self, values: Values, *, derivatives: bool = False) -> tuple[AngleGrid, Reflectivity]:
        """Return the reflectivity at the nodes of the internal grid, before the instrument."""
        grid = self._grid(values)
        return grid.angles, self._reflectivity(values, self.layer(values, derivatives=derivatives), grid)

    def _reflectivity(self, values: Values, layer: Layer, grid: Grid) -> Reflectivity:
        x, y, flux, pick = grid.x, grid.y, grid.flux, grid.pick
        model = self.model
        optics = model.layer_optics(layer, values)
        c = model.coefficients(layer, values, optics)
        coherent, jacobian = self._coherent(c, layer, x, y, flux)
        slopes: dict[str, FloatArray] = {}
        if layer.chain is not None and jacobian is not None:
            slopes = {name: jacobian[:, i] for i, name in enumerate(layer.chain.names)}
            if model.diffuse:
                slopes["substrate_damage"] = -jacobian[:, -1]
        if grid.angles.every > 1:  # between fringes that the nodes hardly resolve, interpolation may undershoot
            coherent = grid.angles.fill(coherent)
            positive = coherent > 0.0
            coherent = coherent * positive
            slopes = {name: grid.angles.fill(slope) * positive for name, slope in slopes.items()}
        if model.diffuse is None:
            return Reflectivity(coherent, np.zeros_like(coherent), slopes)

        rows = []
        for k, row in enumerate(self._weights):
            part, part_slopes = model.diffuse.reflectivity(
                model.reflection, model.deviation, layer, values, x[pick], y[pick], row, grid.extinction[:, pick],
                optics.materials, optics.parallel, optics.mismatch,
            )  # fmt: skip
            names = list(part_slopes)
            stack = _gridding.refine(grid.nodes[pick], np.array([part, *part_slopes.values()]), grid.angles.nodes)
            # Interpolation between coarse angles may undershoot beside a line that is narrower than they are apart.
            positive = stack[0] > 0.0
            rows.append(stack[0] * positive)
            for name, slope in zip(names, stack[1:] * positive, strict=True):
                if name not in slopes:
                    slopes[name] = np.zeros_like(coherent)
                slopes[name][k] += slope
        return Reflectivity(coherent, np.array(rows), slopes)

    def _coherent(
        self, c: Coefficients, layer: Layer, x: FloatArray, y: FloatArray, flux: FloatArray
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return the coherent reflectivity, shape (rows, m), and with a chain its derivatives, (rows, names + 1, m)."""
        arguments: tuple[Any, ...] = (
            x, y, c.thickness, c.u0, c.q1, c.q2, c.absorption, c.debye_waller, c.sigma_h, c.sigma_hbar,
            c.substrate_u0, c.substrate_q1, c.substrate_q2, c.substrate_sigma_h, c.substrate_sigma_hbar,
        )  # fmt: skip
        chain, graded = layer.chain, layer.strain.shape[1] == 3
        if graded:
            arguments = (*arguments, c.turn)
            if chain is None:
                return _kernel("_numba_graded", "reflectivity")(*arguments, flux, self._weights), None
        jacobian = None
        if chain is None:
            coherent = self._weights @ np.abs(_kernel("_numba_uniform", "amplitude")(*arguments)) ** 2
        else:
            module = "_numba_jacobian" if graded else "_numba_uniform_jacobian"
            du0, dq1 = self.model.deviation.strain_derivatives(layer.strain)
            parts = [
                _kernel(module, "reflectivity_and_jacobian")(
                    *arguments, du0, dq1, row, chain.pointer, chain.parameter, chain.value, len(chain.names)
                )
                for row in self._weights
            ]
            coherent, jacobian = np.array([part[0] for part in parts]), np.array([part[1] for part in parts])
        # The couplings are those at the Bragg angle; see Deviation.flux.
        share = 1.0 + coherent / (self._weights.sum(axis=1, keepdims=True) + 1e-300) * (flux - 1.0)
        if jacobian is not None:
            jacobian = jacobian * (flux / share**2)[:, None]
        return coherent * flux / share, jacobian

    def _by_optics(self, values: Values, layer: Layer, grid: Grid, name: str) -> FloatArray:
        """Return the derivative through susceptibilities and strain in the plane, which the kernels have none by.

        Central differences at lamellae and out-of-plane strains as they are, so that they are smooth.
        """
        spec, value = self.model.space[name], values[name]
        ends = [min(max(value + side * _OPTICS_STEP, spec.min), spec.max) for side in (-1.0, 1.0)]
        fixed = replace(layer, chain=None)
        low, high = (self._reflectivity({**values, name: end}, fixed, grid) for end in ends)
        return (high.coherent + high.diffuse - low.coherent - low.diffuse) / (ends[1] - ends[0])

    def curve(self, values: Values, part: slice = slice(None)) -> FloatArray:
        """Return the expected intensity, shape (n,), or a part of it: what needs no other angles is left out."""
        return self._evaluate(values, (), part)[0]

    def jacobian(self, values: Values, names: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Return the expected intensity (n,) and its derivatives (n, len(names)) with respect to named parameters."""
        intensity, slopes = self._evaluate(values, tuple(names), slice(None))
        return intensity, np.column_stack([slopes[name] for name in names]) if names else np.zeros((len(intensity), 0))

    def _evaluate(
        self, values: Values, names: tuple[str, ...], part: slice
    ) -> tuple[FloatArray, dict[str, FloatArray]]:
        internal = self._part(values, part)
        convolution, grid = internal.convolution, internal.angles
        wanted = [name for name in names if name in self.model.physics]
        layer = self.model.layer(values, internal.strains, derivatives=bool(wanted))
        result = self._reflectivity(values, layer, internal)
        for name in self.model.optics.intersection(wanted):
            known = result.slopes.get(name, 0.0)
            result.slopes[name] = known + self._by_optics(values, layer, internal, name)
        narrow = values["fwhm"] < self._narrowest
        shape = {**values, "fwhm": self._narrowest} if narrow else values
        transform, transform_slopes = self.model.response.transform(grid, shape, names, derivatives=bool(names))
        if narrow and "fwhm" in transform_slopes:
            transform_slopes["fwhm"] = np.zeros_like(transform_slopes["fwhm"])
        transform = np.atleast_2d(transform) * internal.correction

        polarisations = len(self._weights)
        rows = np.concatenate([result.coherent + result.diffuse, *(result.slopes[name] for name in wanted)])
        spread = values.get("strain_spread", 0.0)
        if spread > 0.0:
            # Strain scales with dose; averaging over it stretches the curve about the substrate peak.
            centre = self.model.reflection.refraction_shift()
            rows, by_spread = _gridding.smear(grid.nodes, grid.quadrature, centre, spread, rows, polarisations)
        else:
            by_spread = np.zeros_like(rows[:polarisations])
        if "strain_spread" in names:
            rows = np.concatenate([rows, by_spread])
            wanted.append("strain_spread")
        spectra = convolution.spectrum(rows).reshape(1 + len(wanted), polarisations, -1)
        folded = [(spectra * transform).sum(axis=1)]
        shaped = [name for name in names if name in transform_slopes]
        for name in shaped:
            folded.append((spectra[:1] * np.atleast_2d(transform_slopes[name]) * internal.correction).sum(axis=1))
        splines = convolution.coefficients(np.concatenate(folded))

        dtheta = self.dtheta[part]
        true_angle = values["step"] * dtheta - values["offset"] * ARCSEC
        position = convolution.positions(true_angle)
        position = np.minimum(np.maximum(position, 2.0), grid.size - 3.0)
        convolved = _gridding.interpolate(position, splines)
        scale = values["scale"]
        arcsec = dtheta / ARCSEC
        base, base_slopes = background(self.model.background)(arcsec, values)
        expected = scale * convolved[0] + base
        # A non-paralysable counter loses dead_time counts for each one that it records.
        tau = values["dead_time"]
        alive = 1.0 / (1.0 + tau * np.maximum(expected, 0.0))
        through = alive**2

        slopes: dict[str, FloatArray] = {}
        for name, row in zip([*wanted, *shaped], convolved[1:], strict=True):
            slopes[name] = through * scale * row
        if "scale" in names:
            slopes["scale"] = through * convolved[0]
        if "offset" in names or "step" in names:
            slope = through * scale * _gridding.slope(position, splines[0]) / grid.step
            slopes["offset"], slopes["step"] = -slope * ARCSEC, slope * dtheta
        if "dead_time" in names:
            slopes["dead_time"] = -through * expected**2
        slopes |= {name: through * row for name, row in base_slopes.items() if name in names}
        return expected * alive, slopes
