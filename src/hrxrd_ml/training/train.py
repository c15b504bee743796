"""Training of the networks, on a CPU or a GPU, by the same code; it goes on where it was after a kill."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError, ParameterError, installed_by
from hrxrd_ml.guess.network.checkpoint import Checkpoint
from hrxrd_ml.guess.network.domain import Domain
from hrxrd_ml.guess.network.targets import PROFILE
from hrxrd_ml.io.files import write_text
from hrxrd_ml.training import features
from hrxrd_ml.training.dataset import DatasetFolder, DatasetSettings
from hrxrd_ml.training.recipe import Training

with installed_by("train"):
    import torch
    from torch import Tensor, nn

    from hrxrd_ml.training.feed import Feed, FolderFeed, StreamFeed
    from hrxrd_ml.training.network import GuessNetwork, Mixture, load_arrays, to_arrays
    from hrxrd_ml.training.source import Batch

STATE = "training.safetensors"
RESULT = "network.safetensors"
_NORMALISED, _DOMAIN = 20_000, 60_000  # curves from which scales and the domain are learnt


class Trainer:
    """A training in a folder: state, log, and in the end the network.

    Parameters
    ----------
    training : Training
    data : DatasetFolder or DatasetSettings
        Curves on disk, or what curves to make while the network is trained.
    out : path
        Folder; an interrupted training in it goes on.
    device : str
        "cpu", "cuda", or "auto" for a GPU where there is one.
    shards : int, optional
        Use so many shards only.
    start : path, optional
        A trained network to begin with instead of random weights: one for any crystal learns the curves of one
        laboratory in a fraction of the time.
    finish_in : float, optional
        Finish after so many seconds of training, if that is before the last epoch: the rate falls in time for it.
    progress : bool
    version : str
        Of the program, to be recorded.

    Raises
    ------
    InputFileError
        If the folder holds a training with other settings, or the network to begin with is another one than the
        settings describe.
    """

    def __init__(
        self,
        training: Training,
        data: DatasetFolder | DatasetSettings,
        out: str | os.PathLike[str],
        *,
        device: str = "auto",
        shards: int | None = None,
        start: str | os.PathLike[str] | None = None,
        finish_in: float | None = None,
        progress: bool = True,
        version: str = "",
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise ParameterError('device "cuda": torch finds no CUDA device here; take "auto" or "cpu"')
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        known = None if start is None else _start(training, start)
        self.training, self.device, self.out, self.progress = training, torch.device(device), Path(out), progress
        self.version = version
        precision = training.settings.precision
        self.short = half_pays(self.device) if precision == "auto" else precision == "bf16"
        self.out.mkdir(parents=True, exist_ok=True)
        settings, plan = training.settings, training.plan
        if isinstance(data, DatasetSettings):
            if progress:
                print("simulating the first curves, which takes a while without a GPU", file=sys.stderr)
            self.feed: Feed = StreamFeed(data, training, self.device)
        else:
            everything = features.load(
                data, plan.preprocessing, plan.targets, jitter=settings.jitter, shards=shards, progress=progress
            )
            self.feed = FolderFeed(everything, training, self.device)
            data = data.settings
        self.about: dict[str, Any] = training.as_dict() | {"data": data.as_dict(), "curves": self.feed.curves}
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.network = GuessNetwork(plan)
        _initialise(self.network, self.generator)
        _normalise(self.network, self.feed)
        if start is not None and known is not None:
            load_arrays(self.network, known.part("network"))
            self.about["start"] = hashlib.sha256(Path(start).read_bytes()).hexdigest()
        self.network.to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.rate,
            weight_decay=settings.decay,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.average = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        self.weight = self._weights()
        self.steps = max(int(settings.epochs * self.feed.per_epoch), 1)
        self.step, self.seconds, self.log = 0, 0.0, list[dict[str, float]]()
        self.finish_in, self._began = finish_in, time.monotonic()
        self.compiled: Callable[..., Mixture] = self.network
        if self.device.type == "cuda":
            self.compiled = torch.compile(self.network, dynamic=False)
        if (self.out / STATE).exists():
            self._resume()

    def _weights(self) -> Tensor:
        given = self.training.settings.weights or (1.0,) * len(PROFILE)
        names = self.training.plan.targets.names
        own = [given[i] if i < len(PROFILE) else self.training.settings.nuisance for i in range(len(names))]
        return torch.tensor(own, device=self.device)

    # --- steps -------------------------------------------------------------------------------------------------

    @property
    def done(self) -> float:
        """How much of the training is done, from 0 to 1."""
        share = self.step / self.steps
        if self.finish_in is not None:
            share = max(share, (self.seconds + time.monotonic() - self._began) / self.finish_in)
        return min(share, 1.0)

    def rate(self) -> float:
        """Return the learning rate: a linear rise, then half a cosine."""
        rise = min(1.0, (self.step + 1) / max(self.training.settings.warmup * self.steps, 1.0))
        if self.finish_in is not None:
            rise = min(1.0, self.done / self.training.settings.warmup + 0.01)
        return self.training.settings.rate * rise * 0.5 * (1.0 + math.cos(math.pi * self.done))

    def _answer(self, network: Callable[..., Mixture], batch: Batch) -> tuple[Mixture, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.short):
            mixture = network(batch.image, batch.constants)
        return mixture, (batch.answers - self.network.answer_mean) / self.network.answer_scale

    def _loss(self, mixture: Mixture, answer: Tensor) -> Tensor:
        if self.training.settings.loss == "mixture":
            return mixture.loss(answer, self.weight)
        # Errors of the parameters themselves, each over its range.
        scale = self.network.answer_scale
        return mixture.absolute(answer, self.weight * scale / scale.mean())

    def _advance(self, batch: Batch) -> Tensor:
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        loss = self._loss(*self._answer(self.compiled, batch))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.training.settings.clip)
        self.optimiser.step()
        self.step += 1
        if self.step % 8 == 0 or self.step == self.steps:
            share = max(8.0 / self.training.settings.averaging, 8.0 / (8.0 + 0.2 * self.step))
            with torch.no_grad():
                for name, p in self.network.named_parameters():
                    self.average[name].lerp_(p, min(share, 1.0))
        return loss.detach()

    def run(self, *, seconds: float | None = None, save_every: float = 120.0) -> Path | None:
        """Train to the end, or for so many seconds; return the path of the network, or None if it is not finished.

        An interruption (Ctrl-C too) leaves a state from which the next call goes on.
        """
        from tqdm import tqdm

        saved = started = self._began = time.monotonic()
        running: Tensor | None = None
        every = max(self.feed.per_epoch // 2, 1)
        bar = tqdm(total=self.steps, initial=self.step, unit="step", disable=not self.progress)
        self.network.train()
        try:
            with bar:
                for batch in self.feed.batches(self.step):
                    if self.done >= 1.0:
                        break
                    loss = self._advance(batch)
                    running = loss if running is None else running.lerp(loss, 0.02)
                    bar.update()
                    if self.step % every == 0:
                        self._note(float(running))
                        bar.set_postfix(valid=f"{self.log[-1]['valid']:.4f}", refresh=False)
                        if self._exhausted():
                            break
                    if time.monotonic() - saved > save_every:
                        self.save()
                        saved = time.monotonic()
                    if seconds is not None and self.done < 1.0 and time.monotonic() - started > seconds:
                        self.save()
                        return None
        except KeyboardInterrupt:
            self.save()
            raise
        if running is not None and (not self.log or self.log[-1]["step"] < self.step):
            self._note(float(running))
        self.save()
        return self.finish()

    def _count(self) -> None:
        """Count the time since the last time."""
        now = time.monotonic()
        self.seconds, self._began = self.seconds + now - self._began, now

    def _exhausted(self) -> bool:
        values = [row["valid"] for row in self.log]
        return len(values) - 1 - int(np.argmin(values)) >= self.training.settings.patience

    def _note(self, running: float) -> None:
        self._count()
        with self._averaged():
            valid = self.validate()
        epoch = self.step / self.feed.per_epoch
        row = {"step": float(self.step), "epoch": epoch, "rate": self.rate(), "train": running}
        self.log.append(row | {"valid": valid, "seconds": self.seconds})
        table = io.StringIO()
        writer = csv.DictWriter(table, list(self.log[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([{k: f"{v:.6g}" for k, v in entry.items()} for entry in self.log])
        write_text(self.out / "log.csv", table.getvalue())

    def validate(self) -> float:
        """Return the loss of the validation curves."""
        self.network.eval()
        total, curves = 0.0, 0
        with torch.no_grad():
            for batch in self.feed.validation():
                total += float(self._loss(*self._answer(self.network, batch))) * len(batch)
                curves += len(batch)
        self.network.train()
        return total / curves

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the averaged weights into the network for a while."""
        own = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        self.network.load_state_dict(self.average, strict=False)
        try:
            yield
        finally:
            self.network.load_state_dict(own, strict=False)

    # --- files -------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the state, whole or not at all; before the first step there is none."""
        if self.step == 0:
            return
        self._count()
        arrays = to_arrays(self.network.state_dict(), "network.") | to_arrays(self.average, "average.")
        for name, p in self.network.named_parameters():
            for key, value in self.optimiser.state[p].items():
                arrays |= to_arrays({f"{key}.{name}": value}, "adam.")
        about = self.about | {"step": self.step, "seconds": self.seconds, "log": self.log}
        Checkpoint(self.training.plan, arrays, about).save(self.out / STATE)

    def _resume(self) -> None:
        state = Checkpoint.load(self.out / STATE)
        for key, value in self.about.items():
            if state.about.get(key) != value:
                raise InputFileError(
                    f"{self.out / STATE} is a training with another {key} ({state.about.get(key)} instead of {value}); "
                    "choose another folder, or delete it"
                )
        load_arrays(self.network, state.part("network"))
        average, adam = state.part("average"), state.part("adam")
        for name, p in self.network.named_parameters():
            self.average[name].copy_(torch.from_numpy(average[name]))
            self.optimiser.state[p] = {
                key: torch.from_numpy(adam[f"{key}.{name}"].copy()).to(self.device if key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        self.step, self.seconds = int(state.about["step"]), float(state.about["seconds"])
        self.log = list(state.about["log"])

    def finish(self) -> Path:
        """Write the network with the averaged weights, half precision, and the domain of its training curves."""
        with self._averaged():
            self.network.eval()
            domain = Domain.learn(*self._hidden())
            arrays = to_arrays(self.network.state_dict(), "network.")
        half = {name: array.astype(np.float16) if array.ndim > 1 else array for name, array in arrays.items()}
        about = self.about | {"version": self.version, "step": self.step, "seconds": self.seconds, "log": self.log[-1:]}
        about["precision"] = "bf16" if self.short else "fp32"
        Checkpoint(self.training.plan, half | domain.arrays(), about).save(self.out / RESULT)
        return self.out / RESULT

    def _hidden(self) -> tuple[FloatArray, FloatArray]:
        """Return features and constants of the first training curves."""
        hidden, constants = [], []
        with torch.no_grad():
            for batch in self.feed.first(_DOMAIN):
                hidden.append(self.network.hidden(batch.image, batch.constants).double().cpu().numpy())
                constants.append(batch.constants.double().cpu().numpy())
        return np.concatenate(hidden), np.concatenate(constants)


def half_pays(device: torch.device, size: int = 512) -> bool:
    """Tell whether matrix products in bf16 are faster than in single precision, on a CPU by a trial."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    times = []
    for kind in (torch.float32, torch.bfloat16):
        a = torch.ones(size, size, device=device, dtype=kind)
        best = math.inf
        for _ in range(4):
            begin = time.perf_counter()
            float((a @ a)[0, 0])  # waits for a GPU
            best = min(best, time.perf_counter() - begin)
        times.append(best)
    return times[1] < times[0]


def _initialise(network: GuessNetwork, generator: torch.Generator) -> None:
    """Draw the weights from the generator; torch's own initialisation takes the global one."""
    k, parameters = network.plan.network.components, len(network.plan.targets.names)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if name.endswith("bias"):
                p.zero_()
            elif p.ndim > 1 and bool(p.any()):  # not the scales of norms, nor what begins at zero
                spread = 0.02 if name.startswith("head.") else 1.0 / math.sqrt(3.0 * p[0].numel())
                p.copy_(torch.randn(p.shape, generator=generator) * spread)
        if k > 1:  # so that the components begin apart
            apart = torch.randn(k * parameters, generator=generator)
            network.head.bias[k : k + k * parameters] = 0.5 * apart


def _normalise(network: GuessNetwork, feed: Feed) -> None:
    """Set means and scales from the first curves."""
    sample = list(feed.first(_NORMALISED))
    for name, column in (("image", "image"), ("constant", "constants"), ("answer", "answers")):
        values = torch.cat([getattr(batch, column) for batch in sample]).float().cpu()
        if values.shape[1] == 0:
            continue
        getattr(network, f"{name}_mean").copy_(values.mean(0))
        scale = values.std(0)
        getattr(network, f"{name}_scale").copy_(torch.where(scale > 1e-3, scale, torch.ones_like(scale)))


def _start(training: Training, start: str | os.PathLike[str]) -> Checkpoint:
    """Return the checkpoint that a training begins with."""
    known = Checkpoint.load(start)
    found = known.plan.as_dict()
    for part, wanted in training.plan.as_dict().items():
        if found.get(part) != wanted:
            raise InputFileError(
                f"{os.fspath(start)} has another {part} than these settings: {found.get(part)} instead of {wanted}"
                "; take its settings, or begin without it"
            )
    return known
