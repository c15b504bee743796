"""The composition of all the physics: parameters in, expected counts out, with exact derivatives.

``RockingCurve`` says what is modelled; bound to the angles of a measurement it becomes a `BoundCurve`,
which holds the grids and calculates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hrxrd_ml.arrays import FloatArray, Values
from hrxrd_ml.complex_step import gradient
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.beams import Beams, check_horizon
from hrxrd_ml.diffraction.coherent import weighted_reflectivity, weighted_reflectivity_and_jacobian
from hrxrd_ml.diffraction.diffuse import CorrelationDiffuse, DefectDiffuse, DiffuseModel, make_diffuse
from hrxrd_ml.diffraction.overgrowth import covered, own_beams
from hrxrd_ml.diffraction.reflectivity import Conditions, Diffracting
from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.instrument.angles import AngleGrid
from hrxrd_ml.instrument.background import Background, make_background
from hrxrd_ml.instrument.counting import base_space
from hrxrd_ml.instrument.declared import DeclaredResponse
from hrxrd_ml.instrument.diffractometer import Diffractometer
from hrxrd_ml.instrument.grid import Grid, Need
from hrxrd_ml.instrument.measure import measure
from hrxrd_ml.instrument.optics import lit_by
from hrxrd_ml.instrument.resolution import Broadening, Resolution, Response, make_resolution
from hrxrd_ml.parameters import ParameterSpace, checked_keywords, space_of
from hrxrd_ml.specimen.cut import too_much
from hrxrd_ml.specimen.damage import Damage, TiedDamage, make_damage
from hrxrd_ml.specimen.film import Film
from hrxrd_ml.specimen.layers import Layer, discretise, uniform_films
from hrxrd_ml.specimen.profile import make_profile
from hrxrd_ml.specimen.profile.base import Profile, end_of
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile
from hrxrd_ml.specimen.spread import mean, nodes_of, reach, spread_out, spread_space
from hrxrd_ml.specimen.stack import Fineness, Stack
from hrxrd_ml.specimen.superlattice import Part, depth_of, film_space, has_own_lattice
from hrxrd_ml.units import ARCSEC

MOST_FILMS = 500
"""Each has six parameters or more; what is periodic has some hundred layers."""

MOST_WORK = 50_000_000
"""Lamellae times angles, some 20 s of one core for a Jacobian; what is fitted has a thousandth of it."""

_MOST_AVERAGED = 10 * MOST_WORK
"""The same summed over the curves of an average: some ten seconds for a curve; an implanted layer needs a tenth."""

_FINEST, _COARSEST = 1e-12, 0.1  # tolerances; what is finer is below the rounding of numbers
_OFFSET_STEP = 60.0  # arcsec; the grid follows the offset in steps of this
_STRETCH_STEP = 60.0  # arcsec; and the end of the scan, which the scale of the axis moves, in steps of this
_NODES_PER_WIDTH = 0.55  # coarsest step of the nodes over the FWHM of the resolution
_STEPS_PER_WIDTH = 0.28  # coarsest step of the uniform grid over that FWHM
_BLUR, _LOOSE_BLUR = 3.0, 1.2  # frequency times FWHM from which on nothing is left of what a resolution function blurs
_OCTAVES = 4.0  # how often, at most, the steps are halved for a narrow resolution
_LOOSE_OCTAVES = 2.0  # the same where the tolerance is loose, as in a search

_PASSED = space_of(
    ("diffuse_passed", "", 0.2, 0.0, 1.0, True, "part of the diffuse scattering that passes the analyser"),
    scope="diffractometer",
)


@checked_keywords
@dataclass(frozen=True)
class RockingCurve:
    """What a rocking curve is made of.

    Parameters
    ----------
    reflection : Reflection
    profile : Profile or None
        Strain profile; None for a perfect crystal.
    damage : Damage or None
    diffuse : DiffuseModel or None
    resolution : str or Resolution
        One of ``instrument.resolution.RESOLUTIONS``, or one of your own.
    background : str or Background
        One of ``instrument.background.BACKGROUNDS``, or one of your own.
    tolerance : float
        Aimed-at error of the coherent reflectivity, relative to R + 1e-6.
    max_depth : float
        Deepest layer that the angular grid is made for [Å]; where films are thicker, a quarter more than they are.
    diffractometer : Diffractometer, optional
        Declared parts in place of a ``resolution`` that is fitted; the polarisation K of the reflection follows from
        them unless the reflection was given one.
    films : sequence of Film and Superlattice
        Films on the substrate, from the substrate up. The strain profile begins at the surface of the topmost one,
        and is relative to the lattice of the film that it is in.
    """

    reflection: Reflection
    profile: Profile | None = field(default_factory=ImplantedProfile)
    damage: Damage | None = field(default_factory=TiedDamage)
    diffuse: DiffuseModel | None = field(default_factory=CorrelationDiffuse)
    resolution: str | Resolution = "gaussian"
    background: str | Background = "constant"
    tolerance: float = 1e-4
    max_depth: float = 8000.0
    films: tuple[Part, ...] = ()
    diffractometer: Diffractometer | None = None

    @classmethod
    def of(
        cls,
        reflection: Reflection,
        profile: Profile | str | None = "auto",
        damage: Damage | str | None = "auto",
        diffuse: DiffuseModel | str | None = "auto",
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
            films; damage "tied", or "none" without a profile; diffuse "correlation", or "none" without damage. The
            damage of the substrate is given in the same way as that of the layer.
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
        if diffuse == "auto":
            diffuse = "none" if damage == "none" or damage is None else "correlation"
        if isinstance(diffuse, str):
            usual = getattr(make_damage(damage) if isinstance(damage, str) else damage, "measure", None)
            diffuse = make_diffuse(diffuse, usual, reflection.crystal.shortest_translation)
        if isinstance(damage, str):
            damage = make_damage(damage, damage_knots, diffuse.measure if isinstance(diffuse, DefectDiffuse) else None)
        return cls(reflection, profile, damage, diffuse, **options)

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        object.__setattr__(self, "films", tuple(self.films))
        if len(self.films) > MOST_FILMS:
            raise ParameterError(f"films: expected at most {MOST_FILMS}, got {len(self.films)}; leave some out")
        if not _FINEST <= self.tolerance <= _COARSEST:
            expected = f"expected from {_FINEST:g} to {_COARSEST:g}, such as 1e-4"
            raise ParameterError(f"tolerance, the relative error of the curve: {expected}, got {self.tolerance!r}")
        if self.diffractometer is not None:
            if not isinstance(self.diffractometer, Diffractometer):
                raise ParameterError(f"diffractometer: expected a Diffractometer, got {self.diffractometer!r}")
            if self.resolution != "gaussian":
                raise ParameterError(
                    "give a resolution that is fitted, or a diffractometer whose parts make it, not both"
                )
            object.__setattr__(self, "reflection", lit_by(self.diffractometer, self.reflection))
        if self.profile is None and self.damage is not None:
            raise ParameterError("damage needs a strain profile that ends somewhere; profile is none")
        made = self.diffuse.measure if isinstance(self.diffuse, DefectDiffuse) else None
        if made is not None and self.damage is not None and getattr(self.damage, "measure", None) != made:
            raise ParameterError(
                f"damage {self.damage!r} contradicts the diffuse model, whose defects make it; leave it out, or "
                "give 'tied' or 'bspline' for the profile of their density, or the same defects to both"
            )
        if self.overgrown is not None and (self.profile is not None or self.diffuse is not None):
            raise ParameterError("films with hkl, a lattice of their own, go with profile and diffuse component none")
        self.response, self.level  # noqa: B018 (raise if resolution or background does not fit)

    @cached_property
    def on_substrate(self) -> tuple[Part, ...]:
        """Films with the lattice of the substrate."""
        own = [k for k, film in enumerate(self.films) if has_own_lattice(film)]
        return self.films[: own[0]] if own else self.films

    @cached_property
    def overgrown(self) -> RockingCurve | None:
        """Films from the first one with a lattice of its own on, as a curve of their own."""
        if len(self.on_substrate) == len(self.films):
            return None
        first, *others = self.films[len(self.on_substrate) :]
        assert isinstance(first, Film)
        films = (replace(first, hkl=None), *others)
        return RockingCurve(first.reference(self.reflection), None, None, None, tolerance=self.tolerance, films=films)

    @cached_property
    def response(self) -> Broadening:
        """What broadens the curve: a declared diffractometer, or a resolution function and the bent crystal."""
        if self.diffractometer is not None:
            return DeclaredResponse(self.diffractometer, self.reflection)
        return Response(make_resolution(self.resolution, self.reflection))

    @cached_property
    def level(self) -> Background:
        """The background."""
        return make_background(self.background)

    @cached_property
    def space(self) -> ParameterSpace:
        """All parameters with units, bounds and nested constraints."""
        space = self.sample
        if self.diffuse:
            space = space + self.diffuse.space
        if self.analysed:
            space = space + _PASSED
        return space + base_space() + self.response.space + self.level.space.scoped("curve")

    @cached_property
    def sample(self) -> ParameterSpace:
        """The parameters of profile, damage and films."""
        space = self.profile.space if self.profile else ParameterSpace()
        if self.damage:
            space = space + self.damage.space
        space = space + film_space(self.films, self.reflection)
        return space + spread_space() if self.profile else space

    @cached_property
    def conditions(self) -> Conditions:
        """What the reflection fixes."""
        return Conditions.of(self.reflection)

    @cached_property
    def physics(self) -> frozenset[str]:
        """Names of the parameters that the reflectivity depends on; all others act after it."""
        instrument = base_space() + self.response.space + self.level.space
        return frozenset(self.space.names) - frozenset(instrument.names)

    def defect_length(self, values: Values) -> float:
        """Return the length of the defects that scatter diffusely [Å]; 0 where there are none."""
        return self.diffuse.length(values) if self.diffuse else 0.0

    def substrate_exponent(self, values: Values) -> Any:
        """Return L of the substrate; an array function."""
        return self.diffuse.substrate_exponent(values, self.reflection.diffraction_vector) if self.diffuse else 0.0

    @cached_property
    def defects(self) -> tuple[str, ...]:
        """Names of the parameters that the diffuse part depends on, without those that the layer depends on too."""
        own = [name for name in self.diffuse.space.names if name not in self.sample] if self.diffuse else []
        return (*own, *_PASSED.names) if self.analysed else tuple(own)

    @property
    def analysed(self) -> bool:
        """Whether an analyser takes a part of the diffuse scattering away."""
        return self.diffuse is not None and self.diffractometer is not None and self.diffractometer.analyser is not None

    def fringe(self, half_octaves: int = 0) -> float:
        """Shortest period that the deepest layer gives the curve [rad], λ γ_h/(t sin 2θ_B).

        Of a layer that is deeper by so many half octaves than expected; see `deeper`.
        """
        reflection, depth = self.reflection, self._usual_depth * 2.0 ** (0.5 * half_octaves)
        return reflection.wavelength * reflection.gammah / (depth * math.sin(2.0 * reflection.bragg_angle))

    @cached_property
    def _usual_depth(self) -> float:
        return max(self.max_depth, 1.25 * sum(film.thickness for film in self.films))

    def deeper(self, values: Values) -> int:
        """Return by how many half octaves the layer is deeper than what was expected; 0 if it is not."""
        end = values["L1"] if isinstance(self.profile, ImplantedProfile) else end_of(self.profile, values)
        depth = max(end, sum(depth_of(film, values) for film in self.films))
        return max(math.ceil(2.0 * math.log2(max(depth / self._usual_depth, 1.0)) - 1e-9), 0)

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
        check_horizon(self.reflection, angles, exit=not self.films)
        return BoundCurve(self, angles)

    def layer(
        self, values: Values, strain_range: float | tuple[float, float], *, names: Sequence[str] | None = None
    ) -> Layer:
        """Return the strained layer as lamellae.

        Parameters
        ----------
        values : mapping
        strain_range
            As in `layers.discretise`.
        names : sequence of str, optional
            Parameters of the sample by which derivatives are wanted.
        """
        if self.profile is None and not self.on_substrate:
            return Layer.nothing(names)
        films = None
        if self.on_substrate:
            ends = strain_range if isinstance(strain_range, tuple) else (strain_range,)
            fineness = Fineness(max(map(abs, ends)), self.tolerance)
            films = Stack.of(self.on_substrate, values, self.reflection, fineness=fineness, names=names)
        if films is not None and self.profile is None and self.diffuse is None:
            return uniform_films(films, values, names)
        length = self.defect_length(values)
        return discretise(
            self.profile,
            self.damage,
            values,
            diffraction_vector=self.reflection.diffraction_vector,
            strain_range=strain_range,
            tolerance=self.tolerance,
            names=names,
            films=films,
            extinction_length=self._extinction_length,
            line_width=2.0 / (self.reflection.diffraction_vector * length) if length > 0.0 else math.inf,
            reach=reach(values.get("strain_spread", 0.0), self.tolerance),
        )

    def over(
        self,
        coherent: FloatArray,
        jacobian: FloatArray,
        beams: Beams,
        values: Values,
        weights: FloatArray,
        names: Sequence[str] | None,
    ) -> tuple[FloatArray, FloatArray]:
        """Return reflectivity and derivatives of a crystal with these films on it; see `overgrowth.covered`."""
        own = own_beams(self.conditions, beams)
        span = float(np.abs(own.dtheta).max()) / math.tan(self.reflection.bragg_angle)
        layer = self.layer(values, span, names=names)
        coherent, jacobian = covered(coherent, jacobian, beams, self.conditions, layer, weights)
        if self.overgrown is None:
            return coherent, jacobian
        return self.overgrown.over(coherent, jacobian, own, values, weights, names)

    @cached_property
    def _extinction_length(self) -> float:
        reflection = self.reflection
        strongest = max(abs(chi) for chi in (reflection.susceptibility.chih, reflection.susceptibility.pair(0)[1]))
        cosines = math.sqrt(reflection.gamma0 * abs(reflection.gammah))
        return reflection.wavelength * cosines / (math.pi * strongest)


@dataclass(frozen=True)
class Reflectivity:
    """Reflectivity at the nodes of a grid, one row for each polarisation weighting, with derivatives.

    Attributes
    ----------
    coherent, diffuse : ndarray, shape (rows, m)
    names : tuple of str
        Parameters by which there are derivatives.
    slopes : ndarray, shape (len(names), rows, m)
        Derivatives of the sum.
    """

    coherent: FloatArray
    diffuse: FloatArray
    names: tuple[str, ...]
    slopes: FloatArray


@cache
def _keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to some 60 MB.

    A Jacobian takes and frees a few megabytes at a time.  Glibc gives them back to the system each time and gets empty
    pages again, a quarter of the time of a call; once a block as large as this has been freed, it no longer does.
    """
    np.empty(31 << 20, dtype=np.uint8)


class BoundCurve:
    """A rocking curve at the angles of one measurement: expected intensities and their exact derivatives.

    Parameters
    ----------
    model : RockingCurve
    dtheta : ndarray, shape (n,)
        Offsets from the substrate's Bragg angle [rad], ascending.
    """

    def __init__(self, model: RockingCurve, dtheta: FloatArray) -> None:
        _keep_freed_memory()
        self.model = model
        self.dtheta = dtheta
        self._grids: dict[tuple[int, int, float, int, Need, float], Grid] = {}
        self._step = float(np.median(np.diff(dtheta)))
        self._farthest = max(float(np.abs(dtheta[[0, -1]]).max()) / ARCSEC, 1.0)
        # Coarsest step of the nodes [arcsec]
        self._coarse = AngleGrid.coarse_step(self._step, model.fringe()) / ARCSEC
        self._loose = model.tolerance > 1e-4
        self._octaves = _LOOSE_OCTAVES if self._loose else _OCTAVES
        # A resolution below a forty-fourth of a fringe changes nothing that could be measured.
        self._narrowest = self._coarse / (_NODES_PER_WIDTH * 2.0**self._octaves)
        weights = np.array(model.reflection.polarization_weights)
        self._weights = np.diag(weights) if model.response.polarised else weights[None, :]

    def _grid(self, values: Values) -> Grid:
        """Return the grid around the angles; it follows offset and step in steps, a narrow resolution in octaves.

        In half octaves where the tolerance is loose.
        """
        number = round(values["offset"] / _OFFSET_STEP)
        stretch = round((values["step"] - 1.0) * self._farthest / _STRETCH_STEP)
        need = self._need(values)
        width = max(self.model.response.width(values), self._narrowest) * ARCSEC
        fringe = self._blurred(self.model.fringe(need.depth), width)
        needed = AngleGrid.coarse_step(self._step, fringe) / (_NODES_PER_WIDTH * width)
        step = 0.5 if self._loose else 1.0
        octave = min(step * math.ceil(math.log2(max(needed, 1.0)) / step), self._octaves)
        # A broad plateau is no reason for a grid that a narrow resolution cannot be followed on.
        even = AngleGrid.even_step(self._step, fringe, self.model.reflection.darwin_width())
        finer = math.ceil(math.log2(max(even / (_STEPS_PER_WIDTH * width * 2.0**octave), 1.0)))
        key = number, stretch, octave, finer, need, fringe
        if key not in self._grids:
            if len(self._grids) > 8:
                self._grids.clear()
            shifted = self.dtheta * (1.0 + stretch * _STRETCH_STEP / self._farthest) - number * _OFFSET_STEP * ARCSEC
            self._grids[key] = Grid.around(
                shifted,
                self.model.conditions,
                fringe=fringe,
                octave=octave,
                need=need,
                finer=2**finer,
            )
        return self._grids[key]

    def _blurred(self, fringe: float, width: float) -> float:
        """Return which fringe nodes have to follow [rad] where the resolution is ``width`` [rad] wide.

        Samples of a fringe f that are h apart stand for one of 1/(1/h - 1/f), too: where the resolution blurs that, and
        the fringe all the more, there is no need for the fifth of f that interpolation takes. In half octaves of the
        width.
        """
        narrower = fringe * 2.0 ** (0.5 * math.floor(2.0 * math.log2(width / fringe)))
        blur = _LOOSE_BLUR if self._loose else _BLUR
        return max(fringe, 5.0 / (1.0 / fringe + blur / narrower))

    def _need(self, values: Values) -> Need:
        return Need.of(
            values,
            self.model.reflection,
            deeper=self.model.deeper(values),
            far=self.model.response.far(values),
            reach=self.model.response.reach(values),
            length=self.model.defect_length(values),
        )

    def _part(self, values: Values, part: slice) -> Grid:
        """Return what of the grid is needed for a part of the angles."""
        grid = self._grid(values)
        if part == slice(None):
            return grid
        first, last = (values["step"] * float(self.dtheta[part][k]) - values["offset"] * ARCSEC for k in (0, -1))
        margin = self._need(values).margin
        low, high = min(first - margin, -margin), max(last + margin, margin)
        return grid.between(low, high)

    @property
    def strain_range(self) -> float:
        """Largest distance of the scan from the Bragg condition, over H: which strain would diffract there."""
        return max(map(abs, self._grid(self.model.space.defaults() | {"offset": 0.0, "step": 1.0}).strains))

    def layer(self, values: Values, names: Sequence[str] | None = None) -> Layer:
        """Return the strained layer as lamellae, with derivatives by the parameters ``names``."""
        return self.model.layer(values, self._grid(values).strains, names=names)

    def reflectivity(self, values: Values) -> tuple[AngleGrid, Reflectivity]:
        """Return the reflectivity at the nodes of the internal grid, before the instrument."""
        grid = self._grid(values)
        return grid.angles, self._reflectivity(values, grid, ())

    def _reflectivity(self, values: Values, grid: Grid, names: Sequence[str]) -> Reflectivity:
        """Return the reflectivity, with its derivatives by the parameters of sample and defects in ``names``."""
        model, angles, polarisations = self.model, grid.angles, len(self._weights)
        own = [name for name in names if name in model.sample.names]
        defects = [name for name in model.defects if name in names]
        layer = model.layer(values, grid.strains, names=own if names else None)
        lamellae, beams = len(layer.thickness), len(grid.beams.dtheta)
        if lamellae * beams > MOST_WORK:
            what = f"{lamellae} lamellae at {beams} angles, {lamellae * beams / MOST_WORK:.2g} times too many"
            raise ParameterError(too_much(what, layer.thickness, float(np.abs(layer.strain).max())))
        spread = values.get("strain_spread", 0.0)
        nodes = nodes_of(layer, spread, model.reflection.diffraction_vector, model.tolerance)
        curves = len(nodes[0])
        if (work := curves * lamellae * beams) > _MOST_AVERAGED:
            what = (
                f"strain_spread = {spread:.3g} (lower it, or its upper bound) needs the average of {curves} curves of "
                f"{lamellae} lamellae at {beams} angles, {work / _MOST_AVERAGED:.2g} times too many"
            )
            raise ParameterError(too_much(what, layer.thickness, float(np.abs(layer.strain).max())))
        layers = spread_out(layer, spread, nodes)
        coherent, jacobian, scattered = mean((weight, self._of_layer(values, grid, each)) for weight, each in layers)
        slopes = np.zeros((len(own) + len(defects), polarisations, len(angles.nodes)))
        if names:
            if angles.every > 1:
                shape = (*jacobian.shape[:2], -1)
                jacobian = angles.fill(jacobian.reshape(-1, jacobian.shape[-1])).reshape(shape)
            slopes[: len(own)] = jacobian[:-1]
            by_names = gradient(model.substrate_exponent, values, (*own, *defects))
            slopes -= by_names[:, None, None] * jacobian[-1]
        if angles.every > 1:  # between fringes that the nodes hardly resolve, interpolation may undershoot
            coherent = angles.fill(coherent)
            positive = coherent > 0.0
            coherent *= positive
            slopes *= positive
        diffuse = np.zeros_like(coherent)
        if model.diffuse is None:
            return Reflectivity(coherent, diffuse, (*own, *defects), slopes)

        from hrxrd_ml.instrument.spreading import gather  # loads numba

        # After the parameters of the sample come those of the diffuse model, of which some may be the sample's too.
        rows = {name: 1 + len(own) + k for k, name in enumerate((*model.diffuse.space.names, *_PASSED.names))}
        both, alone = [name for name in own if name in rows], [rows[name] for name in defects]
        for k, coarse in enumerate(scattered):
            if names:
                coarse[[1 + own.index(name) for name in both]] += coarse[[rows[name] for name in both]]
                coarse = coarse[[*range(1 + len(own)), *alone]]
            fine = gather(*grid.refinement, coarse)
            # Interpolation between coarse angles may undershoot beside a line that is narrower than they are apart.
            fine *= fine[0] > 0.0
            diffuse[k] = fine[0]
            slopes[:, k] += fine[1:]
        return Reflectivity(coherent, diffuse, (*own, *defects), slopes)

    def _of_layer(self, values: Values, grid: Grid, layer: Layer) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return what one layer contributes at the nodes that are calculated.

        Returns
        -------
        coherent : ndarray, shape (rows, k)
        jacobian : ndarray, shape (p + 1, rows, k)
            By the p parameters of the layer's slopes and by ln E of the substrate; of no size without slopes.
        diffuse : ndarray, shape (rows, 1 + p + q, j)
            At the nodes picked, with the derivatives by the p parameters and the q of the diffuse model; without slopes
            there are none, and without a diffuse model nothing.
        """
        model = self.model
        seen = Diffracting.of(model.conditions, layer)
        c = seen.coefficients(grid.beams, grid.substrate, math.exp(-model.substrate_exponent(values)))
        jacobian, diffuse = np.zeros(0), np.zeros(0)
        if seen.slopes is None:
            coherent = weighted_reflectivity(c, self._weights)
        else:
            coherent, by_row = weighted_reflectivity_and_jacobian(c, seen.slopes, self._weights, seen.media, grid.beams)
            jacobian = np.moveaxis(by_row, 1, 0)
        if model.overgrown is not None:
            names = None if layer.slopes is None else layer.slopes.names
            coherent, jacobian = model.overgrown.over(coherent, jacobian, grid.beams, values, self._weights, names)
        if model.diffuse is not None:
            # It is broad beside what the acceptances of the polarisations differ by: both see one mean of these.
            scatterers = seen.scatterers(*grid.picked, self._weights.sum(axis=0))
            value, by_each = model.diffuse.reflectivity(scatterers, values)
            diffuse = self._weights.sum(axis=1)[:, None, None] * np.concatenate([value[None], by_each])
            diffuse /= self._weights.sum()
            if model.analysed:
                own = diffuse[:, :1] if seen.slopes is not None else diffuse[:, :0]  # derivative by diffuse_passed
                diffuse = np.concatenate([values["diffuse_passed"] * diffuse, own], axis=1)
        return coherent, jacobian, diffuse

    def curve(self, values: Values, part: slice = slice(None)) -> FloatArray:
        """Return the expected intensity, shape (n,), or a part of it: what needs no other angles is left out."""
        return self._evaluate(values, (), part)[0]

    def coherent(self, values: Values) -> FloatArray:
        """Return the expected intensity without what is scattered diffusely, shape (n,)."""
        return self._evaluate(values, (), slice(None), diffuse=False)[0]

    def jacobian(self, values: Values, names: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Return the expected intensity (n,) and its derivatives (n, len(names)) with respect to named parameters."""
        return self._evaluate(values, tuple(names), slice(None))

    def _evaluate(
        self, values: Values, names: tuple[str, ...], part: slice, *, diffuse: bool = True
    ) -> tuple[FloatArray, FloatArray]:
        for spec in self.model.space:
            spec.check(values[spec.name])
        grid, model = self._part(values, part), self.model
        result = self._reflectivity(values, grid, [name for name in names if name in model.physics])
        return measure(
            np.concatenate([(result.coherent + diffuse * result.diffuse)[None], result.slopes]),
            result.names,
            values,
            names,
            convolution=grid.convolution,
            dtheta=self.dtheta[part],
            response=model.response,
            background=model.level,
            narrowest=self._narrowest,
        )
