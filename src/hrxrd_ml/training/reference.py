"""Curves drawn from a prior as a network sees them: what a measured curve is held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.guess.network.domain import Domain
from hrxrd_ml.guess.network.predict import Predictor
from hrxrd_ml.guess.network.targets import PROFILE, RANGES, Frame
from hrxrd_ml.specimen.profile.implanted import implanted_space
from hrxrd_ml.training.dataset import DatasetSettings
from hrxrd_ml.training.evaluate import answers
from hrxrd_ml.training.features import Features, apparent, shard_features
from hrxrd_ml.training.shard import measurements, simulate_shard

CONSTANTS = (
    "coupling", "phase of the coupling", "absorption", "polarisation", "span of the window", "interplanar spacing",
    "asymmetry", "step", "width of the peak", "background", "counts of the peak", "reach beyond the damage region",
    "reach above the peak", "edge of the damage region",
)  # fmt: skip
"""What the numbers mean that a network gets besides the image: `Preprocessing.show`, in order."""

_MARGIN = 0.05  # of the range, as in the check of the domain


def features_of(network: Predictor, image: NDArray[np.floating], constants: NDArray[np.floating]) -> FloatArray:
    """Return the last features of a network before its head, shape (n, f)."""
    shown, known = (np.ascontiguousarray(part, np.float32) for part in (image, constants))
    parts = [network.forward.hidden(shown[k : k + 1000], known[k : k + 1000]) for k in range(0, len(shown), 1000)]
    return np.concatenate(parts).astype(float)


@dataclass(frozen=True)
class Reference:
    """Curves of a prior, none of which a training has seen.

    Attributes
    ----------
    network : Predictor
    domain : Domain
        That of the network, or of these curves where it has none.
    data : Features
        What the network sees, and the true answers.
    place : ndarray, shape (n, d)
        In the network's features, whitened.
    score : ndarray, shape (n,)
        How far outside of the domain.
    values, answer : dict of ndarray, shape (n,)
        The seven parameters as they show, and those that the network answers with.
    label : tuple of str
        Crystal and reflection of each.
    """

    network: Predictor
    domain: Domain
    data: Features
    place: FloatArray
    score: FloatArray
    values: dict[str, FloatArray]
    answer: dict[str, FloatArray]
    label: tuple[str, ...]

    @classmethod
    def draw(cls, settings: DatasetSettings, network: Predictor) -> Reference:
        """Return the curves of some settings.

        Raises
        ------
        ExperimentError
            If the network has learnt from this seed, or knows one experiment only.
        """
        check_unseen(settings, network)
        seen, values, labels = list[Features](), list[dict[str, FloatArray]](), list[str]()
        for number in range(settings.shards):
            shard = simulate_shard(settings, number)
            data = shard_features(shard, network.plan.preprocessing, network.plan.targets)
            names = [str(name) for name in shard["parameter"].values]
            columns = apparent(dict(zip(names, shard["values"].values.T, strict=True)))
            values.append({name: columns[name][data.rows] for name in PROFILE})
            known = [f"{m.reflection.crystal.name} {' '.join(map(str, m.reflection.hkl))}" for m in measurements(shard)]
            labels += [known[row] for row in data.rows]
            seen.append(data)
        data = Features.join(seen)
        hidden = features_of(network, data.image, data.constants)
        domain = network.domain or Domain.learn(hidden, data.constants.astype(float))
        return cls(
            network,
            domain,
            data,
            whitened(domain, hidden),
            domain.score(hidden, data.constants.astype(float)),
            {name: np.concatenate([part[name] for part in values]) for name in PROFILE},
            answers(network, data)[1],
            tuple(labels),
        )

    def __len__(self) -> int:
        return len(self.place)

    def distances(self, place: FloatArray) -> FloatArray:
        """Return how far a curve is from each of these in the network's features, shape (n,); 1 is a standard
        deviation in each direction."""
        return cdist(place[None], self.place)[0] / np.sqrt(self.place.shape[1])

    def neighbour_distances(self, k: int) -> FloatArray:
        """Return how far each of these curves is from the k-th nearest of the others, shape (n,)."""
        apart = cdist(self.place, self.place) / np.sqrt(self.place.shape[1])
        return np.partition(apart, k, axis=1)[:, k]  # the nearest is the curve itself

    def decoded(self, rows: NDArray[np.intp], frame: FloatArray) -> dict[str, FloatArray]:
        """Return the seven parameters that curves with the answers of ``rows`` have in windows ``frame`` (k, 5)."""
        found = self.network.plan.targets.decode(self.data.answers[rows].astype(float), Frame.stack(*frame.T))
        return {name: found[name] for name in PROFILE}

    def beyond(self, constants: FloatArray) -> list[str]:
        """Return which constants (c,) of a curve lie outside of those of all these, by a margin, in words."""
        known = self.data.constants.astype(float)
        low, high = known.min(axis=0), known.max(axis=0)
        margin = np.maximum(_MARGIN * (high - low), 1e-6)
        out = (constants < low - margin) | (constants > high + margin)
        return [name for name, outside in zip(CONSTANTS, out, strict=True) if outside]

    def errors(self, answer: dict[str, FloatArray]) -> FloatArray:
        """Return the mean error of the seven parameters over their ranges, shape (n,)."""
        each = [np.abs(answer[name] - self.values[name]) / RANGES[name] for name in PROFILE]
        return np.asarray(np.mean(each, axis=0))

    def by_nearest(self) -> dict[str, FloatArray]:
        """Return the answers of a guess without a network: those of the nearest of the other curves, scaled."""
        apart = cdist(self.place, self.place)
        np.fill_diagonal(apart, np.inf)
        return self.decoded(np.argmin(apart, axis=1), self.data.frame)

    def cube(self) -> FloatArray:
        """Return the places of the parameters between their limits, shape (n, 7)."""
        return implanted_space().to_unit(self.values)


def whitened(domain: Domain, hidden: FloatArray) -> FloatArray:
    """Return the places of features (n, f) along the principal directions of a domain, in standard deviations."""
    return (hidden - domain.mean) @ domain.whiten


def check_unseen(settings: DatasetSettings, network: Predictor) -> None:
    """Raise `ExperimentError` unless curves of these settings are new to a network, and of the kind that it knows."""
    trained = network.about.get("data")
    if not settings.prior.noisy or network.plan.preprocessing.kind != "window":
        raise ExperimentError("expected settings of noisy curves, and a network for any experiment")
    if isinstance(trained, dict) and trained.get("seed") == settings.seed:
        raise ExperimentError(f"the network has been trained with the seed {settings.seed}; choose another one")
