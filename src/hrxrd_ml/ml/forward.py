"""The network "mlp" in NumPy: what `network.GuessNetwork` computes, for prediction without torch.

Importing torch takes longer than a fit; a handful of matrix products does not need it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from hrxrd_ml.ml.plan import Plan

SingleArray = NDArray[np.float32]

LARGEST_SCALE = 6.0
"""Bound of the logarithm of a spread, in units of the answer's scale, before the shift by one."""


class Forward:
    """A trained "mlp".

    Parameters
    ----------
    plan : Plan
    arrays : dict of ndarray
        The part "network" of a checkpoint.
    """

    def __init__(self, plan: Plan, arrays: dict[str, NDArray[np.floating]]) -> None:
        self.plan = plan
        self.arrays = {name: array.astype(np.float32) for name, array in arrays.items()}

    def hidden(self, image: SingleArray, constants: SingleArray) -> SingleArray:
        """Return the features before the head, shape (n, features)."""
        a, p = self.arrays, self.plan.preprocessing
        shown = (image - a["image_mean"]) / a["image_scale"]
        if self.plan.network.crop:
            shown = shown.reshape(-1, p.channels, p.points)[:, :, self.plan.network.crop :].reshape(len(image), -1)
        known = (constants - a["constant_mean"]) / a["constant_scale"]
        x = self._linear("body.entry", np.concatenate([shown, known], axis=1))
        for k in range(self.plan.network.depth):
            block = f"body.blocks.{k}"
            y = self._linear(f"{block}.first", self._norm(f"{block}.norm", x))
            y = 0.5 * y * (1.0 + erf(y / np.float32(np.sqrt(2.0))))
            x = x + self._linear(f"{block}.second", y)
        return self._norm("body.norm", x)

    def answer(self, hidden: SingleArray) -> tuple[SingleArray, SingleArray, SingleArray]:
        """Return logits (n, k), locations and logarithms of the spreads (n, k, p), standardised."""
        k, p = self.plan.network.components, len(self.plan.targets.names)
        raw = self._linear("head", hidden)
        location, scale = raw[:, k : k + k * p], raw[:, k + k * p :]
        log_scale = LARGEST_SCALE * np.tanh(scale / LARGEST_SCALE) - 1.0
        return raw[:, :k], location.reshape(-1, k, p), log_scale.reshape(-1, k, p)

    def _linear(self, name: str, x: SingleArray) -> SingleArray:
        return x @ self.arrays[f"{name}.weight"].T + self.arrays[f"{name}.bias"]

    def _norm(self, name: str, x: SingleArray) -> SingleArray:
        centred = x - x.mean(axis=1, keepdims=True)
        scale = np.sqrt(np.mean(centred**2, axis=1, keepdims=True) + np.float32(1e-5))
        return centred / scale * self.arrays[f"{name}.weight"] + self.arrays[f"{name}.bias"]
