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
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.chain import split, split_slopes
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.lamellae import Coefficients, Lamellae, Slopes, coefficients
from hrxrd_ml.diffraction.media import Media
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


def amplitude(c: Coefficients, backend: str = "numba", *, both: bool = True) -> ComplexArray:
    """Return the amplitude r at the surface.

    Parameters
    ----------
    c : Coefficients
        Of ascending angles where the lamellae are graded and the backend is numba.
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

        return _reference.amplitude(c)
    _check_angles(c)
    largest = float(_half_phases(c).max(initial=0.0))
    if largest > _X_MAX:
        raise ValueError(
            f"a graded lamella turns the phase by {2.0 * largest:.3g} rad, more than {2.0 * _X_MAX:g}: "
            f"use thinner lamellae (hrxrd_ml.diffraction.coherent.reflectivity cuts them by itself) or fewer angles"
        )
    return _amplitude(c, both)


def _amplitude(c: Coefficients, both: bool) -> ComplexArray:
    if c.graded:
        return _kernel("graded", "amplitude")(*_arguments(c), 2 if both else 1)
    return _kernel("uniform", "amplitude")(*_arguments(c), _runs(c))


def weighted_reflectivity(c: Coefficients, weights: FloatArray, backend: str = "numba") -> FloatArray:
    """Return the reflectivity for each weighting of the polarisations.

    Parameters
    ----------
    c, backend
        As in `amplitude`; the lamellae are thin enough for the kernel and the angles ascend, which is not checked.
    weights : ndarray, shape (rows, 2)
        Of sigma and pi.

    Returns
    -------
    ndarray, shape (rows, m)
    """
    both = bool(np.any(weights[:, 1] != 0.0))
    r = _amplitude(c, both) if backend == "numba" else amplitude(c, backend)
    return weights @ (r.real**2 + r.imag**2)


def weighted_reflectivity_and_jacobian(
    c: Coefficients, slopes: Slopes, weights: FloatArray, media: Media, beams: Beams
) -> tuple[FloatArray, FloatArray]:
    """Return the reflectivity for each weighting of the polarisations, and its exact derivatives (numba).

    Parameters
    ----------
    c, weights
        As in `weighted_reflectivity`.
    slopes : Slopes
        Derivatives of ``c`` by p parameters.
    media, beams
        Those of ``c``.

    Returns
    -------
    value : ndarray, shape (rows, m)
    jacobian : ndarray, shape (rows, p + 1, m)
        By each parameter and, last, by ln E of the substrate.
    """
    function = _kernel("graded_jacobian" if c.graded else "uniform_jacobian", "reflectivity_and_jacobian")
    arguments, optical = _arguments(c), slopes.media is not None
    if not c.graded:
        arguments = (*arguments, _runs(c))
    changes = [np.ascontiguousarray(a) for a in (slopes.u0, slopes.debye_waller, slopes.thickness)]
    values, jacobians, by_media = function(*arguments, np.ascontiguousarray(weights, dtype=float), *changes, optical)
    if slopes.media is not None:
        for jacobian, by in zip(jacobians, by_media, strict=True):
            jacobian[:-1] += media.by_parameters(beams, by, slopes.media)
    return values, jacobians


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
    _, c, _ = _cut(reflection, lamellae, dtheta, linear)
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    return weighted_reflectivity(c, _weights(reflection), backend)[0]


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
    lamellae, c, pieces = _cut(reflection, lamellae, dtheta, linear)
    changes = (
        split_slopes(strain, debye_waller, thickness, pieces)
        if np.any(pieces > 1)
        else (strain, debye_waller, thickness)
    )
    deviation = Deviation.of(reflection, linear)
    parallel = 0.0 if lamellae.strain_parallel is None else lamellae.strain_parallel[:, None]
    slopes = Slopes(deviation.u0_slope(lamellae.strain, parallel) * changes[0], changes[1], changes[2])
    nothing = Media(np.zeros(0), np.zeros((0, 10)))
    value, jacobian = weighted_reflectivity_and_jacobian(
        c, slopes, _weights(reflection), nothing, Beams(deviation, np.asarray(dtheta, dtype=float))
    )
    return value[0], jacobian[0]


def _weights(reflection: Reflection) -> FloatArray:
    return np.array([reflection.polarization_weights], dtype=float)


def _check_angles(c: Coefficients) -> None:
    u = c.waves[-1, 0]
    if len(u) == 0:
        raise CurveError("angles: expected at least one, got none")
    if c.graded and np.any(u[1:] < u[:-1]):
        raise CurveError("angles: expected ascending ones for graded lamellae; sort them first")


def _arguments(c: Coefficients) -> tuple[Any, ...]:
    """Return the leading arguments of a numba kernel, in the types and layouts for which it is compiled."""
    return (
        _real(c.waves), np.ascontiguousarray(c.couplings, dtype=complex),
        np.ascontiguousarray(c.medium, dtype=np.int64), _real(c.thickness), _real(c.u0),
        _real(c.debye_waller), float(c.substrate_debye_waller),
    )  # fmt: skip


def _runs(c: Coefficients) -> NDArray[np.int64]:
    """Return the runs of lamellae, all of them once where nothing is repeated."""
    runs = np.array([[0, len(c.thickness), 1]]) if c.runs is None else c.runs
    return np.ascontiguousarray(runs, dtype=np.int64)


def _real(array: FloatArray) -> FloatArray:
    return np.ascontiguousarray(array, dtype=float)


def _half_phases(c: Coefficients) -> FloatArray:
    """Return the largest abs(x) of ``reference.graded_lamella`` of each lamella, zero where uniform."""
    if not c.graded or c.waves.shape[2] == 0:
        return np.zeros(len(c.thickness))
    mean = (c.u0[:, 0] + 4.0 * c.u0[:, 1] + c.u0[:, 2]) / 6.0
    return 0.5 * c.thickness * np.maximum(*(np.abs(mean + c.waves[c.medium, 0, i]) for i in (0, -1)))


def _pieces(c: Coefficients) -> NDArray[np.int64]:
    """Return into how many pieces to cut each lamella, so that phase and phase curvature suit one step."""
    phases = _half_phases(c)
    if not c.graded:
        return np.ones(len(phases), dtype=np.int64)
    # A piece may have the deviation of any node of the whole, and of the parabola a little beyond.
    ends = [np.abs(c.u0 + c.waves[c.medium, 0, i][:, None]).max(axis=1) for i in (0, -1)]
    linear = np.where(phases > _X_MAX, 0.5 * c.thickness * np.maximum(*ends) / (0.9 * _X_MAX), 1.0)
    square = 0.25 * c.thickness * np.abs(c.u0[:, 2] - c.u0[:, 0]) / _BETA_MAX
    cubic = c.thickness / 6.0 * np.abs(0.5 * (c.u0[:, 2] + c.u0[:, 0]) - c.u0[:, 1]) / _GAMMA_MAX
    return np.ceil(np.maximum.reduce([linear, np.sqrt(square), np.cbrt(cubic), np.ones_like(linear)])).astype(np.int64)


def _cut(
    reflection: Reflection, lamellae: Lamellae, dtheta: FloatArray, linear: bool
) -> tuple[Lamellae, Coefficients, NDArray[np.int64]]:
    """Return lamellae thin enough for the kernels, their coefficients, and the number of pieces of each."""
    c = coefficients(reflection, lamellae, dtheta, linear)
    _check_angles(c)
    if np.all((pieces := _pieces(c)) == 1):
        return lamellae, c, np.ones(len(c.thickness), dtype=np.int64)
    lamellae = split(lamellae, pieces)
    return lamellae, coefficients(reflection, lamellae, dtheta, linear), pieces


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
