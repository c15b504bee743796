"""Ways to draw parameters: feasible, as even as they claim, and told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hrxrd_ml.cli.main import main
from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.specimen.profile.implanted import implanted_space
from hrxrd_ml.training import sampling
from hrxrd_ml.training.dataset import DatasetFolder, DatasetSettings

N = 20_000
DEGREES = 19
"""Of freedom of χ² in 20 bins."""


@pytest.fixture(scope="module")
def compared() -> xr.Dataset:
    return sampling.compare({name: sampling.draw(name, N, 3) for name in sampling.USUAL})


@pytest.mark.parametrize("name", sampling.STRATEGIES)
def test_every_set_is_feasible_and_the_same_again(name: str) -> None:
    space, first = implanted_space(), sampling.draw(name, 500, 7)
    assert first.keys() == set(space.names)
    for row in np.column_stack(list(first.values())):
        assert not space.violations(dict(zip(space.names, row.tolist(), strict=True)))
    for spec in space:
        assert spec.min <= first[spec.name].min() <= first[spec.name].max() <= spec.max
    again = sampling.draw(name, 500, 7)
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_rejection_has_the_marginals_of_the_feasible_volume() -> None:
    """The density of L1 is in proportion to the areas that it leaves to Rp1 and L2, (L1 - 0)(L1 - 500)."""
    found = sampling.draw("random", N, 1)["L1"]
    low, high = implanted_space()["L1"].min, implanted_space()["L1"].max

    def integral(x: float) -> float:
        return x**3 / 3.0 - 250.0 * x**2

    edges = np.linspace(low, high, 8)
    expected = N * np.diff([integral(x) for x in edges]) / (integral(high) - integral(low))
    square = np.sum((np.histogram(found, edges)[0] - expected) ** 2 / expected)
    assert square < 22.5  # one in a thousand, for six degrees of freedom


def test_what_is_stratified_is_uniform_and_the_rest_is_not(compared: xr.Dataset) -> None:
    marginal = compared["chi2"].sel(set="stratified-L2")
    assert marginal.sel(parameter="L2") < 0.1
    assert marginal.sel(parameter="L1") > 100 * DEGREES
    places = compared["place_chi2"]
    assert np.all(places.sel(set=["latin", "sobol", "universal"]) < 0.2 * DEGREES)
    assert np.all(places.sel(set="cube") < 2.5 * DEGREES)
    assert places.sel(set="random", parameter="L1") > 100 * DEGREES


def test_joint_coverage_is_that_of_random_points(compared: xr.Dataset) -> None:
    """A Latin hypercube is even in each dimension only; points drawn from the volume leave more of the cube empty."""
    cube = compared["cube"]
    assert int(compared["cells"][0]) == 4
    for name in ("cube", "latin", "universal"):
        assert cube.sel(set=name).item() == pytest.approx(compared["even"].sel(set=name).item(), abs=0.01)
    assert cube.sel(set="sobol") > cube.sel(set="latin") > cube.sel(set="random")
    assert np.all((compared["box"] > 0.5) & (compared["box"] <= 1.0))


def test_copies_and_values_at_a_limit_are_counted() -> None:
    drawn = sampling.draw("cube", 1000, 2)
    twice = {name: np.tile(column[:500], 2) for name, column in drawn.items()}
    clipped = dict(drawn) | {"D01": np.minimum(2.0 * drawn["D01"], drawn["Dmax1"])}
    found = sampling.compare({"as drawn": drawn, "copies": twice, "clipped": clipped})
    assert found["unique"].sel(parameter="Rp2").values.tolist() == [1000, 500, 1000]
    active = found["active"].sel(rule="D01 ≤ Dmax1").values
    share = np.mean(2.0 * drawn["D01"] >= drawn["Dmax1"])
    assert active[2] >= share > 0.4 > 4.0 * active[0]


def test_a_data_set_is_what_its_settings_would_draw(tmp_path: Path) -> None:
    settings = DatasetSettings.read("universal", curves=100, seed=5)
    folder = DatasetFolder.create(tmp_path / "set", settings)
    folder.make(1, progress=False)
    made, drawn = sampling.draw(str(tmp_path / "set")), sampling.draw("universal", 100, 5)
    for name in implanted_space().names:
        np.testing.assert_allclose(made[name], drawn[name], rtol=np.finfo(np.float32).eps)  # the digits of a set


def test_the_command_writes_table_dataset_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["dataset", "compare", "random", "latin", "--count", "2000", "--seed", "4", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert (out / "compare.md").read_text(encoding="utf-8") == printed
    assert "| latin |" in printed
    with xr.open_dataset(out / "compare.nc") as found:
        assert found.attrs["seed"] == 4
        assert found["set"].values.tolist() == ["random", "latin"]
    assert (out / "compare.png").stat().st_size > 5000


@pytest.mark.parametrize("arguments", [("nothing",), ("random", 3), ("random", 1000, -1)])
def test_what_cannot_be_drawn_is_refused(arguments: tuple) -> None:
    with pytest.raises(ExperimentError, match=r"expected 100 to|no way to draw"):
        sampling.draw(*arguments)
