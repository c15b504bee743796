"""Coherent amplitude of a pile of lamellae on a substrate (Takagi-Taupin), by interchangeable twins.

``numba`` is the fast one, with an exact Jacobian; ``reference`` is NumPy, written like the formulas; ``torch`` takes batches,
GPUs and automatic differentiation (``hrxrd_ml.dynamical._torch``).  Neither numba nor torch is imported before it is used.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CurveError
from ..reflection import Reflection
from ._chain import Chain, split
from ._contract import Coefficients, ComplexArray, Deviation, FloatArray, Lamellae, Material, coefficients

__all__ = [
    "Chain",
    "Coefficients",
    "Deviation",
    "Lamellae",
    "Material",
    "amplitude",
    "coefficients",
    "reflectivity",
    "reflectivity_and_jacobian",
]

BACKENDS = ("numba", "reference", "torch")
_X_MAX = 8.0  # largest half phase of a graded lamella for which the numba kernels' series hold


def amplitude(coefficients: Coefficients, x: FloatArray, y: FloatArray, backend: str = "numba") -> ComplexArray:
    """Return the amplitude r at the surface.

    Parameters
    ----------
    coefficients : Coefficients
    x, y : ndarray, shape (m,)
        Angle coordinates from ``Deviation.axes``; ascending angles where the lamellae are graded and the backend is
        numba.
    backend : {"numba", "reference", "torch"}

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
    if backend == "torch":
        return _torch_amplitude(coefficients, x, y)
    _check_angles(coefficients, x)
    largest = float(_half_phases(coefficients, x, y).max(initial=0.0))
    if largest > _X_MAX:
        raise ValueError(
            f"a graded lamella turns the phase by {2.0 * largest:.3g} rad, expected at most {2.0 * _X_MAX:g}: use thinner "
            f"lamellae (hrxrd_ml.dynamical.reflectivity cuts them by itself) or a narrower range of angles"
        )
    arguments = _arguments(coefficients, x, y)
    return _kernel("_numba_graded" if _graded(coefficients) else "_numba_uniform", "amplitude")(*arguments)


def reflectivity(
    reflection: Reflection, lamellae: Lamellae, dtheta: FloatArray, *, linear: bool = False, backend: str = "numba"
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
    backend : {"numba", "reference", "torch"}

    Returns
    -------
    ndarray, shape (m,)
    """
    x, y = Deviation.of(reflection, linear).axes(dtheta)
    lamellae, c, _ = _cut(reflection, lamellae, x, y, linear)
    return _weights(reflection) @ np.abs(amplitude(c, x, y, backend)) ** 2


def reflectivity_and_jacobian(
    reflection: Reflection, lamellae: Lamellae, dtheta: FloatArray, chain: Chain, *, linear: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Return the coherent reflectivity and its exact derivatives (numba).

    Parameters
    ----------
    reflection, lamellae, dtheta, linear
        As in ``reflectivity``.
    chain : Chain
        How strain, E and thickness of the lamellae depend on the parameters.

    Returns
    -------
    reflectivity : ndarray, shape (m,)
    jacobian : ndarray, shape (parameters + 1, m)
        Derivative with respect to each parameter and, last, to ln E of the substrate.

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
    chain = chain.split(pieces)
    _check_angles(c, x)
    kernel = _kernel(
        "_numba_jacobian" if lamellae.graded else "_numba_uniform_jacobian", "reflectivity_and_jacobian"
    )
    du0, dq1 = deviation.strain_derivatives(lamellae.strain)
    value, jacobian = kernel(
        *_arguments(c, x, y),
        np.ascontiguousarray(du0),
        np.ascontiguousarray(dq1),
        _weights(reflection),
        np.ascontiguousarray(chain.pointer, dtype=np.int64),
        np.ascontiguousarray(chain.parameter, dtype=np.int64),
        np.ascontiguousarray(chain.value, dtype=float),
        chain.parameters,
    )
    return value, jacobian


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
    simpson = np.array([1.0, 4.0, 1.0]) / 6.0
    mean = [nodes @ simpson for nodes in (c.u0, c.q1, c.q2)]
    ends = np.array([np.abs(mean[0] + mean[1] * x[i] + mean[2] * y[i]) for i in (0, -1)])
    return 0.5 * c.thickness * ends.max(axis=0)


def _cut(
    reflection: Reflection, lamellae: Lamellae, x: FloatArray, y: FloatArray, linear: bool
) -> tuple[Lamellae, Coefficients, NDArray[np.int64]]:
    """Return lamellae thin enough for the kernels, their coefficients, and into how many pieces each was cut."""
    c = coefficients(reflection, lamellae, linear)
    pieces = np.maximum(np.ceil(_half_phases(c, x, y) / (0.99 * _X_MAX)).astype(np.int64), 1)
    if np.all(pieces == 1):
        return lamellae, c, pieces
    lamellae = split(lamellae, pieces)
    return lamellae, coefficients(reflection, lamellae, linear), pieces


def _torch_amplitude(c: Coefficients, x: FloatArray, y: FloatArray) -> ComplexArray:
    import torch

    from . import _torch

    with torch.no_grad():
        axes = (torch.as_tensor(np.ascontiguousarray(v)[None]) for v in (x, y))
        result: ComplexArray = _torch.amplitude(_torch.Batch.stack([c]), *axes)[0].numpy()
    return result


def _kernel(module: str, name: str) -> Any:
    """Return a numba function; say so before the first call where it will be compiled, which takes some seconds."""
    function = getattr(importlib.import_module(f".{module}", __name__), name)
    if not function.signatures and not _in_cache(function):
        _announce()
    return function


@cache
def _announce() -> None:
    print("hrxrd_ml: compiling the numba kernels (once, some seconds; cached afterwards)", file=sys.stderr)


def _in_cache(function: Any) -> bool:
    """Return whether numba's cache on disk holds a compilation newer than the source."""
    source = Path(sys.modules[function.__module__].__file__ or "")
    folder = function.stats.cache_path
    if folder is None:
        return True  # caching is switched off
    index = f"{source.stem}.{function.__name__}-*.nbi"
    return any(path.stat().st_mtime >= source.stat().st_mtime for path in Path(folder).glob(index))
