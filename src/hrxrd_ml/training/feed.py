"""Where a training takes its curves from: a data set that is read again and again, or a source that makes new ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.training.dataset import DatasetSettings
from hrxrd_ml.training.features import Features
from hrxrd_ml.training.recipe import Training
from hrxrd_ml.training.source import Batch, source

_CHECKED = 8192  # curves of a source that are kept for validation
_BLOCK = 8192  # curves that a source makes at once, at least


class FolderFeed:
    """Curves of a data set; each epoch has an order of its own.

    Attributes
    ----------
    curves : int
        In one epoch, those of the validation included.
    per_epoch : int
        Batches in one epoch.
    """

    def __init__(self, everything: Features, training: Training, device: torch.device) -> None:
        settings = training.settings
        kept = max(int(len(everything) * settings.validation), 1)
        self._train, self._valid = everything.part(slice(0, -kept)), everything.part(slice(-kept, None))
        if len(self._train) < settings.batch:
            raise ExperimentError(f"{len(self._train)} curves are fewer than a batch of {settings.batch}")
        self.curves, self.per_epoch = len(everything), len(self._train) // settings.batch
        self._batch, self._seed, self._device = settings.batch, settings.seed, device

    def first(self, most: int) -> Iterator[Batch]:
        """Yield about so many curves, always the same: for means, scales and the domain."""
        yield from self._in_order(self._train, most)

    def batches(self, step: int) -> Iterator[Batch]:
        """Yield batches without end, in random order, from this step of the training on."""
        while True:
            epoch, start = divmod(step, self.per_epoch)
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self._train))
            for k in range(start, self.per_epoch):
                yield self._rows(self._train, np.sort(order[k * self._batch : (k + 1) * self._batch]))
            step = (epoch + 1) * self.per_epoch

    def validation(self) -> Iterator[Batch]:
        """Yield the last curves of the set, which are in no batch."""
        yield from self._in_order(self._valid, len(self._valid))

    def _in_order(self, part: Features, most: int) -> Iterator[Batch]:
        for start in range(0, min(len(part), most), _BLOCK):
            yield self._rows(part, slice(start, min(start + _BLOCK, most)))

    def _rows(self, part: Features, rows: Any) -> Batch:
        def tensor(array: np.ndarray[Any, Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array[rows])).to(self._device, non_blocking=True)

        return Batch(tensor(part.image), tensor(part.constants), tensor(part.answers))


class StreamFeed:
    """Curves that are made for the training, none of them twice.

    Each block of batches has random numbers of its own, so that a training that goes on gets what it would have got.

    Parameters
    ----------
    data : DatasetSettings
        Its prior, its seed, and how many curves make an epoch.
    training : Training
    device : torch.device
    """

    def __init__(self, data: DatasetSettings, training: Training, device: torch.device) -> None:
        settings = training.settings
        self._batch, self._seed = settings.batch, (data.seed, settings.seed)
        self._generator = torch.Generator(device)
        self._source = source(data.prior, training.plan, self._generator, settings.jitter)
        self._together = max(_BLOCK // self._batch, 1)
        self.curves, self.per_epoch = data.curves, data.curves // self._batch
        if self.per_epoch < 1:
            raise ExperimentError(f"{data.curves} curves are fewer than a batch of {self._batch}")
        self._valid = [self._block(1, k, _BLOCK) for k in range(_CHECKED // _BLOCK)]

    def first(self, most: int) -> Iterator[Batch]:
        """Yield curves."""
        for k in range(-(-most // _BLOCK)):
            yield self._block(2, k, _BLOCK)

    def batches(self, step: int) -> Iterator[Batch]:
        """Yield new curves."""
        while True:
            number, done = divmod(step, self._together)
            block = self._block(0, number, self._together * self._batch)
            for k in range(done, self._together):
                yield block.part(slice(k * self._batch, (k + 1) * self._batch))
            step = (number + 1) * self._together

    def validation(self) -> Iterator[Batch]:
        """Yield the curves kept for it."""
        yield from self._valid

    def _block(self, purpose: int, number: int, curves: int) -> Batch:
        seed = np.random.SeedSequence([*self._seed, purpose, number]).generate_state(1, np.uint64)[0]
        self._generator.manual_seed(int(seed >> 1))
        return self._source.batch(curves)


Feed = FolderFeed | StreamFeed
