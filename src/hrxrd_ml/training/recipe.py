"""How a network is trained: what a TOML file says of it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from hrxrd_ml.errors import ExperimentError, in_short
from hrxrd_ml.guess.network.plan import NetworkSettings, Plan
from hrxrd_ml.guess.network.targets import PROFILE, Targets
from hrxrd_ml.guess.network.window import Preprocessing
from hrxrd_ml.io.experiment.table import fill
from hrxrd_ml.training.settings import read_toml

LOSSES = ("mixture", "absolute")


@dataclass(frozen=True)
class TrainSettings:
    """How a network is trained.

    Attributes
    ----------
    epochs : float
        Passes over the data.
    batch : int
    rate : float
        Largest learning rate, after the warm-up; then it falls as a cosine.
    warmup : float
        Share of the steps in which the rate rises.
    decay : float
        Weight decay of AdamW.
    clip : float
        Largest norm of the gradient.
    averaging : float
        Memory of the exponential moving average of the weights, in steps.
    loss : {"mixture", "absolute"}
        Likelihood of the mixture, or absolute error of the seven parameters.
    weights : tuple of float
        One for each of the seven parameters; empty for equal ones.
    nuisance : float
        Weight of the other parameters.
    jitter : float
        Standard deviation of the logarithm of a random zoom of the window.
    validation : float
        Share of the curves, the last ones of the set, that is kept for validation.
    patience : int
        Stop after so many validations without a better one.
    precision : {"auto", "bf16", "fp32"}
        Of the matrix products; "auto" for what is faster on the device: some processors emulate bf16, at a fortieth of
        the speed.
    seed : int
    """

    epochs: float = 10.0
    batch: int = 1024
    rate: float = 1e-3
    warmup: float = 0.03
    decay: float = 0.02
    clip: float = 1.0
    averaging: float = 1500.0
    loss: str = "mixture"
    weights: tuple[float, ...] = ()
    nuisance: float = 0.3
    jitter: float = 0.0
    validation: float = 0.02
    patience: int = 20
    precision: str = "auto"
    seed: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        if self.loss not in LOSSES or self.precision not in ("auto", "bf16", "fp32"):
            raise ExperimentError(f"loss is one of {', '.join(LOSSES)}, precision auto, bf16 or fp32")
        if self.weights and len(self.weights) != len(PROFILE):
            raise ExperimentError(f"expected {len(PROFILE)} weights, got {len(self.weights)}")
        if self.epochs <= 0.0 or self.batch < 2 or self.rate <= 0.0 or not 0.0 < self.validation < 1.0:
            raise ExperimentError("epochs and rate must be positive, batch at least 2, validation between 0 and 1")


@dataclass(frozen=True)
class Training:
    """Plan of a network and how it is trained: what a TOML file says."""

    plan: Plan = field(default_factory=Plan)
    settings: TrainSettings = field(default_factory=TrainSettings)

    @classmethod
    def read(cls, path: str | os.PathLike[str], **changes: Any) -> Training:
        """Return the tables [input], [output], [network] and [train] of a TOML file, or of bundled settings."""
        data, source = read_toml(path)
        known = ("dataset", "input", "output", "network", "train")
        for key in data:
            if key not in known:
                raise ExperimentError(f"{source}: unknown table or key {in_short(key)}; known: {', '.join(known)}")
        plan = Plan(
            fill(Preprocessing, data.get("input", {}), source, "input"),
            fill(Targets, data.get("output", {}), source, "output"),
            fill(NetworkSettings, data.get("network", {}), source, "network"),
        )
        given = data.get("train", {}) | {k: v for k, v in changes.items() if v is not None}
        return cls(plan, fill(TrainSettings, given, source, "train"))

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON holds it."""
        return {"plan": self.plan.as_dict(), "train": asdict(self.settings) | {"weights": list(self.settings.weights)}}
