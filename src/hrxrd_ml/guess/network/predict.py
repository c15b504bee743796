"""A trained network at work: inputs in, candidates with weights, spreads and a domain score out; no randomness."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError, in_short
from hrxrd_ml.guess.network.checkpoint import Checkpoint
from hrxrd_ml.guess.network.domain import Domain
from hrxrd_ml.guess.network.forward import FORWARDS, Forward
from hrxrd_ml.guess.network.plan import Plan

BUNDLED = "universal.safetensors"
"""The network in the package."""


@dataclass(frozen=True)
class Prediction:
    """What the network says of n curves.

    Attributes
    ----------
    coordinates, spread : ndarray, shape (n, k, p)
        Medians of the candidates in the coordinates of `Targets`, most likely one first, and mean absolute deviations.
    weight : ndarray, shape (n, k)
        Probabilities of the candidates.
    score : ndarray, shape (n,)
        How far outside its domain the network is, up to 1: inside.
    """

    coordinates: FloatArray
    spread: FloatArray
    weight: FloatArray
    score: FloatArray

    def middle(self) -> FloatArray:
        """Return weighted medians over the candidates, shape (n, p): what has the smallest expected absolute error."""
        low = np.min(self.coordinates - 40.0 * self.spread, axis=1)
        high = np.max(self.coordinates + 40.0 * self.spread, axis=1)
        for _ in range(50):
            middle = 0.5 * (low + high)
            below = self.cumulative(middle) < 0.5
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)

    def cumulative(self, at: NDArray[np.floating]) -> FloatArray:
        """Return the probability that the network gives to values below ``at``, shape (n, p)."""
        t = (at[:, None] - self.coordinates) / self.spread
        tail = 0.5 * np.exp(-np.abs(t))
        return np.sum(self.weight[:, :, None] * np.where(t < 0.0, tail, 1.0 - tail), axis=1)


@dataclass(frozen=True)
class Predictor:
    """A network with its plan and domain.

    Attributes
    ----------
    plan : Plan
    forward : Forward
    domain : Domain or None
    about : dict
        What the checkpoint says of its training.
    """

    plan: Plan
    forward: Forward
    domain: Domain | None
    about: dict[str, Any]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Predictor:
        """Read a checkpoint; raise `InputFileError` if it does not fit, or its network does not answer."""
        found = Checkpoint.load(path)
        try:
            forward = FORWARDS[found.plan.network.architecture](found.plan, found.part("network"))
            own = cls(found.plan, forward, Domain.of(found.part("domain")), found.about)
            p = own.plan.preprocessing
            answer = own.predict(np.zeros((2, p.channels * p.points)), np.zeros((2, p.constants)))
        except (ValueError, TypeError, RuntimeError) as error:  # parts that do not go together
            raise InputFileError(f"{path}: its network cannot be used ({in_short(error)}); train it again") from error
        if not all(np.isfinite(part).all() for part in vars(answer).values()):
            raise InputFileError(f"{path}: its network answers with numbers that are not finite; train it again")
        return own

    def predict(self, image: NDArray[np.floating], constants: NDArray[np.floating]) -> Prediction:
        """Return candidates for inputs as `Features` holds them: images (n, channels * points), constants (n, c)."""
        with np.errstate(all="ignore"):  # what is not finite is refused where the checkpoint is read
            return self._predict(np.ascontiguousarray(image, np.float32), np.ascontiguousarray(constants, np.float32))

    def _predict(self, shown: NDArray[np.float32], known: NDArray[np.float32]) -> Prediction:
        hidden = self.forward.hidden(shown, known)
        logit, location, log_scale = (part.astype(float) for part in self.forward.answer(hidden))
        score = np.zeros(len(hidden))
        if self.domain is not None:
            score = self.domain.score(hidden.astype(float), known.astype(float))
        weight = softmax(logit, axis=1)
        order = np.argsort(-weight, axis=1, kind="stable")
        scale, mean = (self.forward.arrays[f"answer_{part}"].astype(float) for part in ("scale", "mean"))
        location = np.take_along_axis(location, order[:, :, None], axis=1) * scale + mean
        spread = np.exp(np.take_along_axis(log_scale, order[:, :, None], axis=1)) * scale
        return Prediction(location, spread, np.take_along_axis(weight, order, axis=1), score)


def bundled_path() -> str:
    """Return the path of the network in the package."""
    with as_file(files("hrxrd_ml") / "data" / BUNDLED) as path:
        return str(path)


def predictor(path: str) -> Predictor:
    """Return the predictor of a checkpoint, read once as long as the file stays the same."""
    try:
        known = os.stat(path)
    except OSError:
        return Predictor.load(path)  # which says what is wrong
    return _predictor(path, os.path.abspath(path), known.st_mtime_ns, known.st_size)


@lru_cache(maxsize=4)
def _predictor(path: str, absolute: str, changed: int, size: int) -> Predictor:
    return Predictor.load(path)  # the path as given, which is what messages should name
