"""Curves that are made while a network is trained: as the library's own simulation makes them, but in batches."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.ml import feed, train
from hrxrd_ml.ml.dataset import DatasetSettings
from hrxrd_ml.ml.features import shard_features
from hrxrd_ml.ml.plan import NetworkSettings, Plan
from hrxrd_ml.ml.predict import Predictor
from hrxrd_ml.ml.prior import MOST_FRINGES, FixedPrior, UniversalPrior
from hrxrd_ml.ml.recipe import Training, TrainSettings
from hrxrd_ml.ml.scale import StrainAxis
from hrxrd_ml.ml.shard import simulate_shard
from hrxrd_ml.ml.stream import physics
from hrxrd_ml.ml.stream.axes import Axes
from hrxrd_ml.ml.stream.catalogue import Catalogue, Reflections
from hrxrd_ml.ml.stream.physics import Simulator, implanted
from hrxrd_ml.ml.stream.prior import Draw, profiles
from hrxrd_ml.ml.stream.source import FixedSource, UniversalSource
from hrxrd_ml.ml.targets import Targets
from hrxrd_ml.ml.window import Preprocessing
from hrxrd_ml.parameters import implanted_space
from hrxrd_ml.reflection import Reflection
from hrxrd_ml.sample.profile import ImplantedProfile
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.units import ARCSEC

REFLECTIONS = (
    Reflection("GGG", (4, 4, 4), "CuKa1"),
    Reflection("GaAs", (2, 2, 4), "CuKa1", surface=(0, 0, 1)),
    Reflection("Si", (0, 0, 4), "CuKa1", polarization_ratio=0.0),
    Reflection("InSb", (0, 0, 4), "CuKa1"),
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_crystal_amplifies() -> None:
    """Where susceptibilities vary, those of reflections that absorb least between their planes (InSb 022) too."""
    known = Reflections.of([Reflection("InSb", (0, 2, 2), "CuKa1"), Reflection("GGG", (4, 4, 4), "CuKa1")])
    assert known.modulation[0] > 0.9
    drawn = known.varied(torch.tensor([0.9, 1.1]), torch.tensor([1.1, 0.9]), torch.ones(2))
    assert torch.all(drawn.modulation < 1.0)
    ratio = drawn.coupling_h[:, 0].abs() / known.coupling_h[:, 0].abs()
    assert ratio[0] == pytest.approx(0.995 * 0.9 / float(known.modulation[0]))
    assert ratio[1] == pytest.approx(0.9)
    assert drawn.darwin / known.darwin == pytest.approx(ratio)
    prior = UniversalPrior(crystals=("InSb",), wavelengths=("CuKa1",))
    unit = np.random.default_rng(3).random((160, prior.columns))
    groups = list(prior.groups(unit, np.random.default_rng(4)))
    assert all(group.reflection.susceptibility.modulation() < 1.0 for group in groups)


def test_the_axes_are_those_of_single_reflections() -> None:
    known = [StrainAxis.of(r) for r in REFLECTIONS]
    axes = Axes.of(known)
    angle = np.linspace(-0.03, 0.005, 9)
    batch = torch.tensor(np.tile(angle, (len(known), 1)), dtype=torch.float32)
    x, y = axes.coordinates(batch)
    for i, axis in enumerate(known):
        x_i, y_i = axis.deviation.axes(angle)
        assert x[i].numpy() == pytest.approx(x_i, rel=1e-6)
        assert y[i].numpy() == pytest.approx(y_i, rel=1e-6, abs=1e-9)
        assert axes.flux(batch)[i].numpy() == pytest.approx(axis.deviation.flux(angle), rel=1e-6)
        assert axes.constants(torch.full((len(known),), 0.02))[i].numpy() == pytest.approx(
            axis.constants(0.02), abs=1e-5
        )
    strain = axes.strain(batch)
    assert axes.offset(strain).numpy() == pytest.approx(batch.numpy(), abs=1e-6)


def test_profiles_are_those_of_the_parameter_space() -> None:
    unit = np.random.default_rng(1).random((50, 7))
    exact = implanted_space().from_unit(unit)
    found = profiles(torch.tensor(unit, dtype=torch.float32))
    for name, column in exact.items():
        assert found[name].numpy() == pytest.approx(column, rel=1e-5, abs=1e-6), name
    depth = np.linspace(0.0, 0.999, 40)
    strain = implanted(found, torch.tensor(depth, dtype=torch.float32) * found["L1"][:, None])
    for i in range(50):
        values = {name: float(column[i]) for name, column in exact.items()}
        assert strain[i].numpy() == pytest.approx(ImplantedProfile().evaluate(depth * values["L1"], values), rel=2e-4)


@pytest.mark.parametrize("reflection", REFLECTIONS, ids=lambda r: r.crystal.name)
def test_curves_are_those_of_the_model(reflection: Reflection) -> None:
    """Within a few parts in a thousand; the far Lorentzian tails, which differ, are left out."""
    n = 6
    profile = implanted_space().from_unit(np.random.default_rng(3).random((n, 7)))
    common = {
        "fwhm": 12.0, "eta": 0.0, "damage": 0.4, "correlation_length": 100.0, "diffuse_mix": 0.3,
        "substrate_damage": 0.01, "substrate_correlation_length": 2000.0, "substrate_diffuse_mix": 0.5,
        "curvature": 10.0, "curvature_skew": 1.0,
    }  # fmt: skip
    values = {name: torch.tensor(column, dtype=torch.float32) for name, column in profile.items()}
    values |= {name: torch.full((n,), value) for name, value in common.items()}
    farthest = float(StrainAxis.of(reflection).offset(0.033)[0])
    angle = np.linspace(farthest, 200.0 * ARCSEC, 700)
    margin = 100.0 * ARCSEC
    with torch.no_grad():
        curve = Simulator().curve(
            Reflections.of([reflection] * n), values, torch.full((n,), farthest - margin),
            torch.full((n,), 200.0 * ARCSEC + margin),
        )  # fmt: skip
        found = curve.at(torch.tensor(np.tile(angle, (n, 1)), dtype=torch.float32)).numpy()
    model = RockingCurve.of(reflection, resolution="pseudo_voigt", tolerance=1e-4)
    bound, base = model.bind(angle), model.space.defaults() | {"background": 0.0, "scale": 1.0, "offset": 0.0} | common
    for i in range(n):
        exact = bound.curve(base | {name: float(column[i]) for name, column in profile.items()})
        error = np.abs(found[i] - exact) / (exact + 1e-6)
        assert np.median(error) < 0.005
        assert np.quantile(error, 0.99) < 0.03


def test_reflections_are_drawn_as_often_as_the_prior_says() -> None:
    prior = UniversalPrior(crystals=("Si", "Si", "GaAs"), wavelengths=("CuKa1",))
    catalogue = Catalogue.of(prior)
    draw = Draw(prior, catalogue, generator(1))
    chosen = catalogue.draw(draw.uniform(20_000), torch.zeros(20_000))
    share = np.bincount(chosen.numpy(), minlength=len(catalogue.reflections)) / 20_000
    wanted = np.diff(catalogue.cumulative.numpy(), prepend=0.0)
    assert share == pytest.approx(wanted, abs=0.015)
    closest = torch.full((1000,), 1.2)
    few = catalogue.draw(draw.uniform(1000), closest)
    assert bool((catalogue.reflections.spacing[few] >= 1.2).all())


def test_a_universal_batch_has_the_distribution_of_a_data_set() -> None:
    """Means of inputs and answers agree with those of a shard within what their scatter allows."""
    prior, plan = UniversalPrior(crystals=("GGG", "Si"), wavelengths=("CuKa1",)), Plan()
    source = UniversalSource(prior, plan, generator(5))
    batch = source.batch(256)
    again = UniversalSource(prior, plan, generator(5)).batch(256)
    assert torch.equal(batch.image, again.image)
    assert torch.equal(batch.answers, again.answers)
    settings = DatasetSettings(curves=512, seed=6, shard=512, prior=prior)
    shard = shard_features(simulate_shard(settings, 0), plan.preprocessing, plan.targets)
    for mine, theirs in (
        (batch.constants, shard.constants),
        (batch.answers, shard.answers),
        (batch.image, shard.image),
    ):
        a, b = mine.numpy().astype(float), theirs.astype(float)
        # 32 experiments in the shard: what belongs to an experiment scatters with their number.
        scatter = np.hypot(a.std(axis=0) / math.sqrt(128), b.std(axis=0) / math.sqrt(32)) + 0.02
        assert np.all(np.abs(a.mean(axis=0) - b.mean(axis=0)) < 4.5 * scatter)


def test_a_universal_scan_is_one_that_somebody_would_measure() -> None:
    prior = UniversalPrior(crystals=("GGG", "Si"), wavelengths=("CuKa1", "MoKa1"))
    draw = Draw(prior, Catalogue.of(prior), generator(2))
    scans = draw.scans(400)
    points = scans.measured.sum(dim=1)
    assert int(points.max()) <= prior.most_points
    assert int(points.min()) > 120
    step = torch.diff(scans.dtheta, dim=1)[:, 0] / ARCSEC
    assert bool((scans.values["fwhm"] > 1.1 * step).all())
    depth = torch.linspace(0.0, 1.0, 129) * scans.values["L1"][:, None]
    size = implanted(scans.values, depth).amax(dim=1) * scans.values["L1"] / scans.reflections.spacing
    assert float(size.max()) <= MOST_FRINGES * 1.001
    low, high = scans.ends()
    assert bool((low < 0.0).all() & (high > 0.0).all())


def test_fixed_curves_are_those_of_the_thesis_setting() -> None:
    plan = Plan(Preprocessing(kind="fixed", points=701), Targets("linear"))
    prior = FixedPrior()
    batch = FixedSource(prior, plan, generator(3)).batch(12)
    assert batch.image.shape == (12, 701)
    model = RockingCurve.of(prior.reflection, resolution="pseudo_voigt", tolerance=1e-4)
    base = model.space.defaults() | {
        "scale": 1.0, "background": 0.0, "fwhm": prior.fwhm, "eta": 0.0, "damage": 0.0, "substrate_damage": 0.0,
        "offset": 0.0,
    }  # fmt: skip
    bound = model.bind(prior.dtheta)
    values = plan.targets.decode(batch.answers.numpy().astype(float))
    errors = []
    for i in range(12):
        exact = plan.preprocessing.fixed(bound.curve(base | {name: float(c[i]) for name, c in values.items()}))
        errors.append(np.abs(batch.image[i].numpy() - exact))
    assert np.median(errors) < 5e-4
    assert np.quantile(errors, 0.99) < 0.02


def test_curves_without_a_peak_are_left_out() -> None:
    prior = UniversalPrior(crystals=("Si",), wavelengths=("CuKa1",), counts=(1.0, 20.0))
    batch = UniversalSource(prior, Plan(), generator(4)).batch(64)
    assert len(batch) == 64
    assert bool(batch.image.isfinite().all() & batch.constants.isfinite().all() & batch.answers.isfinite().all())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Training:
    """A small training, and small blocks of coarse curves."""
    for name, value in (("LAMELLAE", 16), ("_EVEN", 128), ("_CELLS", 256)):
        monkeypatch.setattr(physics, name, value)
    for name, value in (("_CHECKED", 64), ("_BLOCK", 64)):
        monkeypatch.setattr(feed, name, value)
    for name, value in (("_NORMALISED", 64), ("_DOMAIN", 128)):
        monkeypatch.setattr(train, name, value)
    plan = Plan(
        Preprocessing(kind="fixed", points=128),
        Targets("linear"),
        NetworkSettings(architecture="tokens", width=32, depth=1, components=1),
    )
    return Training(plan, TrainSettings(epochs=3, batch=16, loss="absolute", averaging=4, precision="fp32"))


SMALL = DatasetSettings(curves=32, seed=9, prior=FixedPrior(points=128, step=22.0))


def test_a_training_on_new_curves_goes_on_where_it_was(small: Training, tmp_path: Path) -> None:
    """The same network comes out, whether there was an interruption or not; batches are made four at a time."""
    whole = train.Trainer(small, SMALL, tmp_path / "whole", device="cpu", progress=False).run()
    for _ in range(6):
        part = train.Trainer(small, SMALL, tmp_path / "part", device="cpu", progress=False)
        done = part.run(seconds=0.0)  # one step
    assert done is not None
    assert whole is not None
    a, b = (Predictor.load(path).forward.arrays for path in (whole, done))
    assert part.step == part.steps == 6
    for name, array in a.items():
        assert np.array_equal(array, b[name]), name


def test_a_training_finishes_in_time(small: Training, tmp_path: Path) -> None:
    long = dataclasses.replace(small, settings=dataclasses.replace(small.settings, epochs=100_000, patience=100_000))
    trainer = train.Trainer(long, SMALL, tmp_path, device="cpu", progress=False, finish_in=1.0)
    assert trainer.run() is not None
    assert 0 < trainer.step < trainer.steps
    assert trainer.log[-1]["step"] == trainer.step
    assert trainer.rate() == pytest.approx(0.0, abs=1e-9)


def test_an_epoch_smaller_than_a_batch_is_refused(small: Training, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="fewer than a batch"):
        train.Trainer(small, dataclasses.replace(SMALL, curves=8), tmp_path, device="cpu", progress=False)
