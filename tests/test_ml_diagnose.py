"""Whether an experiment is inside what the network knows: calibrated on the prior, and loud where it is not."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hrxrd_ml import Reflection, RockingCurveModel
from hrxrd_ml.cli.main import main
from hrxrd_ml.errors import ExperimentError, ParameterError
from hrxrd_ml.guess.network.predict import Predictor, bundled_path
from hrxrd_ml.guess.network.targets import PROFILE
from hrxrd_ml.training.dataset import DatasetSettings
from hrxrd_ml.training.diagnose import diagnose
from hrxrd_ml.training.reference import Reference
from hrxrd_ml.training.shard import measurements, simulate_shard
from hrxrd_ml.training.verdict import verdict
from hrxrd_ml.units import ARCSEC

DEMO = Path(__file__).parents[1] / "src" / "hrxrd_ml" / "data" / "demo.csv"
GGG = Reflection("GGG", (4, 4, 4), "CuKa1")
NETWORK = Predictor.load(bundled_path())


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.draw(DatasetSettings(curves=400, seed=77), NETWORK)


def simulated(scale: float = 1e6, mirrored: bool = False) -> tuple[RockingCurveModel, np.ndarray, np.ndarray]:
    model = RockingCurveModel(GGG, axis_kind="offset", unit="arcsec")
    x = np.linspace(-1500.0, 150.0, 500)
    truth = model.make_params(scale=scale, background=3.0, D01=0.004, Rp2=-2000.0)
    counts = np.random.default_rng(8).poisson(model.eval(truth, x=x)).astype(float)
    return model, *((-x[::-1], counts[::-1]) if mirrored else (x, counts))


def fitted(**options):
    model, x, counts = simulated(**options)
    start = model.make_params(scale=options.get("scale", 1e6), background=3.0, D01=0.004, Rp2=-2000.0)
    return model.fit(counts, start, x=x, max_nfev=4 if options.get("mirrored") else None)


@pytest.mark.slow
def test_ranks_of_curves_of_the_prior_are_uniform(reference: Reference) -> None:
    """The network's features and the score of its domain, of other draws: no rank is more frequent than another."""
    other = Reference.draw(DatasetSettings(curves=200, seed=78), NETWORK)
    spacing = reference.neighbour_distances(10)
    distance = np.array([np.sort(reference.distances(place))[9] for place in other.place])
    for usual, found in ((spacing, distance), (reference.score, other.score)):
        ranks = np.mean(usual[None] >= found[:, None], axis=1)
        assert abs(ranks.mean() - 0.5) < 0.07  # some 0.02 of either sample
        assert np.mean(ranks <= 0.05) < 0.12


def test_the_nearest_curve_is_a_worse_guess_than_the_network(reference: Reference) -> None:
    network, nearest = reference.errors(reference.answer), reference.errors(reference.by_nearest())
    assert np.median(network) < 0.5 * np.median(nearest)
    # And a better one than any curve.
    any_other = {name: np.roll(column, 1) for name, column in reference.values.items()}
    assert np.median(nearest) < np.median(reference.errors(any_other))


def test_a_curve_of_the_prior_is_inside(reference: Reference) -> None:
    result = fitted()
    found = diagnose(result, reference)
    word, reasons = verdict(found)
    assert word == "as it is", reasons
    assert found["beyond"].size == 0
    assert found["score"] < 1.0
    assert np.all((found["below"] > 0.01) & (found["below"] < 0.99))
    assert np.all(found["surprise"] >= 2.0 * np.minimum(found["below"], 1.0 - found["below"]) - 1e-9)
    errors = found["curve_error"]
    assert errors.sel(guess="network") < 0.3 * errors.sel(guess="nearest curve")
    np.testing.assert_allclose(found["fit"], [result.params[name].value for name in PROFILE])
    np.testing.assert_allclose(found["expected"].sel(shown="fit"), result.best_fit, rtol=1e-9)


def test_an_error_of_the_step_is_seen_by_the_fit_and_not_by_the_network(reference: Reference) -> None:
    """Its answers are those of the apparent profile; on the curve they are as good as without such an error."""
    model, x, _ = simulated()
    truth = model.make_params(scale=1e6, background=3.0, D01=0.004, Rp2=-2000.0, step=1.03)
    counts = np.random.default_rng(8).poisson(model.eval(truth, x=x)).astype(float)
    found = diagnose(model.fit(counts, truth, x=x), reference)
    assert found["fit"].sel(parameter="L1") == pytest.approx(1.03 * truth["L1"].value, rel=0.02)
    errors = found["curve_error"]
    assert errors.sel(guess="network") < 0.3 * errors.sel(guess="nearest curve")
    assert verdict(found)[0] == "as it is"


def test_places_and_counts_within_radii(reference: Reference) -> None:
    found = diagnose(fitted(), reference)
    inner = np.all(np.abs(found["place"] - 0.5) < 0.2)  # no wall within the smallest box
    most = 1e6 * (2.0 * found["radius"].values) ** 7
    assert np.all(found["inside"] <= most * (1.0 + 1e-12))
    assert bool(inner) == bool(np.isclose(found["inside"][2], most[2]))
    assert np.all(np.diff(found["inside"]) > 0.0)
    cube = np.random.default_rng(3).random((200_000, 7))
    counted = np.mean(np.all(np.abs(cube - found["place"].values) < 0.3, axis=1)) * 1e6
    assert counted == pytest.approx(found["inside"].sel(radius=0.3).item(), rel=0.15)


@pytest.mark.parametrize(
    ("options", "words"), [({"mirrored": True}, "high-angle side"), ({"scale": 1e11}, "counts of")]
)
def test_what_is_outside_is_said(reference: Reference, options: dict, words: str) -> None:
    word, reasons = verdict(diagnose(fitted(**options), reference))
    assert word == "more data near"
    assert any(words in reason for reason in reasons), reasons


def test_verdicts_follow_the_numbers(reference: Reference) -> None:
    found = diagnose(fitted(), reference)

    def word(**changes: object) -> str:
        return verdict(
            found.assign({key: (found[key].dims, np.full(found[key].shape, v)) for key, v in changes.items()})
        )[0]

    assert word(features_rank=0.01) == "ensemble"
    assert word(score_rank=0.002) == "more data near"
    assert word(density=0.0) == "more data near"
    assert word(surprise=0.001) == "ensemble"
    assert word(excess_rank=0.01) == "ensemble"
    assert word(surprise=0.001, excess_rank=0.01) == "fine-tune"
    assert word(here=0.3) == "ensemble"


def test_models_that_the_network_does_not_know_are_refused(reference: Reference) -> None:
    model = RockingCurveModel(GGG, profile="bspline", axis_kind="offset", unit="arcsec")
    _, x, counts = simulated()
    with pytest.raises(ParameterError, match="implanted"):
        diagnose(model.fit(counts, model.make_params(scale=1e6), x=x, max_nfev=1), reference)
    with pytest.raises(ExperimentError, match="choose another"):
        Reference.draw(DatasetSettings(curves=10, seed=NETWORK.about["data"]["seed"]), NETWORK)


@pytest.mark.slow
def test_the_command_compares_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy, out = tmp_path / "other.safetensors", tmp_path / "out"
    shutil.copy(bundled_path(), copy)
    arguments = ["--curves", "400", "--network", "bundled", str(copy), "--out", str(out)]
    assert main(["diagnose", str(DEMO), *arguments]) == 0
    assert capsys.readouterr().out.startswith("**as it is**")
    assert (out / "diagnosis.png").stat().st_size > 5000
    with xr.open_dataset(out / "diagnosis.nc") as found:
        assert found.attrs["verdict"] == "as it is"
        assert found["guess"].values.tolist() == ["network", "nearest curve", str(copy)]
        first, second = (found["parameters"].sel(guess=name) for name in ("network", str(copy)))
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_few_curves_of_the_prior_are_called_unusual() -> None:
    """Fits of curves with everything that the prior has: nearly all are inside."""
    reference = Reference.draw(DatasetSettings(curves=1000, seed=77), NETWORK)
    words: Counter[str] = Counter()
    for measured in measurements(simulate_shard(DatasetSettings(curves=80, seed=79), 0)):
        model = RockingCurveModel(measured.reflection, resolution="pseudo_voigt", axis_kind="offset", unit="arcsec")
        start = model.make_params(**measured.values)
        words[verdict(diagnose(model.fit(measured.intensity, start, x=measured.dtheta / ARCSEC), reference))[0]] += 1
    assert words["as it is"] >= 70
    assert words["more data near"] <= 3
