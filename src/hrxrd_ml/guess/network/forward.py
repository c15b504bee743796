"""The networks in NumPy: what `network.GuessNetwork` computes, for prediction without torch.

Importing torch takes longer than a fit; some matrix products do not need it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from hrxrd_ml.guess.network.plan import HEAD, Plan

SingleArray = NDArray[np.float32]

LARGEST_SCALE = 6.0
"""Bound of the logarithm of a spread, in units of the answer's scale, before the shift by one."""


class Forward:
    """A trained "mlp": normalisation, residual blocks and head.

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
        shown = ((image - a["image_mean"]) / a["image_scale"]).reshape(len(image), p.channels, p.points)
        known = (constants - a["constant_mean"]) / a["constant_scale"]
        return self._body(shown[:, :, self.plan.network.crop :], known)

    def answer(self, hidden: SingleArray) -> tuple[SingleArray, SingleArray, SingleArray]:
        """Return logits (n, k), locations and logarithms of the spreads (n, k, p), standardised."""
        k, p = self.plan.network.components, len(self.plan.targets.names)
        raw = self._linear("head", hidden)
        location, scale = raw[:, k : k + k * p], raw[:, k + k * p :]
        log_scale = LARGEST_SCALE * np.tanh(scale / LARGEST_SCALE) - 1.0
        return raw[:, :k], location.reshape(-1, k, p), log_scale.reshape(-1, k, p)

    def _body(self, shown: SingleArray, known: SingleArray) -> SingleArray:
        """Return the features of standardised images (n, channels, points) and constants."""
        x = self._linear("body.entry", np.concatenate([shown.reshape(len(shown), -1), known], axis=1))
        for k in range(self.plan.network.depth):
            x = self._block(f"body.blocks.{k}", x)
        return self._norm("body.norm", x)

    def _block(self, name: str, x: SingleArray) -> SingleArray:
        y = _gelu(self._linear(f"{name}.first", self._norm(f"{name}.norm", x)))
        return x + self._linear(f"{name}.second", y)

    def _linear(self, name: str, x: SingleArray) -> SingleArray:
        y: SingleArray = x @ self.arrays[f"{name}.weight"].T
        y += self.arrays[f"{name}.bias"]
        return y

    def _norm(self, name: str, x: SingleArray) -> SingleArray:
        y: SingleArray = x - x.mean(axis=1, keepdims=True)
        y /= np.sqrt(np.mean(y**2, axis=1, keepdims=True) + np.float32(1e-5))
        y *= self.arrays[f"{name}.weight"]
        y += self.arrays[f"{name}.bias"]
        return y


class TokenForward(Forward):
    """A trained "tokens", with another body.

    The tokens of all curves are the rows of one matrix, but for the attention: one matrix product instead of n.
    """

    def _body(self, shown: SingleArray, known: SingleArray) -> SingleArray:
        tokens = self.plan.tokens
        patches = np.concatenate([self._patches(shown), np.repeat(known, tokens, axis=0)], axis=1)
        x = self._linear("body.entry", patches)
        x += np.tile(self.arrays["body.position"], (len(shown), 1))
        for k in range(self.plan.network.depth):
            x = self._block(f"body.blocks.{k}", self._attention(f"body.attentions.{k}", x))
        y = self._linear("body.readout", self._norm("body.norm", x)).reshape(len(shown), -1)
        return self._norm("body.last_norm", self._block("body.last", _gelu(self._linear("body.gather", y))))

    def _patches(self, shown: SingleArray) -> SingleArray:
        """Return what each token sees, shape (n * tokens, channels * 2 * stride)."""
        (n, channels, points), tokens, stride = shown.shape, self.plan.tokens, self.plan.network.stride
        padded = np.zeros((n, channels, (tokens + 1) * stride), dtype=np.float32)
        padded[:, :, stride // 2 : stride // 2 + points] = shown
        pieces = padded.reshape(n, channels, tokens + 1, stride)
        pairs = np.concatenate([pieces[:, :, :-1], pieces[:, :, 1:]], axis=3)
        return pairs.swapaxes(1, 2).reshape(n * tokens, -1)

    def _attention(self, name: str, x: SingleArray) -> SingleArray:
        parts = self._linear(f"{name}.qkv", self._norm(f"{name}.norm", x))
        q, k, v = parts.reshape(-1, self.plan.tokens, 3, x.shape[1] // HEAD, HEAD).transpose(2, 0, 3, 1, 4)
        weight: SingleArray = q @ k.swapaxes(2, 3)
        weight -= weight.max(axis=3, keepdims=True)
        weight *= 1.0 / math.sqrt(HEAD)
        np.exp(weight, out=weight)
        weight /= weight.sum(axis=3, keepdims=True)
        return x + self._linear(f"{name}.out", (weight @ v).swapaxes(1, 2).reshape(x.shape))


FORWARDS: dict[str, type[Forward]] = {"mlp": Forward, "tokens": TokenForward}
"""By architecture."""


def _gelu(y: SingleArray) -> SingleArray:
    """Return the exact GELU, in the place of what is given."""
    share: SingleArray = y / np.float32(np.sqrt(2.0))
    erf(share, out=share)
    share += 1.0
    share *= 0.5
    y *= share
    return y
