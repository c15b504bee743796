"""What an ideal estimator could answer: errors as of fits, that follow the counts and are below the network's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hrxrd_ml import Reflection, RockingCurve, RockingCurveModel
from hrxrd_ml.cli.main import main
from hrxrd_ml.guess.network.targets import PROFILE
from hrxrd_ml.specimen.profile.implanted import implanted_space
from hrxrd_ml.training import ideal
from hrxrd_ml.training.dataset import DatasetFolder, DatasetSettings
from hrxrd_ml.units import ARCSEC

GGG = Reflection("GGG", (4, 4, 4), "CuKa1")
X = np.linspace(-1500.0, 150.0, 500)
FREE = ("scale", "offset", "fwhm", "background")
TRUTH = {"scale": 1e7, "background": 3.0, "D01": 0.004, "D02": 0.006, "Rp2": -300.0, "damage": 0.05}


def nuisance(values: dict[str, float]) -> ideal.Nuisance:
    """Of parameters about which next to nothing is known."""
    rng = np.random.default_rng(2)
    drawn = {name: values[name] * 10.0 ** rng.uniform(-1.0, 1.0, 50) for name in FREE}
    return ideal.Nuisance.of(drawn | {"offset": rng.uniform(-30.0, 30.0, 50)})


def test_slopes_are_those_of_the_map() -> None:
    space, step = implanted_space(), 1e-6
    for unit in np.random.default_rng(4).uniform(0.05, 0.95, (20, 7)):
        values = {name: float(column[0]) for name, column in space.from_unit(unit).items()}
        moved = [space.from_unit(unit + side * step * np.eye(7)) for side in (0.5, -0.5)]
        difference = np.array([(moved[0][name] - moved[1][name]) / step for name in space.names])
        size = np.abs(difference).max(axis=1, keepdims=True)
        found = ideal.unit_slopes(space, unit, values)
        np.testing.assert_allclose(found / size, difference / size, rtol=1e-5, atol=1e-7)


def test_errors_are_those_of_fits() -> None:
    """Where a curve says enough, fits to one noise after the other scatter as the estimator does."""
    model = RockingCurveModel(GGG, axis_kind="offset", unit="arcsec")
    params = model.make_params(**TRUTH)
    for par in params.values():
        par.vary = par.name in (*PROFILE, *FREE)
    rng, mu = np.random.default_rng(6), model.eval(params, x=X)
    fits = [model.fit(rng.poisson(mu).astype(float), params, x=X) for _ in range(60)]
    true = params.valuesdict()
    found = ideal.answers(model.bind(X), true, nuisance(true), 2000, rng)
    for name in ("Dmax1", "D01", "L1", "Rp1", "D02", "L2"):
        scatter = np.std([fit.params[name].value for fit in fits])
        assert np.std(found[name]) == pytest.approx(scatter, rel=0.3), name  # 0.09 of 60 fits
        assert abs(np.mean(found[name]) - true[name]) < 0.15 * scatter, name


def test_errors_fall_with_the_root_of_the_counts_and_end_at_the_prior() -> None:
    bound = RockingCurve.of(GGG).bind(X * ARCSEC)
    true = bound.model.space.defaults() | TRUTH
    spread = []
    for factor in (1.0, 100.0):
        values = true | {name: factor * true[name] for name in ("scale", "background")}
        found = ideal.answers(bound, values, nuisance(true), 500, np.random.default_rng(3))
        spread.append(np.std(found["L1"]))
        for spec in implanted_space():
            assert spec.min <= found[spec.name].min() <= found[spec.name].max() <= spec.max
    assert spread[0] / spread[1] == pytest.approx(10.0, rel=0.05)
    dark = true | {"scale": 1e-4, "background": 1.0}
    found = ideal.answers(bound, dark, nuisance(true), 500, np.random.default_rng(3))
    assert found["L1"] == pytest.approx(np.full(500, 3750.0), abs=1.0)  # (500 + 7000)/2, whatever the noise


@pytest.mark.slow
def test_evaluation_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = DatasetFolder.create(tmp_path / "set", DatasetSettings(curves=120, seed=12))
    folder.make(1, progress=False)
    assert main(["evaluate", "bundled", str(folder.path), "--ideal", "100", "--out", str(tmp_path / "out")]) == 0
    table = capsys.readouterr().out.strip().rpartition("\n\n")[2].splitlines()
    assert table[0].startswith("| network / ideal | curves | Dmax1, % |")
    cells = [cell.strip() for cell in table[2].split("|")[1:-1]]
    assert cells[:2] == ["all", "100"]
    pairs = [[float(number) for number in cell.split("/")] for cell in cells[2 : 2 + len(PROFILE)]]
    assert all(best < network for network, best in pairs)
