"""A data set as the network's inputs and answers, prepared once and kept beside the shards."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import CurveError, InputFileError
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.guess.network.targets import Frame, Targets
from hrxrd_ml.guess.network.window import CENTRE, Preprocessing
from hrxrd_ml.inference.threads import begin_worker, cores
from hrxrd_ml.io.files import atomic_path
from hrxrd_ml.training.dataset import DatasetFolder
from hrxrd_ml.training.shard import measurements

_VERSION = 3  # of what is calculated here, in `window`, `scale` and `targets`

_TO_APPARENT = {"Dmax1": -1, "D01": -1, "L1": 1, "Rp1": 1, "D02": -1, "L2": 1, "Rp2": 1}


@dataclass(frozen=True)
class Features:
    """Inputs and answers of n curves.

    Attributes
    ----------
    image : ndarray, shape (n, channels * points)
    constants : ndarray, shape (n, constants)
    answers : ndarray, shape (n, parameters)
        In the coordinates of `Targets`.
    frame : ndarray, shape (n, 5)
        Columns of the `Frame`.
    rows : ndarray of int, shape (n,)
        Which curves of the set they are; those without a visible substrate peak are left out.
    """

    image: NDArray[np.floating]
    constants: NDArray[np.float32]
    answers: NDArray[np.float32]
    frame: FloatArray
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def join(cls, parts: list[Features]) -> Features:
        """Return the features of several shards as one."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def part(self, chosen: slice) -> Features:
        """Return some of the curves."""
        return type(self)(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def apparent(values: dict[str, Any]) -> dict[str, Any]:
    """Return the profile that a curve shows to somebody who does not know of the error of the angular step.

    A scale of the angle axis is one of the strains and, inversely, of the depths (`scale`), so this is what can be
    known, and what a fit with ``step = 1`` finds.  For arrays and tensors alike.
    """
    if "step" not in values:
        return values
    step = values["step"]
    return {name: column * step ** _TO_APPARENT.get(name, 0) for name, column in values.items()}


def shard_features(
    shard: xr.Dataset, preprocessing: Preprocessing, targets: Targets, zooms: FloatArray | None = None
) -> Features:
    """Return the features of a shard.

    Parameters
    ----------
    shard : Dataset
        See `shard.simulate_shard`.
    preprocessing : Preprocessing
    targets : Targets
    zooms : ndarray, shape (n,), optional
        Widens each window.
    """
    names = [str(name) for name in shard["parameter"].values]
    values = apparent(dict(zip(names, shard["values"].values.T, strict=True)))
    if preprocessing.kind == "fixed":
        return _fixed_features(shard["counts"].values, preprocessing, targets.encode(values).astype(np.float32))
    images, constants, frames, rows = [], [], [], []
    axes: dict[int, StrainAxis] = {}
    for i, measured in enumerate(measurements(shard)):
        key = id(measured.reflection)
        if key not in axes:
            axes[key] = StrainAxis.of(measured.reflection)
        axis = axes[key]
        zoom = 1.0 if zooms is None else float(zooms[i])
        try:
            window, image, known = preprocessing.prepare(axis, measured.dtheta, measured.intensity, zoom=zoom)
        except CurveError:
            continue
        image[0] += CENTRE
        images.append(image.astype(np.float16).ravel())
        constants.append(known)
        frames.append((window.span, window.peak, window.height, axis.normal, axis.per_arcsec))
        rows.append(i)
    chosen = np.array(rows, dtype=np.int64)
    frame = np.array(frames)
    answers = targets.encode({name: column[chosen] for name, column in values.items()}, Frame.stack(*frame.T))
    return Features(np.array(images), np.array(constants, dtype=np.float32), answers.astype(np.float32), frame, chosen)


def _fixed_features(counts: FloatArray, preprocessing: Preprocessing, answers: NDArray[np.float32]) -> Features:
    """Return the features of curves on one angle axis: no windows to choose, nothing to tell of the experiment."""
    n, points = counts.shape
    if points != preprocessing.points:
        raise InputFileError(f"curves of {preprocessing.points} points expected, these have {points}")
    image, constants = preprocessing.fixed(counts).astype(np.float32), np.zeros((n, 0), dtype=np.float32)
    return Features(image, constants, answers, np.zeros((n, 5)), np.arange(n, dtype=np.int64))


def load(
    folder: DatasetFolder,
    preprocessing: Preprocessing,
    targets: Targets,
    *,
    jitter: float = 0.0,
    workers: int = 0,
    progress: bool = True,
    shards: int | None = None,
) -> Features:
    """Return the features of a data set; they are kept beside its shards for the next time.

    Parameters
    ----------
    folder : DatasetFolder
    preprocessing : Preprocessing
    targets : Targets
    jitter : float
        Standard deviation of the logarithm of a random zoom, which makes a network robust to the choice of the window.
    workers : int
        Processes; 0 for one on every core.
    progress : bool
        Whether to show a bar on stderr.
    shards : int, optional
        Use so many only, instead of all, which must be there then.
    """
    from tqdm import tqdm

    if shards is None:
        folder.complete()
    wanted = range(folder.settings.shards if shards is None else shards)
    one = partial(_cached, folder, preprocessing, targets, jitter)
    with ProcessPoolExecutor(workers or cores(), initializer=begin_worker) as pool:
        found = pool.map(one, wanted)
        parts = list(tqdm(found, total=len(wanted), unit="shard", desc="inputs", disable=not progress))
    size = folder.settings.shard
    moved = [
        Features(p.image, p.constants, p.answers, p.frame, p.rows + k * size)
        for k, p in zip(wanted, parts, strict=True)
    ]
    return Features.join(moved)


def _cached(
    folder: DatasetFolder, preprocessing: Preprocessing, targets: Targets, jitter: float, number: int
) -> Features:
    about = json.dumps([_VERSION, vars(preprocessing), vars(targets), jitter], sort_keys=True)
    key = hashlib.sha256(about.encode()).hexdigest()[:12]
    path = folder.path / f"inputs-{key}-{number:05d}.npz"
    try:
        with np.load(path, allow_pickle=False) as kept:
            return Features(*(kept[name] for name in Features.__dataclass_fields__))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there, or cut off: make it again
    rng = np.random.default_rng(np.random.SeedSequence(folder.settings.seed, spawn_key=(number, 1)))
    size = folder.settings.size(number)
    zooms = np.exp(np.clip(rng.normal(0.0, jitter, size), -0.4, 0.6)) if jitter > 0.0 else None
    made = shard_features(folder.shard(number), preprocessing, targets, zooms)
    if os.access(folder.path, os.W_OK):  # else they are made anew every time
        with atomic_path(path) as temporary:
            np.savez(temporary, **{name: getattr(made, name) for name in Features.__dataclass_fields__})
    return made
