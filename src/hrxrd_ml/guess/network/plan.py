"""What a network sees, what it answers, and how it is built: the settings that a checkpoint records."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from hrxrd_ml.errors import ExperimentError, InputFileError, in_short
from hrxrd_ml.guess.network.targets import Targets
from hrxrd_ml.guess.network.window import Preprocessing
from hrxrd_ml.io.experiment.table import fill
from hrxrd_ml.specimen.profile.implanted import implanted_space

ARCHITECTURES = ("mlp", "tokens")
HEAD = 32
"""Features of an attention head of "tokens"."""
TOKEN_FEATURES = 512
"""Features that "tokens" gives to the head."""
MOST_TOKENS = 1024
"""Attention takes memory with the square of the number of tokens."""


@dataclass(frozen=True)
class NetworkSettings:
    """Architecture of a network.

    Attributes
    ----------
    architecture : {"mlp", "tokens"}
    width, depth : int
        Features, and number of residual blocks, of "mlp"; of "tokens" features of a token, a multiple of 32, and number
        of pairs of attention and residual block.
    components : int
        Of the mixture: how many candidates the network may give.
    crop : int
        Leave out so many of the first points of the curve.
    stride : int
        Of "tokens": points from one token to the next; a token sees twice as many.
    readout : int
        Of "tokens": features that are left of a token when all are put together.
    """

    architecture: str = "mlp"
    width: int = 960
    depth: int = 3
    components: int = 4
    crop: int = 0
    stride: int = 16
    readout: int = 32

    def __post_init__(self) -> None:
        """Check the values."""
        if self.architecture not in ARCHITECTURES:
            raise ExperimentError(f"unknown architecture {self.architecture!r}; known: {', '.join(ARCHITECTURES)}")
        sizes = (self.width, self.depth, self.components, self.stride, self.readout)
        if not all(1 <= size <= 65536 for size in sizes) or self.crop < 0:
            raise ExperimentError(
                "width, depth, components, stride and readout must be positive (to 65536), crop from 0"
            )
        if self.architecture == "tokens" and self.width % HEAD:
            raise ExperimentError(f'the width of "tokens" must be a multiple of {HEAD}, got {self.width}')


@dataclass(frozen=True)
class Plan:
    """What a network sees, what it answers, and how it is built."""

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    targets: Targets = field(default_factory=Targets)
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def __post_init__(self) -> None:
        """Check that something is left of the curve, in not too many tokens."""
        if self.preprocessing.points - self.network.crop < 32:
            raise ExperimentError(
                f"crop = {self.network.crop} of {self.preprocessing.points} points leaves fewer than 32"
            )
        if self.network.architecture == "tokens" and self.tokens > MOST_TOKENS:
            raise ExperimentError(
                f"stride = {self.network.stride} makes {self.tokens} tokens; at most {MOST_TOKENS} are possible"
            )

    @property
    def inputs(self) -> int:
        """How many numbers the body of the network gets."""
        p = self.preprocessing
        return p.channels * (p.points - self.network.crop) + p.constants

    @property
    def tokens(self) -> int:
        """Into how many tokens "tokens" divides the curve, the last one filled up."""
        return -(-(self.preprocessing.points - self.network.crop) // self.network.stride)

    @property
    def token_inputs(self) -> int:
        """How many numbers a token is made of."""
        p = self.preprocessing
        return 2 * p.channels * self.network.stride + p.constants

    def as_dict(self) -> dict[str, Any]:
        """Return the settings, and the parameter space that they rest on, as JSON holds them."""
        space = [[spec.name, spec.unit, spec.min, spec.max] for spec in implanted_space()]
        own = {"preprocessing": asdict(self.preprocessing), "targets": asdict(self.targets)}
        return own | {"network": asdict(self.network), "space": space}

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str) -> Plan:
        """Return the plan that `as_dict` wrote; raise `InputFileError` if it is for another parameter space."""
        parts = (
            fill(Preprocessing, data.get("preprocessing", {}), source, "preprocessing"),
            fill(Targets, data.get("targets", {}), source, "targets"),
            fill(NetworkSettings, data.get("network", {}), source, "network"),
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
        own, p, parameters = self.network, self.preprocessing, len(self.targets.names)
        shapes: dict[str, tuple[int, ...]] = {}
        for name, size in (("image", p.channels * p.points), ("constant", p.constants), ("answer", parameters)):
            shapes |= {f"{name}_mean": (size,), f"{name}_scale": (size,)}
        shapes |= _norm("body.norm", own.width)
        if own.architecture == "mlp":
            features = inner = own.width
            shapes |= _linear("body.entry", self.inputs, own.width)
        else:
            features, inner = TOKEN_FEATURES, 4 * own.width
            shapes |= _linear("body.entry", self.token_inputs, own.width) | {"body.position": (self.tokens, own.width)}
            for k in range(own.depth):
                name = f"body.attentions.{k}"
                shapes |= _norm(f"{name}.norm", own.width) | _linear(f"{name}.qkv", own.width, 3 * own.width)
                shapes |= _linear(f"{name}.out", own.width, own.width)
            shapes |= _linear("body.readout", own.width, own.readout)
            shapes |= _linear("body.gather", self.tokens * own.readout, features)
            shapes |= _block("body.last", features, features) | _norm("body.last_norm", features)
        for k in range(own.depth):
            shapes |= _block(f"body.blocks.{k}", own.width, inner)
        return shapes | _linear("head", features, own.components * (1 + 2 * parameters))


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _block(name: str, width: int, inner: int) -> dict[str, tuple[int, ...]]:
    outer = _norm(f"{name}.norm", width)
    return outer | _linear(f"{name}.first", width, inner) | _linear(f"{name}.second", inner, width)
