"""A spread of the strain across the footprint of the beam: the average of curves.

Where the dose varies across the footprint, the detector adds intensities of layers whose strains are alike but for a
factor.  With a normal distribution of that factor, of relative width s, the curve is

    I = sum_i w_i I[(1 + s x_i) eps],

and damage and the lattices of films stay what they are.  As a function of the factor f, the amplitude of a layer is a
sum of waves exp(i f Phi), where Phi is at most the phase ``H ∫ eps dz`` of the whole layer, whatever the angle.  That
bounds the number of curves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec
from hrxrd_ml.specimen.layers import Layer

NAME = "strain_spread"

_SHARE, _BEYOND = 0.3, 0.03
"""Of the tolerance: what a single wave may be off, and what lies beyond the last node of even ones where a weak angle
gets its intensity from layers that are strained far more."""

_REPEATED = 1.5
"""Phase of waves that are scattered several times, over that of the layer; even nodes need to know of them."""


def spread_space() -> ParameterSpace:
    """Lateral inhomogeneity of the strain, for any profile."""
    text = "relative spread (1 sigma) of the strain across the footprint"
    return ParameterSpace((ParameterSpec(NAME, "", 0.0, 0.0, 0.1, False, text, even=True),))


def reach(spread: float, tolerance: float) -> float:
    """Return the largest factor on the strain that the average has."""
    return 1.0 + abs(spread) * _farthest(tolerance)


Nodes = tuple[FloatArray, FloatArray]
"""Places in standard deviations, and their weights, whose sum is 1."""


def nodes_of(layer: Layer, spread: float, diffraction_vector: float, tolerance: float) -> Nodes:
    """Return the nodes of the average; a single one if there is no spread.

    Parameters
    ----------
    layer : Layer
        Of the mean strain.
    spread : float
        Relative standard deviation of the strain.
    diffraction_vector : float
        H [1/Å].
    tolerance : float
        Aimed-at error of the average, relative to R + 1e-6.
    """
    if spread == 0.0:
        return np.zeros(1), np.ones(1)
    return normal_nodes(abs(spread) * phase(layer, diffraction_vector), tolerance)


def spread_out(layer: Layer, spread: float, nodes: Nodes) -> Iterator[tuple[float, Layer]]:
    """Yield the weights and layers whose curves make the average.

    Parameters
    ----------
    layer : Layer
        Of the mean strain, with lamellae thin enough for `reach`.  Where its slopes have a row for the spread, the
        average of derivatives by that row is the derivative of the average.
    spread : float
        Relative standard deviation of the strain; one layer if 0.
    nodes : tuple of ndarray
        See `nodes_of`.
    """
    if spread == 0.0:
        yield 1.0, layer
        return
    for x, weight in zip(*nodes, strict=True):
        yield float(weight), _scaled(layer, 1.0 + spread * float(x), float(x))


def mean(parts: Iterable[tuple[float, tuple[FloatArray, ...]]]) -> tuple[FloatArray, ...]:
    """Return the weighted sum of tuples of arrays, which may be used up."""
    total: tuple[FloatArray, ...] = ()
    for weight, arrays in parts:
        if weight == 1.0:
            return arrays
        for array in arrays:
            array *= weight
        if total:
            for all_before, array in zip(total, arrays, strict=True):
                all_before += array
        else:
            total = arrays
    return total


def phase(layer: Layer, diffraction_vector: float) -> float:
    """Return the largest difference of phases that the strain gives to waves from two depths [rad]."""
    own = layer.strain if layer.own_strain is None else layer.own_strain
    inside = layer.thickness * (own @ np.array([1.0, 4.0, 1.0])) / 6.0
    return diffraction_vector * float(np.ptp(np.append(0.0, np.cumsum(inside))))


def normal_nodes(phase: float, tolerance: float) -> Nodes:
    """Return nodes and weights of averages over the standard normal distribution, right for waves up to exp(i phase x).

    By Gauss and Hermite, whose error is ``phase**(2 n) n!/(2 n)!``, while few nodes are enough; they need as many as
    the square of the phase.  Beyond, evenly spaced ones, which have the error of the next wave that looks the same
    on them.
    """
    phase = max(phase, 1e-6)
    farthest = _farthest(tolerance)
    even = math.ceil(farthest * (_REPEATED * phase + farthest) / math.pi) + 1
    limit = math.log(_SHARE * tolerance)
    for count in range(3, even):
        if 2.0 * count * math.log(phase) + math.lgamma(count + 1.0) - math.lgamma(2.0 * count + 1.0) < limit:
            return _hermite(count)
    x = np.linspace(-farthest, farthest, even)
    density = np.exp(-0.5 * x**2)
    return x, density / density.sum()


def _farthest(tolerance: float) -> float:
    """Return how many standard deviations out the normal distribution is negligible."""
    return math.sqrt(-2.0 * math.log(_BEYOND * tolerance))


@lru_cache(maxsize=32)
def _hermite(count: int) -> tuple[FloatArray, FloatArray]:
    x, weights = np.polynomial.hermite_e.hermegauss(count)
    return x, weights / weights.sum()


def _scaled(layer: Layer, factor: float, by_spread: float) -> Layer:
    """Return the layer with ``factor`` times the strain that is not the films'; the factor's derivative is given."""
    film = None if layer.stack is None or layer.film is None else layer.stack.strain[layer.film][:, None]
    excess = layer.strain if film is None else layer.strain - film
    slopes = layer.slopes
    if slopes is not None:
        strain = factor * slopes.strain
        if slopes.film_strain is not None:
            strain += (1.0 - factor) * slopes.film_strain[:, layer.film, None]
        if NAME in slopes.names:
            strain[slopes.names.index(NAME)] = by_spread * excess
        slopes = replace(slopes, strain=strain)
    own = None if layer.own_strain is None else factor * layer.own_strain
    return replace(layer, strain=layer.strain + (factor - 1.0) * excess, slopes=slopes, own_strain=own)
