"""Chain rule from the lamellae to fit parameters, and the splitting of lamellae that are too thick for one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ._contract import FloatArray, Lamellae


@dataclass(frozen=True)
class Chain:
    """Sparse derivatives of the lamellae with respect to parameters, ordered by lamella as in a CSR matrix.

    Attributes
    ----------
    pointer : ndarray of int, shape (n + 1,)
        The entries of lamella j are ``pointer[j]:pointer[j + 1]``.
    parameter : ndarray of int, shape (entries,)
        Number of the parameter that an entry belongs to.
    value : ndarray, shape (entries, 7) or (entries, 3)
        d(strain on top, in the middle, below; E on top, in the middle, below; thickness)/d(parameter) for graded
        lamellae, d(strain; E; thickness)/d(parameter) for uniform ones.
    parameters : int
        Number of parameters.
    """

    pointer: NDArray[np.int64]
    parameter: NDArray[np.int64]
    value: FloatArray
    parameters: int

    def __post_init__(self) -> None:
        """Check shapes and numbers: the kernels do not."""
        entries = len(self.parameter)
        if self.value.ndim != 2 or self.value.shape[0] != entries or self.value.shape[1] not in (3, 7):
            raise ValueError(f"value: expected shape ({entries}, 3) or ({entries}, 7), got {self.value.shape}")
        if self.pointer[0] != 0 or self.pointer[-1] != entries or np.any(np.diff(self.pointer) < 0):
            raise ValueError(f"pointer: expected numbers that rise from 0 to {entries}, got {self.pointer}")
        if entries and not 0 <= self.parameter.min() <= self.parameter.max() < self.parameters:
            raise ValueError(f"parameter: expected numbers from 0 to {self.parameters - 1}, got {self.parameter}")

    @classmethod
    def dense(cls, derivatives: FloatArray) -> Chain:
        """Return the chain of an array of shape (n, parameters, 7) or (n, parameters, 3); zero rows are left out."""
        derivatives = np.asarray(derivatives, dtype=float)
        lamella, parameter = np.nonzero(np.any(derivatives != 0.0, axis=2))
        pointer = np.searchsorted(lamella, np.arange(len(derivatives) + 1))
        return cls(pointer, parameter, derivatives[lamella, parameter], derivatives.shape[1])

    def split(self, pieces: NDArray[np.int64]) -> Chain:
        """Return the chain of the lamellae that ``split`` makes."""
        if np.all(pieces == 1):
            return self
        values, parameters, counts = [], [], []
        for j, count in enumerate(pieces):
            own = slice(self.pointer[j], self.pointer[j + 1])
            for nodes in _node_weights(count):
                value = self.value[own].copy()
                value[:, 0:3], value[:, 3:6] = value[:, 0:3] @ nodes.T, value[:, 3:6] @ nodes.T
                value[:, 6] /= count
                values.append(value)
                parameters.append(self.parameter[own])
                counts.append(len(value))
        pointer = np.concatenate([[0], np.cumsum(counts)])
        return Chain(pointer, np.concatenate(parameters), np.concatenate(values), self.parameters)


def split(lamellae: Lamellae, pieces: NDArray[np.int64]) -> Lamellae:
    """Return graded lamellae, each cut into so many of equal thickness; the parabolas stay what they are."""
    if np.all(pieces == 1):
        return lamellae
    weights = [_node_weights(count) for count in pieces]

    def cut(nodes: FloatArray) -> FloatArray:
        return np.concatenate([w @ values for w, values in zip(weights, nodes, strict=True)])

    parallel = lamellae.strain_parallel
    return replace(
        lamellae,
        thickness=np.repeat(lamellae.thickness / pieces, pieces),
        strain=cut(lamellae.strain),
        debye_waller=cut(lamellae.debye_waller),
        material=np.repeat(lamellae.material, pieces),
        strain_parallel=None if parallel is None else cut(parallel),
    )


def _node_weights(count: int) -> FloatArray:
    """Return what the nodes of the whole lamella weigh at those of its pieces, shape (count, 3, 3)."""
    top = np.arange(count) / count
    at: Sequence[FloatArray] = [2.0 * (top + shift / count) - 1.0 for shift in (0.0, 0.5, 1.0)]
    zeta = np.stack(at, axis=1)
    return np.stack([0.5 * zeta * (zeta - 1.0), 1.0 - zeta**2, 0.5 * zeta * (zeta + 1.0)], axis=2)
