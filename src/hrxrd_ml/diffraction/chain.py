"""Splitting of graded lamellae that are too thick for one step, and of the derivatives of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hrxrd_ml.arrays import FloatArray, IntArray
from hrxrd_ml.diffraction.lamellae import Lamellae


def split(lamellae: Lamellae, pieces: IntArray) -> Lamellae:
    """Return graded lamellae, each cut into so many of equal thickness; the parabolas stay what they are."""
    weights, whole = _node_weights(pieces)
    parallel = lamellae.strain_parallel
    return replace(
        lamellae,
        thickness=np.repeat(lamellae.thickness / pieces, pieces),
        strain=_at_nodes(weights, lamellae.strain[whole]),
        debye_waller=_at_nodes(weights, lamellae.debye_waller[whole]),
        material=lamellae.material[whole],
        strain_parallel=None if parallel is None else parallel[whole],
    )


def split_slopes(
    strain: FloatArray, debye_waller: FloatArray, thickness: FloatArray, pieces: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return derivatives, shapes (p, n, 3), (p, n, 3) and (p, n), of the lamellae that ``split`` makes."""
    weights, whole = _node_weights(pieces)
    nodes = [_at_nodes(weights, slopes[:, whole]) for slopes in (strain, debye_waller)]
    return nodes[0], nodes[1], (thickness / pieces)[:, whole]


def _at_nodes(weights: FloatArray, nodes: FloatArray) -> FloatArray:
    return np.einsum("jab,...jb->...ja", weights, nodes)


def _node_weights(pieces: IntArray) -> tuple[FloatArray, IntArray]:
    """Return what the nodes of the whole weigh at those of each piece (pieces, 3, 3), and which whole it is."""
    whole = np.repeat(np.arange(len(pieces)), pieces)
    number = np.arange(len(whole)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    zeta = (2.0 * number[:, None] + np.arange(3)) / pieces[whole][:, None] - 1.0
    return np.stack([0.5 * zeta * (zeta - 1.0), 1.0 - zeta**2, 0.5 * zeta * (zeta + 1.0)], axis=2), whole
