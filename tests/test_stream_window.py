"""The network's view of whole batches against the same of one curve at a time."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="makes inputs for a training, which needs torch")
import xarray as xr
from torch import Tensor

from hrxrd_ml.guess.landmarks import Landmarks, landmarks
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.guess.network.targets import Targets
from hrxrd_ml.guess.network.window import Preprocessing
from hrxrd_ml.training.catalogue import Reflections
from hrxrd_ml.training.dataset import DatasetSettings
from hrxrd_ml.training.features import Features, shard_features
from hrxrd_ml.training.landmarks import Windows, windows
from hrxrd_ml.training.shard import measurements, simulate_shard
from hrxrd_ml.units import ARCSEC

PREPROCESSING = Preprocessing()


@pytest.fixture(scope="module")
def shard() -> xr.Dataset:
    made = simulate_shard(DatasetSettings.read("universal", curves=256, shard=256, seed=20), 0)
    # Nobody can find the peak of these: nothing but background, no counts, and a single point.
    counts = made["counts"].values
    seen = np.isfinite(counts)
    counts[3, seen[3]] = 4.0
    counts[4, seen[4]] = 0.0
    counts[5, 1:], counts[5, 0] = np.nan, 7.0
    return made


@pytest.fixture(scope="module")
def zooms() -> np.ndarray:
    return np.exp(np.random.default_rng(1).normal(0.0, 0.15, 256))


@pytest.fixture(scope="module")
def expected(shard: xr.Dataset, zooms: np.ndarray) -> Features:
    return shard_features(shard, PREPROCESSING, Targets(), zooms)


def batch(shard: xr.Dataset) -> tuple[StrainAxis, Tensor, Tensor, Tensor]:
    counts = shard["counts"].values
    first, step = shard["first"].values[:, None], shard["step"].values[:, None]
    dtheta = torch.tensor((first + step * np.arange(counts.shape[1])) * ARCSEC, dtype=torch.float32)
    axes = Reflections.of([measured.reflection for measured in measurements(shard)]).axes
    return axes, dtheta, torch.tensor(counts), torch.tensor(np.isfinite(counts))


@pytest.fixture(scope="module")
def found(shard: xr.Dataset, zooms: np.ndarray) -> Windows:
    return windows(PREPROCESSING, *batch(shard), torch.tensor(zooms[:, None], dtype=torch.float32))


def ambiguous(shard: xr.Dataset) -> np.ndarray:
    """Return for which curves with a peak rounding decides whether a point belongs to the low-angle side."""
    found = []
    for i, measured in enumerate(measurements(shard)):
        if i not in (3, 4, 5):
            arcsec = measured.dtheta / ARCSEC
            marks = landmarks(arcsec, measured.intensity)
            nearest = np.min(np.abs(arcsec - (marks.peak - 4.0 * marks.width)))
            found.append(nearest < 1e-6 * np.median(np.diff(arcsec)))
    return np.array(found)


def test_batches_look_as_single_curves_do(shard: xr.Dataset, expected: Features, found: Windows) -> None:
    assert np.flatnonzero(found.good.numpy()).tolist() == expected.rows.tolist()
    rows = torch.as_tensor(expected.rows)
    image, constants = found.image[rows].numpy(), found.constants[rows].numpy()
    span, peak, height = (getattr(found.window, name)[rows, 0].numpy() for name in ("span", "peak", "height"))
    off = np.max(np.abs(image - expected.image.reshape(image.shape)), axis=(1, 2))
    wider = np.abs(span / expected.frame[:, 0] - 1.0)
    clear = ~ambiguous(shard)
    assert np.mean(clear) > 0.5
    assert np.max(off[clear]) < 0.003  # most of it is the half precision of what is expected
    assert np.max(wider[clear]) < 1e-5
    assert np.max(np.abs(constants - expected.constants)[clear]) < 1e-3
    assert height == pytest.approx(expected.frame[:, 2])
    assert np.max(np.abs(peak - expected.frame[:, 1]) / span) < 1e-5
    # Where a point is at the limit, `landmarks` takes it or not by chance, and the edge may be another one.
    assert np.mean(off < 0.003) > 0.96
    assert np.mean(wider < 0.01) > 0.98


def test_curves_without_a_peak_are_marked_and_finite(found: Windows) -> None:
    assert np.flatnonzero(~found.good.numpy()).tolist() == [3, 4, 5]
    for part in (*vars(found.window).values(), found.image, found.constants):
        assert torch.isfinite(part).all()
    assert found.image.dtype == found.constants.dtype == torch.float32


def test_what_is_not_measured_does_not_matter(shard: xr.Dataset, zooms: np.ndarray, found: Windows) -> None:
    axes, dtheta, counts, valid = batch(shard)
    more = torch.nn.functional.pad(counts.where(valid, 1e9), (7, 40), value=-1.0)
    step = dtheta.diff(dim=1)[:, :1]
    longer = torch.cat([dtheta[:, :1] - step * torch.arange(7.0, 0.0, -1.0), dtheta], dim=1)
    longer = torch.cat([longer, dtheta[:, -1:] + step * torch.arange(1.0, 41.0)], dim=1)
    again = windows(
        PREPROCESSING,
        axes,
        longer,
        more,
        torch.nn.functional.pad(valid, (7, 40)),
        torch.tensor(zooms[:, None], dtype=torch.float32),
    )
    same = (again.window.span / found.window.span - 1.0).abs()[:, 0] < 1e-5
    assert same.float().mean() > 0.99
    assert (again.image - found.image)[same].abs().max() < 1e-3


def test_a_window_is_the_same_for_numpy_and_torch(shard: xr.Dataset) -> None:
    """In double precision and with the same landmarks, whatever stands behind the last point."""
    measured = [m for i, m in enumerate(measurements(shard)) if i not in (3, 4, 5)][:20]
    longest = max(len(m.dtheta) for m in measured)
    padded = [np.pad(v, (0, longest - len(v)), mode="edge") for m in measured for v in (m.dtheta, m.intensity)]
    marks = [landmarks(m.dtheta / ARCSEC, m.intensity) for m in measured]

    def column(values: list[float]) -> Tensor:
        return torch.tensor(np.array(values))[:, None]

    axes = Reflections.of([m.reflection for m in measured], dtype=torch.float64).axes
    found = PREPROCESSING.show(
        axes,
        torch.tensor(np.array(padded[::2])),
        torch.tensor(np.array(padded[1::2])),
        Landmarks(*(column([vars(one)[field.name] for one in marks]) for field in fields(Landmarks))),
        1.1,
        column([len(m.dtheta) - 1 for m in measured]),
    )
    for i, m in enumerate(measured):
        axis = StrainAxis.of(m.reflection)
        window, image, constants = PREPROCESSING.prepare(axis, m.dtheta, m.intensity, zoom=1.1)
        assert float(found[0].span[i]) == pytest.approx(window.span, rel=1e-12)
        assert found[1][i].numpy() == pytest.approx(image, abs=1e-9)
        # NumPy takes the mean of the two spacings in the middle, torch the lower one.
        assert float(found[2][i, 7]) == pytest.approx(constants[7], abs=1e-4)
        assert np.delete(found[2][i].numpy(), 7) == pytest.approx(np.delete(constants, 7), abs=1e-12)
