"""The networks: from an image of a curve and the constants of its experiment to a mixture over the parameters.

``mlp`` is the default: residual blocks of plain matrix products on the whole window, which train several times more
curves a second than a convolutional network, on a CPU and on a GPU.  ``tokens`` is a transformer on patches of the
curve, for a long training on a GPU.  `forward` computes the same without torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hrxrd_ml.errors import installed_by
from hrxrd_ml.guess.network.forward import LARGEST_SCALE
from hrxrd_ml.guess.network.plan import HEAD, TOKEN_FEATURES, NetworkSettings, Plan

with installed_by("train"):
    import torch
    import torch.nn.functional as functional
    from torch import Tensor, nn


@dataclass(frozen=True)
class Mixture:
    """What a network answers: a mixture of products of Laplace distributions, in standardised coordinates.

    Attributes
    ----------
    logit : Tensor, shape (n, k)
        Logarithms of the weights, up to a constant.
    location, log_scale : Tensor, shape (n, k, p)
    """

    logit: Tensor
    location: Tensor
    log_scale: Tensor

    def loss(self, answer: Tensor, weight: Tensor) -> Tensor:
        """Return the mean negative logarithm of the weighted likelihood of answers, shape (n, p)."""
        error = (answer[:, None] - self.location).abs()
        each = (error * torch.exp(-self.log_scale) + self.log_scale + math.log(2.0)) * weight
        return -torch.logsumexp(functional.log_softmax(self.logit, 1) - each.sum(2), 1).mean()

    def absolute(self, answer: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted mean absolute error of the first component, with its scales fitted beside."""
        error = (answer - self.location[:, 0]).abs()
        scale = self.log_scale[:, 0]
        spread = (error.detach() * torch.exp(-scale) + scale) * weight
        return (error * weight).mean() + 0.01 * spread.mean()


class Block(nn.Module):
    """Residual block of two matrix products, with ``inner`` features between them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, inner)
        self.second = nn.Linear(inner, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.gelu(self.first(self.norm(x))))


class Body(nn.Module):
    """Residual blocks on image and constants; ``features`` is the width of what comes out."""

    def __init__(self, inputs: int, settings: NetworkSettings) -> None:
        super().__init__()
        self.features = settings.width
        self.entry = nn.Linear(inputs, settings.width)
        self.blocks = nn.Sequential(*(Block(settings.width, settings.width) for _ in range(settings.depth)))
        self.norm = nn.LayerNorm(settings.width)

    def forward(self, x: Tensor) -> Tensor:
        # Single precision where small differences of large numbers come in.
        with torch.autocast(x.device.type, enabled=False):
            x = self.entry(x.float())
        return self.norm(self.blocks(x))


class Attention(nn.Module):
    """Residual attention of tokens, shape (n, tokens, width), to each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        parts = self.qkv(self.norm(x)).reshape(n, tokens, 3, width // HEAD, HEAD).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(*parts.unbind(0))
        return x + self.out(y.transpose(1, 2).reshape(n, tokens, width))


class TokenBody(nn.Module):
    """A transformer on overlapping patches of the curve, each of which gets the constants too.

    What it reads out keeps the order of the tokens: where something lies on the curve is what the answer is made of.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        settings, p = plan.network, plan.preprocessing
        width, self.stride, self.features = settings.width, settings.stride, TOKEN_FEATURES
        self.shape = (p.channels, p.points - settings.crop)
        self.entry = nn.Linear(plan.token_inputs, width)
        self.position = nn.Parameter(0.02 * torch.randn(plan.tokens, width))
        self.attentions = nn.ModuleList(Attention(width) for _ in range(settings.depth))
        self.blocks = nn.ModuleList(Block(width, 4 * width) for _ in range(settings.depth))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, settings.readout)
        self.gather = nn.Linear(plan.tokens * settings.readout, self.features)
        self.last = Block(self.features, self.features)
        self.last_norm = nn.LayerNorm(self.features)

    def forward(self, x: Tensor) -> Tensor:
        channels, points = self.shape
        # Single precision where small differences of large numbers come in.
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            patches = self.patches(x[:, : channels * points].reshape(-1, channels, points))
            constants = x[:, None, channels * points :].expand(-1, len(self.position), -1)
            x = self.entry(torch.cat([patches, constants], dim=2)) + self.position
        for attention, block in zip(self.attentions, self.blocks, strict=True):
            x = block(attention(x))
        y = functional.gelu(self.gather(self.readout(self.norm(x)).flatten(1)))
        return self.last_norm(self.last(y))

    def patches(self, image: Tensor) -> Tensor:
        """Return what each token sees of images (n, channels, points), shape (n, tokens, channels * 2 * stride)."""
        tokens, before = len(self.position), self.stride // 2
        after = (tokens + 1) * self.stride - before - image.shape[2]
        pieces = functional.pad(image, (before, after)).unflatten(2, (tokens + 1, self.stride))
        return torch.cat([pieces[:, :, :-1], pieces[:, :, 1:]], dim=3).transpose(1, 2).flatten(2)


class GuessNetwork(nn.Module):
    """Normalisation, body and mixture head."""

    image_mean: Tensor
    image_scale: Tensor
    constant_mean: Tensor
    constant_scale: Tensor
    answer_mean: Tensor
    answer_scale: Tensor

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        settings, p, parameters = plan.network, plan.preprocessing, len(plan.targets.names)
        if settings.architecture == "mlp":
            self.body: Body | TokenBody = Body(plan.inputs, settings)
        else:
            self.body = TokenBody(plan)
        self.head = nn.Linear(self.body.features, settings.components * (1 + 2 * parameters))
        for name, size in (("image", p.channels * p.points), ("constant", p.constants), ("answer", parameters)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))

    def hidden(self, image: Tensor, constants: Tensor) -> Tensor:
        """Return the features before the head, shape (n, features)."""
        image = (image.float() - self.image_mean) / self.image_scale
        if self.plan.network.crop:
            p = self.plan.preprocessing
            image = image.reshape(-1, p.channels, p.points)[:, :, self.plan.network.crop :].flatten(1)
        constants = (constants - self.constant_mean) / self.constant_scale
        features: Tensor = self.body(torch.cat([image, constants], dim=1))
        return features

    def answer(self, features: Tensor) -> Mixture:
        """Return the mixture for features."""
        k, p = self.plan.network.components, len(self.plan.targets.names)
        raw = self.head(features).float()
        logit, location, scale = raw.split([k, k * p, k * p], dim=1)
        log_scale = LARGEST_SCALE * torch.tanh(scale.reshape(-1, k, p) / LARGEST_SCALE) - 1.0
        return Mixture(logit, location.reshape(-1, k, p), log_scale)

    def forward(self, image: Tensor, constants: Tensor) -> Mixture:
        """Return the mixture for images (n, channels * points) and constants (n, c)."""
        return self.answer(self.hidden(image, constants))


def load_arrays(network: nn.Module, arrays: dict[str, NDArray[Any]]) -> None:
    """Put arrays into a network of the same shapes."""
    own = network.state_dict()
    network.load_state_dict({name: torch.from_numpy(arrays[name].copy()).to(own[name].dtype) for name in own})


def to_arrays(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, NDArray[Any]]:
    """Return tensors as arrays, their names after ``prefix``."""
    return {f"{prefix}{name}": tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
