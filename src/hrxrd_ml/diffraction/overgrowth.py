"""Films with a lattice of their own, on a crystal that diffracts too: GaN on sapphire.

Waves that two lattices diffract leave in directions that differ by more than a detector's slit takes for one, or pass a
network of misfit dislocations: their intensities add up.  The films are a stack on a substrate that diffracts nothing,
and weaken what is below by exp[-mu t (1/sin(incidence) + 1/sin(exit))].
"""

from __future__ import annotations

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.coherent import weighted_reflectivity, weighted_reflectivity_and_jacobian
from hrxrd_ml.diffraction.media import Media
from hrxrd_ml.diffraction.reflectivity import Conditions, Diffracting
from hrxrd_ml.specimen.layers import Layer


def own_beams(conditions: Conditions, beams: Beams) -> Beams:
    """Return beams of the same angles of incidence, as the lattice of another reflection sees them."""
    below, own = beams.deviation, conditions.deviation
    shift = below.bragg_angle + below.inclination - own.bragg_angle - own.inclination
    return Beams(own, beams.dtheta + shift)


def covered(
    coherent: FloatArray, jacobian: FloatArray, beams: Beams, conditions: Conditions, layer: Layer, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the reflectivity of a crystal below films of another lattice, with theirs.

    Parameters
    ----------
    coherent : ndarray, shape (rows, m)
        Reflectivity of what is below.
    jacobian : ndarray, shape (p + 1, rows, m)
        Its derivatives, with those of `layer`; of no size without.
    beams : Beams
        As the crystal below sees them.
    conditions : Conditions
        Of the lattice of the films.
    layer : Layer
        The films, uniform lamellae.
    weights : ndarray, shape (rows, 2)
        Of the polarisations.

    Returns
    -------
    coherent, jacobian : ndarray
    """
    stack = layer.stack
    assert stack is not None
    seen, own = Diffracting.of(conditions, layer), own_beams(conditions, beams)
    numbers = np.where(np.arange(10) < 2, conditions.substrate.numbers, 0.0)
    c = seen.coefficients(own, Media(conditions.substrate.along, numbers).waves(own), 1.0)
    below = beams.deviation
    path = beams.diffuse(np.array([below.in_plane()]))[0, 2]
    times = below.wavenumber * np.repeat(stack.runs[:, 2], stack.runs[:, 1] - stack.runs[:, 0])
    thickness, absorbing = layer.thickness, stack.susceptibility[:-1, 1]
    passed = np.exp(-np.sum(times * thickness * absorbing) * path)
    if seen.slopes is None or layer.slopes is None or layer.slopes.susceptibility is None:
        return passed * coherent + weighted_reflectivity(c, weights), jacobian
    found, by_row = weighted_reflectivity_and_jacobian(c, seen.slopes, weights, seen.media, own)
    thicker = thickness + 1j * STEP * layer.slopes.thickness
    denser = absorbing + 1j * STEP * layer.slopes.susceptibility[:, :-1, 1]
    by_depth = derivative(np.sum(times * thicker * denser, axis=-1))
    total = passed * jacobian
    total[:-1] += np.moveaxis(by_row, 1, 0)[:-1] - by_depth[:, None, None] * path * passed * coherent
    return passed * coherent + found, total
