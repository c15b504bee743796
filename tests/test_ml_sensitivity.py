"""Sensitivities are those of differences, follow what is known of them, and name what stands out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hrxrd_ml import Reflection, RockingCurve, read_curve
from hrxrd_ml.cli.main import main
from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.guess.network.predict import Predictor, bundled_path
from hrxrd_ml.guess.network.targets import PROFILE
from hrxrd_ml.training import sensitivity
from hrxrd_ml.training.dataset import DatasetSettings
from hrxrd_ml.units import ARCSEC

DEMO = Path(__file__).parents[1] / "src" / "hrxrd_ml" / "data" / "demo.csv"


@pytest.fixture(scope="module")
def bound():
    model = RockingCurve.of(Reflection("GGG", (4, 4, 4), "CuKa1"), tolerance=1e-6)
    return model.bind(np.linspace(-1500.0, 100.0, 400) * ARCSEC)


@pytest.fixture
def values(bound) -> dict[str, float]:
    return bound.model.space.defaults() | {"scale": 1e5, "background": 2.0}


@pytest.mark.parametrize("name", PROFILE)
def test_changes_are_those_of_differences(bound, values, name: str) -> None:
    share = 1e-4
    found = sensitivity.changes(bound, values, [name], share)
    up, down = (values | {name: values[name] * (1.0 + side * share)} for side in (0.5, -0.5))
    middle, change = bound.curve(values), bound.curve(up) - bound.curve(down)
    assert found["curve"][0] == pytest.approx(np.sqrt(np.mean((change / middle) ** 2)) / np.log(10.0), rel=2e-3)
    assert found["noise"][0] == pytest.approx(np.sqrt(np.sum(change**2 / middle)), rel=2e-3)
    z = np.linspace(0.0, values["L1"], 200)
    shape = bound.model.profile
    strain = shape.evaluate(z, up) - shape.evaluate(z, down)
    largest = shape.maximum(values)[0]
    assert found["profile"][0] == pytest.approx(np.sqrt(np.mean(strain**2)) / largest, rel=1e-3)


def test_a_factor_of_the_intensity_is_one_on_the_curve_and_none_in_the_profile(bound, values) -> None:
    found = sensitivity.changes(bound, values | {"background": 0.0}, ["scale", "offset"])
    assert found["curve"][0] == pytest.approx(0.01 / np.log(10.0), rel=1e-9)
    assert found["noise"][0] == pytest.approx(0.01 * np.sqrt(bound.curve(values | {"background": 0.0}).sum()), rel=1e-9)
    assert np.all(found["profile"] == 0.0)
    assert found["noise"][1] == 0.0  # 1 % of nothing


def test_without_a_profile_only_the_curve_changes() -> None:
    model = RockingCurve.of(Reflection("GGG", (4, 4, 4), "CuKa1"), profile="none")
    values = model.space.defaults()
    found = sensitivity.changes(model.bind(np.linspace(-200.0, 200.0, 101) * ARCSEC), values, ["fwhm"])
    assert found["curve"][0] > 0.0
    assert found["profile"].tolist() == [0.0]


def planted(draws: int = 60) -> xr.Dataset:
    """A study in which the error of the curve follows that of the parameters, but for two curves."""
    rng = np.random.default_rng(5)
    total = np.sort(rng.uniform(0.01, 0.2, draws))
    curve = total**2
    curve[[2, -3]] = curve[[-3, 2]]
    error = np.outer(total, np.ones(len(PROFILE)))
    error[:, 0] = rng.normal(size=draws)
    names = ("draw", "parameter")
    columns = {"curve_error": curve, "total_error": total, "profile_error": total, "linear_error": curve}
    return xr.Dataset(
        {key: ("draw", column) for key, column in columns.items()} | {"error": (names, error)},
        {"parameter": list(PROFILE)},
    )


def test_correlations_and_exceptions_are_found() -> None:
    found = sensitivity.correlations(planted())
    assert found["spearman"].sel(error="first order") == pytest.approx(1.0)
    assert 0.8 < found["spearman"].sel(error="L1") < 1.0
    assert found["pearson"].sel(error="L1") == pytest.approx(found["pearson"].sel(error="all seven"))
    assert abs(found["spearman"].sel(error="Dmax1")) < 0.4
    above, below = sensitivity.exceptions(planted(), 1)
    assert (above.item(), below.item()) == (2, 57)


@pytest.mark.slow
def test_study_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["study", "sensitivity", "--curves", "16", "--seed", "3", "--out", str(out)]) == 0
    assert (out / "sensitivity.md").read_text(encoding="utf-8") == capsys.readouterr().out
    assert (out / "sensitivity.png").stat().st_size > 5000
    with xr.open_dataset(out / "sensitivity.nc") as found:
        assert found.sizes == {"draw": 16, "parameter": 7}
        assert np.all(np.isfinite(found["curve"]) & (found["curve"] >= 0.0))
        # A network that knows something: its errors to first order are those of the curve in kind.
        assert sensitivity.correlations(found)["spearman"].sel(error="first order") > 0.5
        assert float(found["total_error"].median()) < 0.1


def test_at_a_fit_by_the_command(tmp_path: Path) -> None:
    assert main(["study", "sensitivity", "--fit", str(DEMO), "--out", str(tmp_path / "out")]) == 0
    with xr.open_dataset(tmp_path / "out" / "sensitivity.nc") as found:
        alone = 0.01 * found["value"] / found["noise"]  # the error if all others were known
        assert np.all(found["stderr"] > 0.99 * np.abs(alone))
        counts = read_curve(DEMO).sum().item()  # of which some are background
        assert found["noise"].sel(parameter="scale") == pytest.approx(0.01 * np.sqrt(counts), rel=0.1)
        assert found["profile"].sel(parameter="Dmax1") > 0.0
        assert found["profile"].sel(parameter="scale") == 0.0


def test_a_training_is_not_its_own_test() -> None:
    network = Predictor.load(bundled_path())
    settings = DatasetSettings(curves=10, seed=network.about["data"]["seed"])
    with pytest.raises(ExperimentError, match="choose another"):
        sensitivity.study(settings, network)
    with pytest.raises(ExperimentError, match="noisy curves"):
        sensitivity.study(DatasetSettings.read("thesis", curves=10), network)
