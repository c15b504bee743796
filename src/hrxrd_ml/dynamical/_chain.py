"""Splitting of graded lamellae that are too thick for one step, and of the derivatives of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..specimen import Chain
from ._contract import FloatArray, Lamellae


def dense_chain(derivatives: FloatArray, names: Sequence[str] | None = None) -> Chain:
    """Return the sparse chain of a dense array; rows of zeros are left out.

    Parameters
    ----------
    derivatives : ndarray, shape (n, parameters, 7) or (n, parameters, 3)
        Derivatives of strain on top, in the middle and below, of E there, and of thickness with respect to
        each parameter, lamella by lamella; of strain, E and thickness where the lamellae are uniform.
    names : sequence of str, optional
        Names of the parameters; their numbers where left out.
    """
    derivatives = np.asarray(derivatives, dtype=float)
    lamella, parameter = np.nonzero(np.any(derivatives != 0.0, axis=2))
    pointer = np.searchsorted(lamella, np.arange(len(derivatives) + 1))
    names = [str(k) for k in range(derivatives.shape[1])] if names is None else names
    return Chain(tuple(names), pointer, parameter, derivatives[lamella, parameter])


def split(lamellae: Lamellae, pieces: NDArray[np.int64]) -> Lamellae:
    """Return graded lamellae, each cut into so many of equal thickness; the parabolas stay what they are."""
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


def split_chain(chain: Chain, pieces: NDArray[np.int64]) -> Chain:
    """Return the chain of the lamellae that ``split`` makes."""
    values, parameters, counts = [], [], [0]
    for j, count in enumerate(pieces):
        own = slice(chain.pointer[j], chain.pointer[j + 1])
        for nodes in _node_weights(count):
            value = chain.value[own].copy()
            value[:, 0:3], value[:, 3:6] = value[:, 0:3] @ nodes.T, value[:, 3:6] @ nodes.T
            value[:, 6] /= count
            values.append(value)
            parameters.append(chain.parameter[own])
            counts.append(len(value))
    return Chain(chain.names, np.cumsum(counts), np.concatenate(parameters), np.concatenate(values))


def _node_weights(count: int) -> FloatArray:
    """Return what the nodes of the whole lamella weigh at those of its pieces, shape (count, 3, 3)."""
    zeta = (2.0 * np.arange(count)[:, None] + np.arange(3)) / count - 1.0
    return np.stack([0.5 * zeta * (zeta - 1.0), 1.0 - zeta**2, 0.5 * zeta * (zeta + 1.0)], axis=2)
