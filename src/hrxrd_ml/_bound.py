"""A rocking curve at the angles of one measurement: expected counts, and their exact derivatives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .dynamical import kernel
from .dynamical._contract import Coefficients
from .instrument.angles import AngleGrid
from .instrument.grid import Grid, Need
from .instrument.measure import measure
from .specimen import Layer
from .units import ARCSEC

FloatArray = NDArray[np.float64]
Values = Mapping[str, float]

if TYPE_CHECKING:
    from .simulate import RockingCurve

_OFFSET_STEP = 60.0  # arcsec; the grid follows the offset in steps of this
_STRETCH_STEP = 60.0  # arcsec; and the end of the scan, which the scale of the axis moves, in steps of this
_NODES_PER_WIDTH = 0.55  # coarsest step of the nodes over the FWHM of the resolution
_STEPS_PER_WIDTH = 0.28  # coarsest step of the uniform grid over that FWHM
_OCTAVES = 4.0  # how often, at most, the steps are halved for a narrow resolution
_LOOSE_OCTAVES = 2.0  # the same where the tolerance is loose, as in a search
_OPTICS_STEP = 1e-5
_kernel = cache(kernel)


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
            rung=self.model.depth_rung(values),
            reach=self.model.response.reach(values),
            diffuse=self.model.reflection if self.model.diffuse else None,
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
            from .instrument.spreading import refine  # loads numba

            stack = refine(grid.nodes[pick], np.array([part, *part_slopes.values()]), grid.angles.nodes)
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
        value, ends = values[name], [values[name] + side * _OPTICS_STEP for side in (-1.0, 1.0)]
        if name.endswith("_x") and 0.0 <= value <= 1.0:  # nothing is known beyond the pure crystals
            ends = [min(max(end, 0.0), 1.0) for end in ends]
        fixed = replace(layer, chain=None)
        low, high = (self._reflectivity({**values, name: end}, fixed, grid) for end in ends)
        return (high.coherent + high.diffuse - low.coherent - low.diffuse) / (ends[1] - ends[0])

    def curve(self, values: Values, part: slice = slice(None)) -> FloatArray:
        """Return the expected intensity, shape (n,), or a part of it: what needs no other angles is left out."""
        return self._evaluate(values, (), part)[0]

    def jacobian(self, values: Values, names: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Return the expected intensity (n,) and its derivatives (n, len(names)) with respect to named parameters."""
        return self._evaluate(values, tuple(names), slice(None))

    def _evaluate(self, values: Values, names: tuple[str, ...], part: slice) -> tuple[FloatArray, FloatArray]:
        grid = self._part(values, part)
        wanted = [name for name in names if name in self.model.physics]
        layer = self.model.layer(values, grid.strains, derivatives=bool(wanted))
        result = self._reflectivity(values, layer, grid)
        for name in self.model.optics.intersection(wanted):
            known = result.slopes.get(name, 0.0)
            result.slopes[name] = known + self._by_optics(values, layer, grid, name)
        return measure(
            np.array([result.coherent + result.diffuse, *(result.slopes[name] for name in wanted)]),
            wanted,
            values,
            names,
            convolution=grid.convolution,
            dtheta=self.dtheta[part],
            response=self.model.response,
            background=self.model.level,
            centre=self.model.reflection.refraction_shift(),
            narrowest=self._narrowest,
        )
