"""Curves that are made while a network is trained: as the library's own simulation makes them, but in batches."""

import dataclasses
import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="makes curves for a training, which needs torch")

from hrxrd_ml import Reflection, RockingCurve
from hrxrd_ml.diffraction import reference
from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.guess.network.plan import NetworkSettings, Plan
from hrxrd_ml.guess.network.predict import Predictor
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.guess.network.targets import Targets
from hrxrd_ml.guess.network.window import Preprocessing
from hrxrd_ml.guess.strategy import REFINEMENTS
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile, implanted_space
from hrxrd_ml.training import feed, simulator, train
from hrxrd_ml.training.arrays import TorchArrays
from hrxrd_ml.training.catalogue import Catalogue, Reflections
from hrxrd_ml.training.dataset import DatasetSettings
from hrxrd_ml.training.features import shard_features
from hrxrd_ml.training.prior import GAPS, MOST_FRINGES, STRATIFIED, Draws, FixedPrior, UniversalPrior
from hrxrd_ml.training.recipe import Training, TrainSettings
from hrxrd_ml.training.shard import simulate_shard
from hrxrd_ml.training.simulator import Simulator, implanted
from hrxrd_ml.training.source import FixedSource, Scans, UniversalSource, profiles
from hrxrd_ml.units import ARCSEC

# At a Bragg angle of 46 degrees: below it polarisation pi vanishes.
NEAR_45 = 2.0 * Reflection("GaAs", (0, 0, 4)).d_spacing * math.sin(math.radians(46.0))

REFLECTIONS = (
    Reflection("GGG", (4, 4, 4), "CuKa1"),
    Reflection("GaAs", (2, 2, 4), "CuKa1", surface=(0, 0, 1)),
    Reflection("Si", (0, 0, 4), "CuKa1", polarization_ratio=0.0),
    Reflection("InSb", (0, 0, 4), "CuKa1"),
    Reflection("GaAs", (1, 1, 5), "CuKa1", surface=(0, 0, 1), exit="low"),
    Reflection("GaAs", (0, 0, 4), NEAR_45, polarization_ratio=math.inf),
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_crystal_amplifies() -> None:
    """Where susceptibilities vary, those of reflections that absorb least between their planes (InSb 022) too."""
    known = Reflections.of([Reflection("InSb", (0, 2, 2), "CuKa1"), Reflection("GGG", (4, 4, 4), "CuKa1")])
    assert known.modulation[0] > 0.9
    prior = UniversalPrior(crystals=("InSb",), wavelengths=("CuKa1",))
    fixed = given(
        torch.tensor([[[0.5], [0.5]], [[0.5], [0.5]], [[0.0], [0.0]], [[0.0], [1.0]], [[1.0], [0.0]]]), TorchArrays()
    )
    drawn = known.varied(prior.beam(fixed, known.modulation))
    assert torch.all(drawn.modulation < 1.0)
    ratio = drawn.chih[:, 0].abs() / known.chih[:, 0].abs()
    assert float(ratio[0]) == pytest.approx(0.995 * 0.9 / float(known.modulation[0]))
    assert float(ratio[1]) == pytest.approx(0.9)
    assert drawn.darwin / known.darwin == pytest.approx(ratio)
    unit = np.random.default_rng(3).random((160, prior.columns))
    groups = list(prior.groups(unit, np.random.default_rng(4)))
    assert all(group.reflection.susceptibility.modulation() < 1.0 for group in groups)


def given(numbers: Any, arrays: Any) -> Draws:
    """Draws that are given: the first axis of ``numbers`` counts the calls."""
    left = iter(numbers)

    def uniform(low: float = 0.0, high: float = 1.0) -> Any:
        return low + (high - low) * next(left)

    def same(values: Any) -> Any:
        return values

    return Draws(
        arrays, uniform, uniform, lambda count: arrays.floor(count * next(left)), lambda _: next(left), same, same
    )


def test_the_prior_is_the_same_for_numpy_and_torch() -> None:
    """Given the same numbers from 0 to 1, experiments, scans and parameters are the same."""
    prior, rng = UniversalPrior(), np.random.default_rng(2)
    known, n = Reflections.of(REFLECTIONS, dtype=torch.float64), 200
    numbers, strain = rng.random((60, n, 1)), rng.uniform(1e-3, 0.03, (n, 1))
    chosen = torch.tensor(rng.integers(len(REFLECTIONS), size=n))
    r = known.take(chosen)
    columns = r.modulation, r.darwin / ARCSEC, 4000.0 * torch.tensor(strain) / r.spacing, torch.tensor(strain)

    def drawn(draws: Draws, axis: StrainAxis, modulation: Any, *about: Any) -> dict[str, Any]:
        found = prior.scan(draws, axis, *about, about[-1])
        parts = prior.beam(draws, modulation)._asdict() | found._asdict()
        return parts | parts.pop("values")

    in_numpy = dataclasses.replace(r.axes.each(lambda _, column: column.numpy()), arrays=np)
    one = drawn(given(numbers, np), in_numpy, *(column.numpy() for column in columns))
    two = drawn(given(torch.tensor(numbers), TorchArrays()), r.axes, *columns)
    assert one.keys() == two.keys()
    assert set(REFINEMENTS) <= set(one)
    for name, column in one.items():
        assert column.shape == (n, 1), name
        assert np.ptp(column) > 0.0, name
        assert two[name].numpy() == pytest.approx(column, rel=1e-9), name


def test_curves_have_what_is_left_at_its_default_by_a_prior_without_refinements() -> None:
    prior = UniversalPrior(crystals=("GGG",), wavelengths=("CuKa1",), refinements=False)
    values = Scans.draw(prior, Catalogue.of(prior), 4, generator(1)).values
    assert not {*REFINEMENTS, "step"} & set(values)
    assert len(UniversalSource(prior, Plan(), generator(1)).batch(4)) == 4


def waves(reflection: Reflection, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return angles of incidence and exit at offsets [rad]: what is along the surface is conserved."""
    entry = reflection.bragg_angle + reflection.inclination + angle
    along = reflection.diffraction_vector * math.sin(reflection.inclination) / reflection.wavenumber
    return entry, np.arccos(np.cos(entry) + along)


def test_the_axes_of_a_batch_are_those_of_single_reflections() -> None:
    """In single precision too."""
    axes = Reflections.of(REFLECTIONS).axes
    angle = np.linspace(-0.03, 0.005, 9)
    batch = torch.tensor(np.tile(angle, (len(REFLECTIONS), 1)), dtype=torch.float32)
    found = axes.waves(batch)
    constants = torch.cat(axes.constants(torch.full((len(REFLECTIONS), 1), 0.02)), dim=1)
    for i, reflection in enumerate(REFLECTIONS):
        entry, exit = waves(reflection, angle)
        k, normal = reflection.wavenumber, reflection.diffraction_vector * math.cos(reflection.inclination)
        assert found.mismatch[i].numpy() == pytest.approx(k * (np.sin(entry) + np.sin(exit)) - normal, rel=1e-6)
        sines = {"gamma0": np.sin(entry), "gammah": np.sin(exit)}
        for name, expected in (sines | {"along": np.cos(entry) * np.cos(exit), "sine": np.sin(entry + exit)}).items():
            assert vars(found)[name][i].numpy() == pytest.approx(expected, rel=1e-6, abs=2e-7), name
        assert constants[i].numpy() == pytest.approx(StrainAxis.of(reflection).constants(0.02), abs=1e-5)
    strain = axes.strain(batch)
    assert axes.offset(strain).numpy() == pytest.approx(batch.numpy(), abs=1e-6)


def test_profiles_are_those_of_the_model() -> None:
    found = profiles(50, generator(1))
    depth = np.linspace(0.0, 0.999, 40)
    strain = implanted(found, torch.tensor(depth, dtype=torch.float32) * found["L1"])
    space = implanted_space()
    for i in range(50):
        values = {name: float(column[i]) for name, column in found.items()}
        assert not space.violations(values, tolerance=1e-6)
        assert strain[i].numpy() == pytest.approx(ImplantedProfile().evaluate(depth * values["L1"], values), rel=2e-4)


def riccati(
    reflection: Reflection, angle: np.ndarray, thickness: float, strain: np.ndarray, e: np.ndarray, below: float
) -> np.ndarray:
    """Return the coherent reflectivity, exact for uniform lamellae; all waves have the angles of each offset."""
    chi, k = reflection.susceptibility, reflection.wavenumber
    entry, exit = waves(reflection, angle)
    inside = [np.sqrt(np.sin(a) ** 2 + chi.chi0) for a in (entry, exit)]
    real = inside[0].real * inside[1].real
    cosine = (np.cos(entry) * np.cos(exit) - real) / (1.0 + chi.chi0.real)
    normal = reflection.diffraction_vector * math.cos(reflection.inclination)
    total = np.zeros(len(angle))
    for p, weight in enumerate(reflection.polarization_weights):
        factor = 0.5 * k * (np.abs(cosine) if p else 1.0) / np.sqrt(real)
        forth, back = (factor * part for part in chi.pair(p))
        r = reference.substrate(k * sum(inside) - normal, below * forth, below * back)
        for own, dimmed in zip(strain[::-1], e[::-1], strict=True):
            u = k * sum(inside) - normal / (1.0 + own)
            r = reference.uniform_lamella(r, u, dimmed * forth, dimmed * back, thickness)
        total += weight * np.abs(r) ** 2
    return total


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("lamellae", [128, 512])
def test_lamellae_are_those_of_the_exact_recursion(lamellae: int, dtype: torch.dtype) -> None:
    """Each one has an error of the second order in its thickness over the extinction length."""
    rng = np.random.default_rng(1)
    n, thickness = len(REFLECTIONS), 3000.0 / lamellae
    z = np.linspace(0.0, 1.0, lamellae)
    strain = [0.01 * rng.random() * np.sin(np.pi * z * rng.uniform(0.5, 1.0)) for _ in REFLECTIONS]
    e = [np.exp(-30.0 * own) for own in strain]
    known = Reflections.of(REFLECTIONS, dtype=dtype)
    angle = np.linspace(-0.01, 0.005, 151)
    optics = known.at(torch.tensor(np.tile(angle, (n, 1)), dtype=dtype))
    parts = np.full((n, 1), thickness), np.array(strain), np.array(e), np.full((n, 1), 0.95)
    found = Simulator().coherent(known, optics, *(torch.tensor(part, dtype=dtype) for part in parts)).numpy()
    for i, reflection in enumerate(REFLECTIONS):
        expected = riccati(reflection, angle, thickness, strain[i], e[i], 0.95)
        error = np.abs(found[i] - expected).max() / expected.max()
        # The square is that of 3000 Å; absorption enters to first order, and single precision has its own errors.
        assert error < 0.7 / lamellae**2 + (5e-6 if dtype == torch.float64 else 2e-4)


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
    values = {name: torch.tensor(column[:, None], dtype=torch.float32) for name, column in profile.items()}
    values |= {name: torch.full((n, 1), value) for name, value in common.items()}
    farthest = float(StrainAxis.of(reflection).offset(np.array([0.033]))[0])
    angle = np.linspace(farthest, 200.0 * ARCSEC, 700)
    margin = 100.0 * ARCSEC
    with torch.no_grad():
        curve = Simulator().curve(
            Reflections.of([reflection] * n), values, torch.full((n, 1), farthest - margin),
            torch.full((n, 1), 200.0 * ARCSEC + margin),
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
    """By trial and error for a data set, from a list for a batch: with the same probabilities."""
    prior = UniversalPrior(crystals=("Si", "Si", "GaAs"), wavelengths=("CuKa1",), group=1)
    catalogue, count = Catalogue.of(prior), 4000
    chosen = catalogue.draw(torch.rand(20_000, generator=generator(1)), torch.zeros(20_000))
    share = np.bincount(chosen.numpy(), minlength=len(catalogue.reflections)) / 20_000
    wanted = np.diff(catalogue.cumulative.numpy(), prepend=0.0)
    assert share == pytest.approx(wanted, abs=0.015)
    rng = np.random.default_rng(1)
    draws = Draws.of_group(np.zeros((1, len(STRATIFIED))), rng)
    spacing = np.array([prior.draw_reflection(1.0, draws, rng).d_spacing for _ in range(count)])
    known = catalogue.reflections.spacing[:, 0].numpy()
    for least in (0.7, 0.8, 1.0, 1.5, 3.0):
        expected = wanted[known > least].sum()
        assert np.mean(spacing > least) == pytest.approx(expected, abs=4.0 * math.sqrt(0.25 / count))
    few = catalogue.draw(torch.rand(1000, generator=generator(2)), torch.full((1000,), 1.2))
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
    scans = Scans.draw(prior, Catalogue.of(prior), 400, generator(2))
    points = scans.measured.sum(dim=1)
    assert int(points.max()) <= prior.most_points
    assert int(points.min()) > 120
    step = torch.diff(scans.dtheta, dim=1)[:, 0] / ARCSEC
    assert bool((scans.values["fwhm"][:, 0] > 1.1 * step).all())
    depth = torch.linspace(0.0, 1.0, 129) * scans.values["L1"]
    size = implanted(scans.values, depth).amax(dim=1, keepdim=True) * scans.values["L1"] / scans.reflections.spacing
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


def test_as_many_scans_have_gaps_in_a_data_set_as_in_a_batch() -> None:
    prior, n = UniversalPrior(crystals=("GGG", "Si"), wavelengths=("CuKa1",)), 800
    unit = np.random.default_rng(1).random((n, prior.columns))
    kept = [row for group in prior.groups(unit, np.random.default_rng(2)) for row in group.kept]
    measured = Scans.draw(prior, Catalogue.of(prior), n, generator(6)).measured.numpy()
    for rows in (kept, measured):
        gaps = sum(np.sum(row) < np.ptp(np.flatnonzero(row)) + 1 for row in rows)
        # A few gaps stand at an end of a scan, where they do not show.
        assert gaps / n == pytest.approx(0.97 * GAPS, abs=4.0 * math.sqrt(GAPS / n))


def test_curves_without_a_peak_are_left_out() -> None:
    prior = UniversalPrior(crystals=("Si",), wavelengths=("CuKa1",), counts=(1.0, 20.0))
    batch = UniversalSource(prior, Plan(), generator(4)).batch(64)
    assert len(batch) == 64
    assert bool(batch.image.isfinite().all() & batch.constants.isfinite().all() & batch.answers.isfinite().all())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Training:
    """A small training, and small blocks of coarse curves."""
    for name, value in (("LAMELLAE", 16), ("_EVEN", 128), ("_CELLS", 256)):
        monkeypatch.setattr(simulator, name, value)
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


def test_a_training_finishes_in_time(small: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of its own, which a hundredth of a second passes on whenever it is read: on a machine of any speed."""
    readings = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 0.01 * next(readings))
    monkeypatch.setattr(train, "time", clock)
    long = dataclasses.replace(small, settings=dataclasses.replace(small.settings, epochs=100_000, patience=100_000))
    trainer = train.Trainer(long, SMALL, tmp_path, device="cpu", progress=False, finish_in=1.0)
    assert trainer.run() is not None
    assert 0 < trainer.step < trainer.steps
    assert trainer.log[-1]["step"] == trainer.step
    assert trainer.rate() == pytest.approx(0.0, abs=1e-9)


def test_an_epoch_smaller_than_a_batch_is_refused(small: Training, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="fewer than a batch"):
        train.Trainer(small, dataclasses.replace(SMALL, curves=8), tmp_path, device="cpu", progress=False)
