"""The Darwin-Prins curve of a perfect thick crystal: what a monochromator crystal reflects."""

from __future__ import annotations

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction import reference
from hrxrd_ml.diffraction.lamellae import Lamellae, coefficients


def darwin_curve(reflection: Reflection, dtheta: FloatArray) -> FloatArray:
    """Return the reflectivity of a perfect semi-infinite crystal for both polarisations, shape (2, m).

    Parameters
    ----------
    reflection : Reflection
    dtheta : ndarray, shape (m,)
        Offset from the kinematic Bragg angle [rad]; the curve is centred at ``reflection.refraction_shift()``.
    """
    nothing = np.zeros((0, 1))
    c = coefficients(reflection, Lamellae.of_one_crystal(reflection, np.zeros(0), nothing, nothing), dtheta)
    return np.abs(reference.amplitude(c)) ** 2
