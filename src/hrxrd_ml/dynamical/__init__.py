"""Coherent amplitude of a pile of lamellae on a substrate (Takagi-Taupin), by interchangeable twins.

``numba`` is the fast one, with an exact Jacobian; ``reference`` is NumPy, written like the formulas.  Numba is not
imported before it is used.  For batches in torch see `ml.stream.physics`.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CurveError
from ..reflection import Reflection
from ..specimen import Chain
from ._chain import dense_chain, split, split_chain
from ._contract import Coefficients, ComplexArray, Deviation, FloatArray, Lamellae, Material, coefficients

__all__ = [
    "Chain",
    "Coefficients",
    "Deviation",
    "Lamellae",
    "Material",
    "amplitude",
    "coefficients",
    "dense_chain",
    "reflectivity",
    "reflectivity_and_jacobian",
]

BACKENDS = ("numba", "reference")
# Of a graded lamella, in the terms of ``_reference.graded_lamella``: the largest half phase for which the
# series of the numba kernels hold, and the largest curvature and skewness of the phase that one step takes.
_X_MAX = 8.0
_BETA_MAX = 2.0
_GAMMA_MAX = 0.3


def amplitude(coefficients: Coefficients, x: FloatArray, y: FloatArray, backend: str = "numba") -> ComplexArray:
    """Return the amplitude r at the surface.

    Parameters
    ----------
    coefficients : Coefficients
    x, y : ndarray, shape (m,)
        Angle coordinates from ``Deviation.axes``; ascending angles where the lamellae are graded and the
        backend is numba.
    backend : {"numba", "reference"}

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
        from . import _reference

        return _reference.amplitude(coefficients, x, y)
    _check_angles(coefficients, x)
    largest = float(_half_phases(coefficients, x, y).max(initial=0.0))
    if largest > _X_MAX:
        raise ValueError(
            f"a graded lamella turns the phase by {2.0 * largest:.3g} rad, more than {2.0 * _X_MAX:g}: "
            f"use thinner lamellae (hrxrd_ml.dynamical.reflectivity cuts them by itself) or fewer angles"
        )
    arguments = _arguments(coefficients, x, y)
    return kernel("_numba_graded" if _graded(coefficients) else "_numba_uniform", "amplitude")(*arguments)


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
    lamellae, c, _ = _cut(reflection, lamellae, x, y, linear)
    value = _weights(reflection) @ np.abs(amplitude(c, x, y, backend)) ** 2
    flux = deviation.flux(dtheta)
    return value * flux / (1.0 + value * (flux - 1.0))


def reflectivity_and_jacobian(
    reflection: Reflection, lamellae: Lamellae, dtheta: FloatArray, chain: Chain, *, linear: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Return the coherent reflectivity and its exact derivatives (numba).

    Parameters
    ----------
    reflection, lamellae, dtheta, linear
        As in ``reflectivity``.
    chain : Chain
        Derivatives of strain, E and thickness of the lamellae; ``value`` has rows of seven for graded
        lamellae and of three (strain, E, thickness) for uniform ones.

    Returns
    -------
    reflectivity : ndarray, shape (m,)
    jacobian : ndarray, shape (parameters + 1, m)
        Derivative with respect to each parameter of the chain and, last, to ln E of the substrate.

    Raises
    ------
    ValueError
        The chain is not that of these lamellae, or the angles are not ascending.
    """
    columns = 2 * lamellae.strain.shape[1] + 1
    if len(chain.pointer) != len(lamellae.thickness) + 1 or chain.value.shape[1] != columns:
        raise ValueError(
            f"chain: expected {len(lamellae.thickness)} lamellae with rows of {columns}, "
            f"got {len(chain.pointer) - 1} with rows of {chain.value.shape[1]}"
        )
    deviation = Deviation.of(reflection, linear)
    x, y = deviation.axes(dtheta)
    lamellae, c, pieces = _cut(reflection, lamellae, x, y, linear)
    if np.any(pieces > 1):
        chain = split_chain(chain, pieces)
    _check_angles(c, x)
    function = kernel("_numba_jacobian" if lamellae.graded else "_numba_uniform_jacobian", "reflectivity_and_jacobian")
    du0, dq1 = deviation.strain_derivatives(lamellae.strain)
    value, jacobian = function(
        *_arguments(c, x, y),
        np.ascontiguousarray(du0),
        np.ascontiguousarray(dq1),
        _weights(reflection),
        np.ascontiguousarray(chain.pointer, dtype=np.int64),
        np.ascontiguousarray(chain.parameter, dtype=np.int64),
        np.ascontiguousarray(chain.value, dtype=float),
        len(chain.names),
    )
    flux = deviation.flux(dtheta)
    share = 1.0 + value * (flux - 1.0)
    return value * flux / share, jacobian * flux / share**2


def _weights(reflection: Reflection) -> FloatArray:
    return np.array(reflection.polarization_weights, dtype=float)


def _graded(c: Coefficients) -> bool:
    return c.u0.shape[1] == 3


def _check_angles(c: Coefficients, x: FloatArray) -> None:
    if len(x) == 0:
        raise CurveError("angles: expected at least one, got none")
    if _graded(c) and np.any(np.diff(x) < 0.0):
        raise CurveError("angles: expected ascending ones for graded lamellae; sort them first")


def _arguments(c: Coefficients, x: FloatArray, y: FloatArray) -> tuple[Any, ...]:
    """Return the leading arguments of a numba kernel, in the types and layouts for which it is compiled."""
    real = [np.ascontiguousarray(v, dtype=float) for v in (x, y, c.thickness, c.u0, c.q1, c.q2, c.absorption)]
    rest = (
        np.ascontiguousarray(c.debye_waller, dtype=float),
        np.ascontiguousarray(c.sigma_h, dtype=complex),
        np.ascontiguousarray(c.sigma_hbar, dtype=complex),
        complex(c.substrate_u0),
        float(c.substrate_q1),
        float(c.substrate_q2),
        np.ascontiguousarray(c.substrate_sigma_h, dtype=complex),
        np.ascontiguousarray(c.substrate_sigma_hbar, dtype=complex),
    )
    return (*real, *rest, float(c.turn)) if _graded(c) else (*real, *rest)


def _half_phases(c: Coefficients, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the largest abs(x) of ``_reference.graded_lamella`` of each lamella, zero where uniform."""
    if not _graded(c) or len(x) == 0:
        return np.zeros(len(c.thickness))
    mean = [(u[:, 0] + 4.0 * u[:, 1] + u[:, 2]) / 6.0 for u in (c.u0, c.q1, c.q2)]
    return 0.5 * c.thickness * np.maximum(*(np.abs(mean[0] + mean[1] * x[i] + mean[2] * y[i]) for i in (0, -1)))


def _pieces(c: Coefficients, x: FloatArray, y: FloatArray) -> NDArray[np.int64]:
    """Return into how many pieces to cut each lamella, so that phase and phase curvature suit one step."""
    phases = _half_phases(c, x, y)
    if not _graded(c):
        return np.ones(len(phases), dtype=np.int64)
    # A piece may have the deviation of any node of the whole, and of the parabola a little beyond.
    ends = [np.abs(c.u0 + c.q1 * x[i] + c.q2 * y[i]).max(axis=1) for i in (0, -1)]
    linear = np.where(phases > _X_MAX, 0.5 * c.thickness * np.maximum(*ends) / (0.9 * _X_MAX), 1.0)
    square = 0.25 * c.thickness * np.abs(c.u0[:, 2] - c.u0[:, 0]) / _BETA_MAX
    cubic = c.thickness / 6.0 * np.abs(0.5 * (c.u0[:, 2] + c.u0[:, 0]) - c.u0[:, 1]) / _GAMMA_MAX
    return np.ceil(np.maximum.reduce([linear, np.sqrt(square), np.cbrt(cubic), np.ones_like(linear)])).astype(np.int64)


def _cut(
    reflection: Reflection, lamellae: Lamellae, x: FloatArray, y: FloatArray, linear: bool
) -> tuple[Lamellae, Coefficients, NDArray[np.int64]]:
    """Return lamellae thin enough for the kernels, their coefficients, and the number of pieces of each."""
    c = coefficients(reflection, lamellae, linear)
    if len(x) == 0 or np.all((pieces := _pieces(c, x, y)) == 1):
        return lamellae, c, np.ones(len(c.thickness), dtype=np.int64)
    lamellae = split(lamellae, pieces)
    return lamellae, coefficients(reflection, lamellae, linear), pieces


def kernel(module: str, name: str) -> Any:
    """Return a numba function; say so where the first call will compile it, which takes some seconds."""
    function = getattr(importlib.import_module(f".{module}", __name__), name)
    if not function.signatures and not _in_cache(function):
        _announce()
    return function


@cache
def _announce() -> None:
    print("hrxrd_ml: compiling kernels that were not needed before (some seconds; cached afterwards)", file=sys.stderr)


def _in_cache(function: Any) -> bool:
    """Return whether numba's cache on disk holds the function as the sources have it.

    Numba itself looks at the source of the function's own module, not at those of the functions that it
    calls; so what is older than any kernel source is removed here.
    """
    folder = function.stats.cache_path
    if folder is None:
        return True  # caching is switched off
    patterns = ("_numba_*", "_series*")
    newest = max(source.stat().st_mtime for p in patterns for source in Path(__file__).parent.glob(f"{p}.py"))
    for index in [index for p in patterns for index in Path(folder).glob(f"{p}.nbi")]:
        with suppress(OSError):
            if index.stat().st_mtime < newest:
                index.unlink()
    stem = Path(sys.modules[function.__module__].__file__ or "").stem
    return any(Path(folder).glob(f"{stem}.{function.__name__}-*.nbi"))
