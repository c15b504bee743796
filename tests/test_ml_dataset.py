"""Data sets: the same however they were made, resumed after a kill, never half a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hrxrd_ml.errors import ExperimentError, InputFileError
from hrxrd_ml.training import describe
from hrxrd_ml.training.dataset import DatasetFolder, DatasetSettings
from hrxrd_ml.training.prior import FixedPrior, UniversalPrior
from hrxrd_ml.training.shard import measurements, simulate_shard
from killing import run_and_kill

SMALL = DatasetSettings(curves=96, seed=4, shard=32)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    folder = DatasetFolder.create(tmp_path_factory.mktemp("data") / "set", SMALL)
    folder.make(1, progress=False)
    return folder


def test_a_shard_depends_on_settings_and_number_only() -> None:
    first, again = simulate_shard(SMALL, 1), simulate_shard(SMALL, 1)
    assert first.identical(again)
    other = simulate_shard(SMALL, 0)
    assert not np.array_equal(first["values"].values, other["values"].values)


def test_curves_are_counts_with_noise_of_the_expected_size(small: DatasetFolder) -> None:
    excess, total = 0.0, 0
    for curve in measurements(small.shard(0)):
        assert np.all(curve.intensity >= 0.0)
        assert np.all(curve.intensity == np.round(curve.intensity))
        assert np.all(np.diff(curve.dtheta) > 0.0)
        # The second difference of neighbours in the flat, high-angle or low-angle end is noise.
        end = curve.intensity[:6]
        excess += float(np.var(end, ddof=1) / max(end.mean(), 1.0))
        total += 1
    assert 0.5 < excess / total < 3.0


def test_profiles_are_stratified_in_all_seven_dimensions(small: DatasetFolder) -> None:
    values, crystals, heights = describe.parameters_of(small)
    for name, row in describe.uniformity(values).items():
        assert row["p"] > 0.5, name
        assert row["imbalance"] < 0.9, name  # of the 5 curves in a bin
    assert len(crystals) == len(heights) == SMALL.curves


def test_uniformity_report_notices_a_bias(small: DatasetFolder) -> None:
    values, _, _ = describe.parameters_of(small)
    biased = values | {"Dmax1": 0.001 + 0.5 * (values["Dmax1"] - 0.001), "D01": np.full(SMALL.curves, 6e-4)}
    assert describe.uniformity(biased)["Dmax1"]["p"] < 1e-6


def test_description_and_picture(small: DatasetFolder, tmp_path: Path) -> None:
    about = describe.describe(small)
    assert about["sha256"] == small.digest()
    text = describe.text(about)
    assert "96 curves, seed 4" in text
    assert "Rp2" in text
    describe.plot(small, tmp_path / "marginals.png")
    assert (tmp_path / "marginals.png").stat().st_size > 5000


def test_settings_survive_the_file() -> None:
    settings = DatasetSettings(curves=5, prior=UniversalPrior(crystals=("Si", "Ge"), counts=(1e4, 1e5)))
    assert DatasetSettings.from_dict(settings.as_dict(), "x") == settings
    fixed = DatasetSettings(curves=5, prior=FixedPrior(hkl=(8, 8, 8)))
    assert DatasetSettings.from_dict(fixed.as_dict(), "x") == fixed


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({"curvs": 3}, "has no key 'curvs'; did you mean 'curves'"),
        ({"prior": {"crystals": ["GGG", "Saphire"]}}, "'Saphire' is not built in"),
        ({"prior": {"wavelengths": ["CuKa9"]}}, "CuKa9"),
        ({"curves": "many"}, "expected an integer"),
        ({"curves": 0}, "1 or more curves"),
        ({"prior": {"kind": "flat"}}, "unknown prior kind 'flat'"),
        ({"prior": {"kind": "universal", "crystals": "Si"}}, "expected a list"),
        ({"format": 99}, "another version"),
    ],
)
def test_wrong_settings_are_named(table: dict[str, object], what: str) -> None:
    with pytest.raises(ExperimentError, match=what):
        DatasetSettings.from_dict(table, "some.toml")


def test_bundled_settings_are_found_by_name(tmp_path: Path) -> None:
    assert DatasetSettings.read("thesis-test").prior == FixedPrior()
    assert DatasetSettings.read("universal", curves=7).curves == 7
    seeds = {name: DatasetSettings.read(name).seed for name in ("universal", "universal-test", "thesis", "thesis-test")}
    assert len(set(seeds.values())) == 4
    with pytest.raises(ExperimentError, match="bundled settings: "):
        DatasetSettings.read(tmp_path / "none.toml")


def test_a_folder_with_something_else_is_refused(small: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="other settings"):
        DatasetFolder.create(small.path, DatasetSettings(curves=97, seed=4, shard=32))
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(InputFileError, match="not empty"):
        DatasetFolder.create(tmp_path, SMALL)
    with pytest.raises(InputFileError, match="not a data set"):
        DatasetFolder(tmp_path)


def test_a_damaged_shard_is_named_and_made_again(small: DatasetFolder, tmp_path: Path) -> None:
    folder = DatasetFolder.create(tmp_path / "copy", SMALL)
    folder.make(1, progress=False)
    digest = folder.digest()
    assert digest == small.digest()
    path = folder.file(1)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputFileError, match="run dataset make again"):
        folder.shard(1)
    path.unlink()
    with pytest.raises(InputFileError, match="1 of 3 shards are missing"):
        folder.complete()
    folder.make(1, progress=False)
    assert folder.digest() == digest


def kill_while_making(folder: Path, delay: float) -> None:
    """Start making a data set and kill it after a while."""
    run_and_kill(["dataset", "make", str(folder.parent / "set.toml"), "--out", str(folder)], delay)


@pytest.mark.slow
def test_killed_ten_times_the_set_is_the_same(tmp_path: Path) -> None:
    settings = DatasetSettings(curves=400, seed=11, shard=20)
    (tmp_path / "set.toml").write_text("[dataset]\ncurves = 400\nseed = 11\nshard = 20\n")
    whole = DatasetFolder.create(tmp_path / "whole", settings)
    whole.make(2, progress=False)
    rng = np.random.default_rng(1)
    for _ in range(10):
        kill_while_making(tmp_path / "killed", float(rng.uniform(2.0, 5.0)))
        if (tmp_path / "killed" / "dataset.json").exists():
            found = DatasetFolder(tmp_path / "killed")
            for number in range(settings.shards):
                if found.file(number).exists():
                    found.shard(number)  # raises if it cannot be read
    rest = DatasetFolder.create(tmp_path / "killed", settings)
    rest.make(2, progress=False)
    assert rest.digest() == whole.digest()
    assert not list(rest.path.glob(".shard-*"))


def test_killed_once_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "set.toml").write_text("[dataset]\ncurves = 96\nseed = 4\nshard = 8\n")
    kill_while_making(tmp_path / "killed", 3.0)
    settings = DatasetSettings(curves=96, seed=4, shard=8)
    rest = DatasetFolder.create(tmp_path / "killed", settings)
    rest.make(1, progress=False)
    assert not rest.missing()
    assert json.loads((rest.path / "dataset.json").read_text())["curves"] == 96
