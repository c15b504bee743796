"""The composition of all the physics: parameters in, expected counts out, with exact derivatives.

``RockingCurve`` says what is modelled; bound to the angles of a measurement it becomes a ``BoundCurve`` (`_bound`),
which holds the grids and calculates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._bound import BoundCurve
from .diffuse import CorrelationDiffuse, make_diffuse
from .dynamical._contract import Coefficients, Deviation, Lamellae, Material, coefficients
from .errors import CurveError, ParameterError
from .film import Film, film_space, materials, pile
from .instrument.background import Background, make_background
from .instrument.counting import base_space, spread_space
from .instrument.resolution import Resolution, Response, make_resolution
from .parameters import ParameterSpace
from .profile import ImplantedProfile, Profile, make_profile
from .reflection import Reflection
from .specimen import Chain, Damage, Layer, discretise, uniform_films

FloatArray = NDArray[np.float64]
Values = Mapping[str, float]


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
    resolution : {"gaussian", "pseudo_voigt", "split_pseudo_voigt", "double_crystal"} or Resolution
        Name of a resolution function, or one of your own: see ``instrument.resolution.Resolution``.
    background : {"constant", "linear", "exponential"} or Background
        Name of a background, or one of your own: see ``instrument.background.Background``.
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
    resolution: str | Resolution = "gaussian"
    background: str | Background = "constant"
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
        self.response, self.level  # noqa: B018 (raise if resolution or background does not fit)

    @cached_property
    def response(self) -> Response:
        """What broadens the curve: the resolution function, and the bent crystal."""
        return Response(make_resolution(self.resolution, self.reflection))

    @cached_property
    def level(self) -> Background:
        """The background."""
        return make_background(self.background)

    @cached_property
    def space(self) -> ParameterSpace:
        """All parameters with units, bounds and nested constraints."""
        space = self.profile.space if self.profile else ParameterSpace()
        space = space + self.damage.space + film_space(self.films, self.reflection)
        if self.profile:
            space = space + spread_space()
        if self.diffuse:
            space = space + self.diffuse.space
        return space + base_space() + self.response.space + self.level.space

    @cached_property
    def deviation(self) -> Deviation:
        """Deviation from the Bragg condition as a function of strain."""
        return Deviation.of(self.reflection)

    @cached_property
    def physics(self) -> frozenset[str]:
        """Names of the parameters that the reflectivity depends on; all others act after it."""
        instrument = base_space() + self.response.space + self.level.space
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

    def fringe(self, rung: int = 0) -> float:
        """Shortest period that the deepest layer gives the curve [rad], λ γ_h/(t sin 2θ_B).

        Every rung stands for half an octave of depth more; see `depth_rung`.
        """
        reflection, depth = self.reflection, self._usual_depth * 2.0 ** (0.5 * rung)
        return reflection.wavelength * reflection.gammah / (depth * math.sin(2.0 * reflection.bragg_angle))

    @cached_property
    def _usual_depth(self) -> float:
        return max(self.max_depth, 1.25 * sum(film.thickness for film in self.films))

    def depth_rung(self, values: Values) -> int:
        """Return by how many half octaves the layer is deeper than what was expected; 0 if it is not."""
        end = 0.0
        if isinstance(self.profile, ImplantedProfile):
            end = values["L1"]
        elif self.profile is not None:
            end = float(self.profile.segments(values).edges[-1])
        depth = max(end, sum(values[f"{film.name}_thickness"] for film in self.films))
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
            extinction_length=self._extinction_length,
        )

    @cached_property
    def _extinction_length(self) -> float:
        reflection = self.reflection
        strongest = max(abs(chi) for chi in (reflection.susceptibility.chih, reflection.susceptibility.pair(0)[1]))
        cosines = math.sqrt(reflection.gamma0 * abs(reflection.gammah))
        return reflection.wavelength * cosines / (math.pi * strongest)

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
