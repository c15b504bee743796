"""What a network sees, what it answers, and how it is built: the settings that a checkpoint records."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from hrxrd_ml.errors import ExperimentError, InputFileError, in_short
from hrxrd_ml.ml.settings import fill
from hrxrd_ml.ml.targets import Targets
from hrxrd_ml.ml.window import Preprocessing
from hrxrd_ml.parameters import implanted_space

ARCHITECTURES = ("mlp", "v3")


@dataclass(frozen=True)
class NetworkSettings:
    """Architecture of a network.

    Attributes
    ----------
    architecture : {"mlp", "v3"}
    width, depth : int
        Features, and number of residual blocks, of "mlp".
    components : int
        Of the mixture: how many candidates the network may give.
    dropout : float
        In the head of "v3".
    crop : int
        Leave out so many of the first points of the curve.
    """

    architecture: str = "mlp"
    width: int = 960
    depth: int = 3
    components: int = 4
    dropout: float = 0.2
    crop: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.architecture not in ARCHITECTURES:
            raise ExperimentError(f"unknown architecture {self.architecture!r}; known: {', '.join(ARCHITECTURES)}")
        sizes = (self.width, self.depth, self.components)
        if not all(1 <= size <= 65536 for size in sizes) or self.crop < 0 or not 0.0 <= self.dropout < 1.0:
            raise ExperimentError(
                "width, depth and components must be positive (to 65536), crop from 0, dropout from 0 to below 1"
            )


@dataclass(frozen=True)
class Plan:
    """What a network sees, what it answers, and how it is built.

    Attributes
    ----------
    preprocessing : Preprocessing
    targets : Targets
    network : NetworkSettings
    """

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    targets: Targets = field(default_factory=Targets)
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def __post_init__(self) -> None:
        """Check that something is left of the curve."""
        if self.preprocessing.points - self.network.crop < 32:
            raise ExperimentError(
                f"crop = {self.network.crop} of {self.preprocessing.points} points leaves fewer than 32"
            )

    @property
    def inputs(self) -> int:
        """How many numbers the body of the network gets."""
        p = self.preprocessing
        return p.channels * (p.points - self.network.crop) + p.constants

    def as_dict(self) -> dict[str, Any]:
        """Return the settings, and the parameter space that they rest on, as JSON holds them."""
        space = [[spec.name, spec.unit, spec.min, spec.max] for spec in implanted_space()]
        own = {"preprocessing": self.preprocessing.as_dict(), "targets": asdict(self.targets)}
        return own | {"network": asdict(self.network), "space": space}

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str) -> Plan:
        """Return the plan that `as_dict` wrote; raise `InputFileError` if it is for another parameter space."""
        parts = (
            fill(Preprocessing, data.get("preprocessing", {}), f"{source}: preprocessing"),
            fill(Targets, data.get("targets", {}), f"{source}: targets"),
            fill(NetworkSettings, data.get("network", {}), f"{source}: network"),
        )
        try:
            own = cls(*parts)
        except ExperimentError as error:
            raise InputFileError(f"{source}: {error}") from error
        here = own.as_dict()["space"]
        if data.get("space") != here:
            raise InputFileError(
                f"{source}: trained for the parameters {in_short(data.get('space'))}, this version has "
                f"{in_short(here)}; train it again, or use the version that made it"
            )
        return own

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor of the network by name."""
        if self.network.architecture != "mlp":
            import torch

            from hrxrd_ml.ml.network import GuessNetwork

            with torch.device("meta"):  # shapes alone: whatever the settings ask for takes no memory
                return {name: tuple(tensor.shape) for name, tensor in GuessNetwork(self).state_dict().items()}
        p, width = self.preprocessing, self.network.width
        sizes = {"image": p.channels * p.points, "constant": p.constants, "answer": len(self.targets.names)}
        shapes: dict[str, tuple[int, ...]] = {}
        for name, size in sizes.items():
            shapes |= {f"{name}_mean": (size,), f"{name}_scale": (size,)}
        linear = {"body.entry": (width, self.inputs)}
        norms = ["body.norm"]
        for k in range(self.network.depth):
            linear |= {f"body.blocks.{k}.first": (width, width), f"body.blocks.{k}.second": (width, width)}
            norms.append(f"body.blocks.{k}.norm")
        linear["head"] = (self.network.components * (1 + 2 * sizes["answer"]), width)
        for name, shape in linear.items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
        for name in norms:
            shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
        return shapes
