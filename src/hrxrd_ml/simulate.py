"""The composition of all the physics: parameters in, expected counts out, with exact derivatives.

``RockingCurve`` says what is modelled; bound to the angles of a measurement it becomes a ``BoundCurve`` (`bound`),
which holds the grids and calculates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hrxrd_ml.arrays import Values
from hrxrd_ml.bound import BoundCurve
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.diffuse import CorrelationDiffuse, DiffuseModel, make_diffuse
from hrxrd_ml.diffraction.lamellae import Deviation, Media, Optics
from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.instrument.background import Background, make_background
from hrxrd_ml.instrument.counting import base_space, spread_space
from hrxrd_ml.instrument.resolution import Resolution, Response, make_resolution
from hrxrd_ml.parameters import ParameterSpace
from hrxrd_ml.specimen.damage import Damage, TiedDamage, make_damage
from hrxrd_ml.specimen.film import Film, Stack, film_space
from hrxrd_ml.specimen.layers import Layer, discretise, uniform_films
from hrxrd_ml.specimen.profile import make_profile
from hrxrd_ml.specimen.profile.base import Profile, end_of
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile


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
    resolution : {"gaussian", "pseudo_voigt", "split_pseudo_voigt", "double_crystal"} or Resolution
        Name of a resolution function, or one of your own: see ``resolution.Resolution``.
    background : {"constant", "linear", "exponential"} or Background
        Name of a background, or one of your own: see ``background.Background``.
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
    damage: Damage | None = field(default_factory=TiedDamage)
    diffuse: DiffuseModel | None = field(default_factory=CorrelationDiffuse)
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
        if isinstance(damage, str):
            damage = make_damage(damage, damage_knots)
        if diffuse == "auto":
            diffuse = "none" if damage is None else "correlation"
        if isinstance(diffuse, str):
            diffuse = make_diffuse(diffuse)
        return cls(reflection, profile, damage, diffuse, **options)

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        object.__setattr__(self, "films", tuple(self.films))
        if self.profile is None and self.damage is not None:
            raise ParameterError("damage needs a strain profile that ends somewhere; profile is none")
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
        space = self.sample
        if self.profile:
            space = space + spread_space()
        if self.diffuse:
            space = space + self.diffuse.space
        return space + base_space() + self.response.space + self.level.space

    @cached_property
    def sample(self) -> ParameterSpace:
        """The parameters of profile, damage and films."""
        space = self.profile.space if self.profile else ParameterSpace()
        if self.damage:
            space = space + self.damage.space
        return space + film_space(self.films, self.reflection)

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
    def optics(self) -> Optics:
        """How susceptibilities act."""
        return Optics.of(self.reflection)

    @cached_property
    def medium(self) -> Media:
        """What the substrate's crystal does to waves."""
        return Media.of(self.reflection, self.optics, np.array([Material.of(self.reflection).numbers]))

    def defect_length(self, values: Values) -> float:
        """Return the length of the defects that scatter diffusely [Å]; 0 where there are none."""
        return self.diffuse.length(values) if self.diffuse else 0.0

    @cached_property
    def defects(self) -> tuple[str, ...]:
        """Names of the parameters of the diffuse model."""
        return self.diffuse.space.names if self.diffuse else ()

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
        end = values["L1"] if isinstance(self.profile, ImplantedProfile) else end_of(self.profile, values)
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
        if self.profile is None and not self.films:
            return Layer.nothing(names)
        films = Stack.of(self.films, values, self.reflection) if self.films else None
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
        )

    @cached_property
    def _extinction_length(self) -> float:
        reflection = self.reflection
        strongest = max(abs(chi) for chi in (reflection.susceptibility.chih, reflection.susceptibility.pair(0)[1]))
        cosines = math.sqrt(reflection.gamma0 * abs(reflection.gammah))
        return reflection.wavelength * cosines / (math.pi * strongest)
