"""Coherent amplitude of a stack of lamellae on a substrate (Takagi-Taupin): the one face of the kernels.

``numba`` is the fast backend, with an exact Jacobian; ``reference`` is NumPy, written like the formulas.  What users
run and what the tests compare go through the same functions.  Numba is not imported before it is used.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.arrays import ComplexArray, FloatArray
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.chain import split, split_slopes
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.lamellae import Coefficients, Lamellae, Slopes, coefficients
from hrxrd_ml.errors import CurveError

__all__ = [
    "amplitude",
    "reflectivity",
    "reflectivity_and_jacobian",
    "weighted_reflectivity",
    "weighted_reflectivity_and_jacobian",
]

BACKENDS = ("numba", "reference")
# Of a graded lamella, in the terms of ``reference.graded_lamella``: the largest half phase for which the
# series of the numba kernels hold, and the largest curvature and skewness of the phase that one step takes.
_X_MAX = 8.0
_BETA_MAX = 2.0
_GAMMA_MAX = 0.3


def amplitude(
    c: Coefficients, x: FloatArray, y: FloatArray, backend: str = "numba", *, both: bool = True
) -> ComplexArray:
    """Return the amplitude r at the surface.

    Parameters
    ----------
    c : Coefficients
    x, y : ndarray, shape (m,)
        Angle coordinates from ``Deviation.axes``; ascending angles where the lamellae are graded and the
        backend is numba.
    backend : {"numba", "reference"}
    both : bool
        Whether polarisation pi is wanted; graded lamellae leave it at zero if not.

    Returns
    -------
    ndarray of complex, shape (2, m)
        Polarisation sigma, then pi.

    Raises
    ------
    ValueError
        Unknown backend, descending angles, or a graded lamella too thick for one step of the numba kernel.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "reference":
        from hrxrd_ml.diffraction import reference as _reference

        return _reference.amplitude(c, x, y)
    _check_angles(c, x)
    largest = float(_half_phases(c, x, y).max(initial=0.0))
    if largest > _X_MAX:
        raise ValueError(
            f"a graded lamella turns the phase by {2.0 * largest:.3g} rad, more than {2.0 * _X_MAX:g}: "
            f"use thinner lamellae (hrxrd_ml.diffraction.coherent.reflectivity cuts them by itself) or fewer angles"
        )
    return _amplitude(c, x, y, both)


def _amplitude(c: Coefficients, x: FloatArray, y: FloatArray, both: bool) -> ComplexArray:
    if c.graded:
        return _kernel("graded", "amplitude")(*_arguments(c, x, y), 2 if both else 1)
    return _kernel("uniform", "amplitude")(*_arguments(c, x, y))


def weighted_reflectivity(
    c: Coefficients, x: FloatArray, y: FloatArray, weights: FloatArray, flux: FloatArray, backend: str = "numba"
) -> FloatArray:
    """Return the reflectivity for each weighting of the polarisations.

    Parameters
    ----------
    c, x, y, backend
        As in `amplitude`; the lamellae are thin enough for the kernel and the angles ascend, which is not checked.
    weights : ndarray, shape (rows, 2)
        Of sigma and pi.
    flux : ndarray, shape (m,)
        ``Deviation.flux``.

    Returns
    -------
    ndarray, shape (rows, m)
    """
    both = bool(np.any(weights[:, 1] != 0.0))
    r = _amplitude(c, x, y, both) if backend == "numba" else amplitude(c, x, y, backend)
    value, _ = _with_flux(weights @ (r.real**2 + r.imag**2), weights, flux)
    return value


def weighted_reflectivity_and_jacobian(
    c: Coefficients, slopes: Slopes, x: FloatArray, y: FloatArray, weights: FloatArray, flux: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the reflectivity for each weighting of the polarisations, and its exact derivatives (numba).

    Parameters
    ----------
    c, x, y, weights, flux
        As in `weighted_reflectivity`.
    slopes : Slopes
        Derivatives of ``c`` by p parameters.

    Returns
    -------
    value : ndarray, shape (rows, m)
    jacobian : ndarray, shape (rows, p + 1, m)
        By each parameter and, last, by ln E of the substrate.
    """
    function = _kernel("graded_jacobian" if c.graded else "uniform_jacobian", "reflectivity_and_jacobian")
    arguments = _arguments(c, x, y)
    changes = [np.ascontiguousarray(a) for a in (slopes.u0, slopes.debye_waller, slopes.thickness)]
    optics = np.ascontiguousarray(slopes.optics) if slopes.optics.shape[1] else None
    parts = [function(*arguments, np.ascontiguousarray(row), *changes, optics) for row in weights]
    value, factor = _with_flux(np.array([part[0] for part in parts]), weights, flux)
    jacobian = parts[0][1][None] if len(parts) == 1 else np.array([part[1] for part in parts])
    jacobian *= factor[:, None]
    return value, jacobian


def _with_flux(value: FloatArray, weights: FloatArray, flux: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the reflectivity with the couplings of each angle, and its derivative by that without.

    The kernels take the couplings at the Bragg angle; see `Deviation.flux`.
    """
    share = 1.0 + value / (weights.sum(axis=1, keepdims=True) + 1e-300) * (flux - 1.0)
    return value * flux / share, flux / share**2


def reflectivity(
    reflection: Reflection,
    lamellae: Lamellae,
    dtheta: FloatArray,
    *,
    linear: bool = False,
    backend: str = "numba",
) -> FloatArray:
    """Return the coherent reflectivity, sigma and pi weighted by the polarisation of the incident beam.

    Parameters
    ----------
    reflection : Reflection
        Of the substrate.
    lamellae : Lamellae
    dtheta : ndarray, shape (m,)
        Offset of the incidence angle from the kinematic Bragg angle of the substrate, ascending [rad].
    linear : bool
        Use the linear form of the deviation from the Bragg condition instead of the exact one.
    backend : {"numba", "reference"}

    Returns
    -------
    ndarray, shape (m,)
    """
    deviation = Deviation.of(reflection, linear)
    x, y = deviation.axes(dtheta)
    _, c, _ = _cut(reflection, lamellae, x, y, linear)
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    return weighted_reflectivity(c, x, y, _weights(reflection), deviation.flux(dtheta), backend)[0]


def reflectivity_and_jacobian(
    reflection: Reflection,
    lamellae: Lamellae,
    dtheta: FloatArray,
    strain: FloatArray,
    debye_waller: FloatArray,
    thickness: FloatArray,
    *,
    linear: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Return the coherent reflectivity and its exact derivatives by p parameters (numba).

    Parameters
    ----------
    reflection, lamellae, dtheta, linear
        As in ``reflectivity``.
    strain, debye_waller : ndarray, shape (p, n, nodes)
        Derivatives of strain out of the plane and of E at the nodes of the lamellae.
    thickness : ndarray, shape (p, n)
        Derivatives of their thickness.

    Returns
    -------
    reflectivity : ndarray, shape (m,)
    jacobian : ndarray, shape (p + 1, m)
        By each parameter and, last, by ln E of the substrate.

    Raises
    ------
    ValueError
        The derivatives are not those of these lamellae, or the angles are not ascending.
    """
    shape, count = lamellae.strain.shape, len(thickness)
    wanted = ((count, *shape), (count, *shape), (count, shape[0]))
    came = (np.shape(strain), np.shape(debye_waller), np.shape(thickness))
    if came != wanted:
        raise ValueError(f"derivatives of strain, E and thickness: expected shapes {wanted}, got {came}")
    deviation = Deviation.of(reflection, linear)
    x, y = deviation.axes(dtheta)
    lamellae, c, pieces = _cut(reflection, lamellae, x, y, linear)
    changes = (
        split_slopes(strain, debye_waller, thickness, pieces)
        if np.any(pieces > 1)
        else (strain, debye_waller, thickness)
    )
    parallel = 0.0 if lamellae.strain_parallel is None else lamellae.strain_parallel[:, None]
    slopes = Slopes(
        deviation.u0_slope(lamellae.strain, parallel) * changes[0], changes[1], changes[2], np.zeros((count, 0, 10))
    )
    value, jacobian = weighted_reflectivity_and_jacobian(c, slopes, x, y, _weights(reflection), deviation.flux(dtheta))
    return value[0], jacobian[0]


def _weights(reflection: Reflection) -> FloatArray:
    return np.array([reflection.polarization_weights], dtype=float)


def _check_angles(c: Coefficients, x: FloatArray) -> None:
    if len(x) == 0:
        raise CurveError("angles: expected at least one, got none")
    if c.graded and np.any(x[1:] < x[:-1]):
        raise CurveError("angles: expected ascending ones for graded lamellae; sort them first")


def _arguments(c: Coefficients, x: FloatArray, y: FloatArray) -> tuple[Any, ...]:
    """Return the leading arguments of a numba kernel, in the types and layouts for which it is compiled."""
    real, compound = _real, _compound
    return (
        real(x), real(y), real(c.thickness), real(c.u0), float(c.q1), real(c.q2), real(c.absorption),
        real(c.debye_waller), compound(c.sigma_h), compound(c.sigma_hbar), complex(c.substrate_u0),
        float(c.substrate_q2), compound(c.substrate_sigma_h), compound(c.substrate_sigma_hbar),
    )  # fmt: skip


def _real(array: FloatArray) -> FloatArray:
    return np.ascontiguousarray(array, dtype=float)


def _compound(array: ComplexArray) -> ComplexArray:
    return np.ascontiguousarray(array, dtype=complex)


def _half_phases(c: Coefficients, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the largest abs(x) of ``reference.graded_lamella`` of each lamella, zero where uniform."""
    if not c.graded or len(x) == 0:
        return np.zeros(len(c.thickness))
    mean = (c.u0[:, 0] + 4.0 * c.u0[:, 1] + c.u0[:, 2]) / 6.0
    return 0.5 * c.thickness * np.maximum(*(np.abs(mean + c.q1 * x[i] + c.q2 * y[i]) for i in (0, -1)))


def _pieces(c: Coefficients, x: FloatArray, y: FloatArray) -> NDArray[np.int64]:
    """Return into how many pieces to cut each lamella, so that phase and phase curvature suit one step."""
    phases = _half_phases(c, x, y)
    if not c.graded:
        return np.ones(len(phases), dtype=np.int64)
    # A piece may have the deviation of any node of the whole, and of the parabola a little beyond.
    ends = [np.abs(c.u0 + c.q1 * x[i] + c.q2[:, None] * y[i]).max(axis=1) for i in (0, -1)]
    linear = np.where(phases > _X_MAX, 0.5 * c.thickness * np.maximum(*ends) / (0.9 * _X_MAX), 1.0)
    square = 0.25 * c.thickness * np.abs(c.u0[:, 2] - c.u0[:, 0]) / _BETA_MAX
    cubic = c.thickness / 6.0 * np.abs(0.5 * (c.u0[:, 2] + c.u0[:, 0]) - c.u0[:, 1]) / _GAMMA_MAX
    return np.ceil(np.maximum.reduce([linear, np.sqrt(square), np.cbrt(cubic), np.ones_like(linear)])).astype(np.int64)


def _cut(
    reflection: Reflection, lamellae: Lamellae, x: FloatArray, y: FloatArray, linear: bool
) -> tuple[Lamellae, Coefficients, NDArray[np.int64]]:
    """Return lamellae thin enough for the kernels, their coefficients, and the number of pieces of each."""
    c = coefficients(reflection, lamellae, linear)
    _check_angles(c, x)
    if np.all((pieces := _pieces(c, x, y)) == 1):
        return lamellae, c, np.ones(len(c.thickness), dtype=np.int64)
    lamellae = split(lamellae, pieces)
    return lamellae, coefficients(reflection, lamellae, linear), pieces


@cache
def _kernel(module: str, name: str) -> Any:
    """Return a numba function; say so where the first call will compile it, which takes some seconds."""
    function = getattr(importlib.import_module(f"hrxrd_ml.diffraction.kernels.{module}"), name)
    from hrxrd_ml.diffraction.kernels.compiling import in_cache  # loads numba, as the module itself does

    if not function.signatures and not in_cache(function):
        _announce()
    return function


@cache
def _announce() -> None:
    print("hrxrd_ml: compiling kernels that were not needed before (some seconds; cached afterwards)", file=sys.stderr)
