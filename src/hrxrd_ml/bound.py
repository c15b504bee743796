"""A rocking curve at the angles of one measurement: expected counts, and their exact derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from hrxrd_ml.arrays import FloatArray, IntArray, Values
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.diffraction.coherent import rates, rates_and_jacobian
from hrxrd_ml.diffraction.diffuse import Scatterers
from hrxrd_ml.diffraction.lamellae import Media, Slopes, assemble, strengths
from hrxrd_ml.instrument.angles import AngleGrid
from hrxrd_ml.instrument.grid import Grid, Need
from hrxrd_ml.instrument.measure import measure
from hrxrd_ml.specimen.layers import Layer
from hrxrd_ml.units import ARCSEC

if TYPE_CHECKING:
    from hrxrd_ml.simulate import RockingCurve

_OFFSET_STEP = 60.0  # arcsec; the grid follows the offset in steps of this
_STRETCH_STEP = 60.0  # arcsec; and the end of the scan, which the scale of the axis moves, in steps of this
_NODES_PER_WIDTH = 0.55  # coarsest step of the nodes over the FWHM of the resolution
_STEPS_PER_WIDTH = 0.28  # coarsest step of the uniform grid over that FWHM
_OCTAVES = 4.0  # how often, at most, the steps are halved for a narrow resolution
_LOOSE_OCTAVES = 2.0  # the same where the tolerance is loose, as in a search


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


@dataclass(frozen=True)
class Diffracting:
    """Lamellae as waves see them.

    Attributes
    ----------
    u0 : ndarray, shape (n, nodes)
        Deviation at the nodes, without refraction [1/Å].
    q2 : ndarray, shape (n,)
        Its derivative with Y.
    media : Media
    which : ndarray of int, shape (n,)
        Which of the materials each lamella is made of.
    slopes : Slopes or None
        Derivatives by the p parameters of the sample, refraction included.
    bare : Slopes or None
        Without refraction; ``optics`` holds those of q2 and of `Material.numbers`, shape (p, n, 11) or (p, 0, 11).
    """

    u0: FloatArray
    q2: FloatArray
    media: Media
    which: IntArray
    slopes: Slopes | None = None
    bare: Slopes | None = None

    def scatterers(self, model: RockingCurve, layer: Layer, grid: Grid, weights: FloatArray) -> Scatterers:
        """Return the same as diffuse scattering sees it."""
        media, slopes, which = self.media, self.bare, np.append(self.which, len(self.media.numbers) - 1)
        if slopes is not None and slopes.optics.shape[1]:
            steps = media.numbers[self.which] + 1j * STEP * slopes.optics[..., 1:]
            by_strength, by_mu0 = (derivative(part) for part in strengths(model.reflection, steps))
            optics = np.concatenate([slopes.optics[..., :1], by_strength, by_mu0[..., None]], axis=-1)
            slopes = replace(slopes, optics=optics)
        pick = grid.pick
        return Scatterers(
            model.reflection, grid.x[pick], grid.y[pick], grid.extinction[:, pick], weights, layer.thickness, self.u0,
            model.deviation.q1, self.q2, layer.debye_waller, media.strength[which], media.mu0[which], slopes,
        )  # fmt: skip


def diffracting(model: RockingCurve, layer: Layer) -> Diffracting:
    """Return what strains and materials of a layer mean to waves."""
    deviation, optics, count = model.deviation, model.optics, len(layer.thickness)
    changes, stack, film = layer.slopes, layer.stack, layer.film
    if stack is None or film is None:
        seen = Diffracting(deviation.u0(layer.strain), np.zeros(count), model.medium, np.zeros(count, np.int64))
        if changes is None:
            return seen
        by_u0 = deviation.u0_slope(layer.strain) * changes.strain
        slopes = Slopes(by_u0, -layer.debye_waller * changes.damage, changes.thickness, np.zeros((len(by_u0), 0, 11)))
        return replace(seen, slopes=slopes, bare=slopes)
    parallel = stack.parallel[film]
    u0, q2 = deviation.u0(layer.strain, parallel[:, None]), deviation.q2(parallel)
    seen = Diffracting(u0, q2, Media.of(model.reflection, optics, stack.susceptibility), film)
    if changes is None or changes.parallel is None or changes.susceptibility is None:
        return seen
    by_parallel, by_numbers = changes.parallel[:, film], changes.susceptibility[:, film]
    by_u0 = deviation.u0_slope(layer.strain, parallel[:, None]) * changes.strain
    by_u0 += deviation.u0_slope_in_plane(layer.strain, parallel[:, None]) * by_parallel[..., None]
    by_q2 = derivative(deviation.q2(parallel + 1j * STEP)) * by_parallel
    by_e = -layer.debye_waller * changes.damage
    bare = Slopes(by_u0, by_e, changes.thickness, np.concatenate([by_q2[..., None], by_numbers], axis=-1))
    by_all = by_u0 + optics.refraction * by_numbers[..., :1]
    return replace(seen, slopes=Slopes(by_all, by_e, changes.thickness, optics.changes(by_numbers, by_q2)), bare=bare)


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
        self._grids: dict[tuple[int, int, float, int, Need], Grid] = {}
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
        fringe, width = self.model.fringe(need.depth), max(values["fwhm"], self._narrowest) * ARCSEC
        needed = AngleGrid.coarse_step(self._step, fringe) / (_NODES_PER_WIDTH * width)
        rung = 0.5 if self._loose else 1.0
        octave = min(rung * math.ceil(math.log2(max(needed, 1.0)) / rung), self._octaves)
        # A broad plateau is no reason for a grid that a narrow resolution cannot be followed on.
        even = AngleGrid.even_step(self._step, fringe, self.model.reflection.darwin_width())
        finer = math.ceil(math.log2(max(even / (_STEPS_PER_WIDTH * width * 2.0**octave), 1.0)))
        key = number, stretch, octave, finer, need
        if key not in self._grids:
            if len(self._grids) > 8:
                self._grids.clear()
            shifted = self.dtheta * (1.0 + stretch * _STRETCH_STEP / self._farthest) - number * _OFFSET_STEP * ARCSEC
            self._grids[key] = Grid.around(
                shifted,
                self.model.reflection,
                self.model.deviation,
                fringe=fringe,
                octave=octave,
                need=need,
                finer=2**finer,
            )
        return self._grids[key]

    def _need(self, values: Values) -> Need:
        return Need.of(
            values,
            self._farthest,
            self.model.reflection,
            rung=self.model.depth_rung(values),
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
        return grid.between(self.model.reflection, self.model.deviation, low, high)

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
        model, x, y = self.model, grid.x, grid.y
        own = [name for name in names if name in model.sample.names]
        defects = [name for name in model.defects if name in names]
        layer = model.layer(values, grid.strains, names=own if names else None)
        scene = diffracting(model, layer)
        below = math.exp(-values.get("substrate_damage", 0.0))
        c = assemble(
            model.deviation, model.optics, layer.thickness, scene.u0, scene.q2, layer.debye_waller, scene.media,
            scene.which, below,
        )  # fmt: skip
        angles, polarisations = grid.angles, len(self._weights)
        slopes = np.zeros((len(own) + len(defects), polarisations, len(angles.nodes)))
        if names:
            assert scene.slopes is not None
            coherent, jacobian = rates_and_jacobian(c, scene.slopes, x, y, self._weights, grid.flux)
            jacobian = np.moveaxis(jacobian, 1, 0)
            if angles.every > 1:
                shape = (*jacobian.shape[:2], -1)
                jacobian = angles.fill(jacobian.reshape(-1, jacobian.shape[-1])).reshape(shape)
            slopes[: len(own)] = jacobian[:-1]
            if "substrate_damage" in defects:
                slopes[len(own) + defects.index("substrate_damage")] = -jacobian[-1]
        else:
            coherent = rates(c, x, y, self._weights, grid.flux)
        if angles.every > 1:  # between fringes that the nodes hardly resolve, interpolation may undershoot
            coherent = angles.fill(coherent)
            positive = coherent > 0.0
            coherent *= positive
            slopes *= positive
        diffuse = np.zeros_like(coherent)
        if model.diffuse is None:
            return Reflectivity(coherent, diffuse, (*own, *defects), slopes)

        from hrxrd_ml.instrument.spreading import refine  # loads numba

        rows = [0, *range(1, 1 + len(own)), *(1 + len(own) + model.defects.index(name) for name in defects)]
        for k, row in enumerate(self._weights):
            value, by_each = model.diffuse.reflectivity(scene.scatterers(model, layer, grid, row), values)
            coarse = np.concatenate([value[None], by_each])[rows] if names else value[None]
            fine = refine(grid.nodes[grid.pick], coarse, angles.nodes)
            # Interpolation between coarse angles may undershoot beside a line that is narrower than they are apart.
            fine *= fine[0] > 0.0
            diffuse[k] = fine[0]
            slopes[:, k] += fine[1:]
        return Reflectivity(coherent, diffuse, (*own, *defects), slopes)

    def curve(self, values: Values, part: slice = slice(None)) -> FloatArray:
        """Return the expected intensity, shape (n,), or a part of it: what needs no other angles is left out."""
        return self._evaluate(values, (), part)[0]

    def jacobian(self, values: Values, names: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Return the expected intensity (n,) and its derivatives (n, len(names)) with respect to named parameters."""
        return self._evaluate(values, tuple(names), slice(None))

    def _evaluate(self, values: Values, names: tuple[str, ...], part: slice) -> tuple[FloatArray, FloatArray]:
        grid, model = self._part(values, part), self.model
        result = self._reflectivity(values, grid, [name for name in names if name in model.physics])
        return measure(
            np.concatenate([(result.coherent + result.diffuse)[None], result.slopes]),
            result.names,
            values,
            names,
            convolution=grid.convolution,
            dtheta=self.dtheta[part],
            response=model.response,
            background=model.level,
            centre=model.reflection.refraction_shift(),
            narrowest=self._narrowest,
        )
