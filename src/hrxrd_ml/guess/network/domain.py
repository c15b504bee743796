"""Whether a curve is one of those that a network has learnt from, judged by the input alone.

The features before the head are whitened along their principal directions; a curve is as far outside as it is from the
middle of the training curves, in units of the distance that only one in a thousand of these exceeds.  The numbers that
describe the experiment have to lie within the range of the training as well.

The windows show nothing of the side on which a lattice that has shrunk would diffract; `wrong_side` looks there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.guess.landmarks import Landmarks

DIRECTIONS = 64
_MARGIN = 0.05  # of the range of a constant: so far beyond it the score is 1


@dataclass(frozen=True)
class Domain:
    """The training curves as seen by the network.

    Attributes
    ----------
    mean : ndarray, shape (f,)
        Of the features.
    whiten : ndarray, shape (f, DIRECTIONS)
        Projection on principal directions, scaled to unit variance.
    remainder : ndarray, shape (1,)
        Root of the variance in all other directions.
    limit : ndarray, shape (1,)
        Distance that one training curve in a thousand exceeds.
    low, high : ndarray, shape (c,)
        Range of the constants.
    """

    mean: FloatArray
    whiten: FloatArray
    remainder: FloatArray
    limit: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def learn(cls, hidden: FloatArray, constants: FloatArray) -> Domain:
        """Return the domain of training curves with these features (n, f) and constants (n, c)."""
        mean = hidden.mean(axis=0)
        centred = hidden - mean
        values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        count = min(DIRECTIONS, hidden.shape[1] - 1)
        whiten = vectors[:, -count:] / np.sqrt(np.maximum(values[-count:], 1e-12))
        remainder = np.sqrt(np.maximum(values[:-count].sum(keepdims=True), 1e-3 * values.sum()))
        empty = constants.shape[1] == 0
        low, high = (np.zeros(0), np.zeros(0)) if empty else (constants.min(axis=0), constants.max(axis=0))
        own = cls(mean, whiten, remainder, np.ones(1), low, high)
        limit = np.quantile(own._distance(hidden), [0.999])
        return cls(mean, whiten, remainder, limit, low, high)

    def _distance(self, hidden: FloatArray) -> FloatArray:
        centred = hidden - self.mean
        seen = centred @ self.whiten
        scale = np.sum(self.whiten**2, axis=0)  # the columns are orthogonal
        rest = np.maximum(np.sum(centred**2, axis=1) - np.sum(seen**2 / scale, axis=1), 0.0)
        return np.asarray(np.sqrt(np.mean(seen**2, axis=1) + rest / self.remainder**2))

    def score(self, hidden: FloatArray, constants: FloatArray) -> FloatArray:
        """Return how far outside curves are, shape (n,): up to 1 is inside."""
        distance = self._distance(hidden) / self.limit
        if constants.shape[1] == 0:
            return distance
        width = np.maximum(self.high - self.low, 1e-6)
        beyond = np.maximum(self.low - constants, constants - self.high) / (_MARGIN * width)
        return np.maximum(distance, beyond.max(axis=1))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the parts by name, for a checkpoint."""
        return {f"domain.{field.name}": getattr(self, field.name).astype(np.float32) for field in fields(self)}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[np.floating]]) -> Domain | None:
        """Return the domain in the part "domain" of a checkpoint, or None if it has none at all.

        Raises
        ------
        InputFileError
            If a part is missing, or holds something else than finite floating-point numbers.
        """
        names = [field.name for field in fields(cls)]
        if not arrays:
            return None
        for name in names:
            found = arrays.get(name)
            if found is None or found.dtype.kind != "f" or not np.isfinite(found).all():
                raise InputFileError(f"the check of its domain has no {name} that can be used")
        return cls(*(arrays[name].astype(float) for name in names))


_USUAL_SHARE = 0.4  # 800 curves that networks learn from have at most 0.33, their mirror images at least 0.67


def wrong_side(arcsec: FloatArray, intensity: FloatArray, marks: Landmarks) -> float:
    """Return how much of a curve lies on the high-angle side of the peak; up to 1 is usual for an expanded lattice.

    Of the area of the logarithm of the intensity above the background, from four widths off the peak.
    """
    level = np.log10(np.maximum(intensity, 1e-300) / max(marks.background, 1e-300)).clip(0.0, 12.0)
    areas = []
    for side in (-1.0, 1.0):
        away = side * (arcsec - marks.peak)
        chosen = away > 4.0 * marks.width
        areas.append(abs(float(np.trapezoid(level[chosen], arcsec[chosen]))) if chosen.sum() > 3 else 0.0)
    return areas[1] / max(sum(areas), 1e-9) / _USUAL_SHARE
