"""The network's guess: inside every bound, repeatable, good enough for a fit, honest about the unknown."""

from __future__ import annotations

from pathlib import Path

import lmfit
import numpy as np
import pytest
import xarray as xr

from hrxrd_ml import Reflection, RockingCurveModel
from hrxrd_ml.errors import CurveError, InputFileError, ParameterError
from hrxrd_ml.guess.classical import ClassicalGuess
from hrxrd_ml.guess.ensemble import EnsembleGuess
from hrxrd_ml.guess.network.provider import NetworkGuess
from hrxrd_ml.guess.task import guess_by
from hrxrd_ml.training.prior import UniversalPrior
from hrxrd_ml.training.reflections import UNSEEN_CRYSTALS

X = np.arange(-1400.0, 301.0, 5.0)
TRUTH = {
    "Dmax1": 0.010, "D01": 0.002, "L1": 4600.0, "Rp1": 3100.0, "D02": 0.002, "L2": 2400.0, "Rp2": -300.0,
    "damage": 0.35, "correlation_length": 60.0, "substrate_damage": 0.01, "substrate_correlation_length": 2500.0,
    "fwhm": 20.0, "scale": 3e5, "background": 8.0, "offset": 4.0,
}  # fmt: skip


def measured(model: RockingCurveModel, seed: int = 1, x: np.ndarray = X, **changes: float) -> xr.DataArray:
    """A simulated measurement."""
    values = model.space.defaults() | {k: v for k, v in (TRUTH | changes).items() if k in model.space}
    expected = model.bind(x).curve(values)
    counts = np.random.default_rng(seed).poisson(expected).astype(float)
    axis = ("x", x, {"kind": "offset", "units": "arcsec"})
    return xr.DataArray(counts, dims="x", coords={"x": axis}, name="counts", attrs={"kind": "counts"})


def model_of(reflection: Reflection, **options: object) -> RockingCurveModel:
    return RockingCurveModel(reflection, axis_kind="offset", unit="arcsec", **options)


GGG = model_of(Reflection("GGG", (4, 4, 4)))


def test_the_package_has_a_network_and_uses_it() -> None:
    params = GGG.guess(measured(GGG))
    about = params["Dmax1"].user_data["guess"]
    assert about["provider"] == "network"
    assert about["domain_score"] <= 1.0


@pytest.mark.parametrize("reflection", [Reflection("GGG", (4, 4, 4)), Reflection("Si", (0, 0, 4), 1.2)], ids=str)
def test_guess_leads_the_fit_to_the_noise(reflection: Reflection) -> None:
    model = model_of(reflection)
    curve = measured(model, x=np.linspace(-1600.0, 300.0, 500))
    params = model.guess(curve, provider="network")
    for name in model.space.names:
        par = params[name]
        assert par.min <= par.value <= par.max
    assert not model.space.violations({name: par.value for name, par in params.items()})
    result = model.fit(curve, params)
    assert result.redchi < 1.25
    assert result.params["Dmax1"].value == pytest.approx(TRUTH["Dmax1"], rel=0.05)


def test_same_input_same_guess() -> None:
    curve = measured(GGG)
    assert GGG.guess(curve, provider="network").valuesdict() == GGG.guess(curve, provider="network").valuesdict()


def test_splines_start_from_the_strain_of_the_network() -> None:
    model = model_of(Reflection("GGG", (4, 4, 4)), profile="bspline", damage="bspline")
    params = model.guess(measured(GGG), provider="network")
    values = {name: par.value for name, par in params.items()}
    z = np.linspace(0.0, 4000.0, 30)
    truth = GGG.simulation.profile.evaluate(z, TRUTH)
    mine = model.simulation.profile.evaluate(np.minimum(z, values["depth"]), values)
    assert np.sqrt(np.mean((mine - truth) ** 2)) < 0.15 * truth.max()


def test_profiles_that_it_does_not_know_go_to_the_classical_guess() -> None:
    model = model_of(Reflection("GGG", (4, 4, 4)), profile="pseudo_voigt")
    about = model.guess(measured(GGG))["depth"].user_data["guess"]
    assert about["provider"] == "classical"
    assert "implanted and bspline only" in about["note"]


def test_outside_its_domain_it_says_so_and_falls_back() -> None:
    # No training curve has so many counts.
    about = GGG.guess(measured(GGG, scale=1e11, background=100.0))["Dmax1"].user_data["guess"]
    assert about["domain_score"] > 1.0
    assert about["provider"] == "classical"
    assert "outside" in about["note"]


def test_the_curve_of_a_lattice_that_has_shrunk_is_outside() -> None:
    """Mirrored, it shows nothing unusual in the window of the network: all of the layer is on the other side."""
    curve = measured(GGG)
    mirrored = curve.copy(data=curve.values[::-1]).assign_coords(x=("x", -curve["x"].values[::-1], curve["x"].attrs))
    about = GGG.guess(mirrored)["Dmax1"].user_data["guess"]
    assert about["provider"] == "classical"
    assert about["domain_score"] > 1.5


def test_counts_so_few_that_most_points_have_none() -> None:
    """The noise of a count of zero is not zero."""
    curve = measured(GGG, scale=3e3, background=0.05)
    assert np.mean(curve.values == 0.0) > 0.1
    result = GGG.fit(curve, GGG.guess(curve))
    mean, deviation = result.observation.likelihood.expectation(result.best_fit)
    assert result.chisqr < mean + 3.0 * deviation


def test_a_fixed_parameter_keeps_its_value() -> None:
    model = model_of(Reflection("GGG", (4, 4, 4)))
    model.set_param_hint("fwhm", value=20.0, vary=False)
    params = model.guess(measured(GGG), provider="network")
    assert params["fwhm"].value == 20.0
    assert not params["fwhm"].vary


def test_prefix() -> None:
    model = model_of(Reflection("GGG", (4, 4, 4)), prefix="a_")
    params = model.guess(measured(GGG), provider="network")
    assert set(params) == {f"a_{name}" for name in model.space.names}


def test_another_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no such checkpoint"):
        GGG.guess(measured(GGG), provider=NetworkGuess(tmp_path / "none.safetensors"))
    with pytest.raises(ParameterError, match="unknown guess provider 'netwrok'"):
        GGG.guess(measured(GGG), provider="netwrok")
    flat = measured(GGG).copy(data=np.full(len(X), 20.0))
    with pytest.raises(CurveError, match="no clear substrate peak"):
        GGG.guess(flat, provider="network")


@pytest.mark.slow
def test_crystals_that_it_has_not_seen() -> None:
    """Network, then fit, on noisy curves of unseen crystals: most reach the noise floor."""
    prior = UniversalPrior(crystals=UNSEEN_CRYSTALS, counts=(1e4, 1e6))
    rng = np.random.default_rng(77)
    reached, total = 0, 0
    for group in prior.groups(rng.random((48, prior.columns)), rng):
        model = RockingCurveModel(group.reflection, resolution="pseudo_voigt", axis_kind="offset", unit="rad")
        base = model.space.defaults()
        for i in range(0, len(group.rows), 4):
            values = base | {name: float(column[i]) for name, column in group.values.items()}
            values |= {name: base[name] for name in ("step", "dead_time", "curvature", "strain_spread", "tail")}
            x = group.dtheta[group.kept[i]]
            counts = rng.poisson(model.bind(x).curve(values)).astype(float)
            params = model.guess(counts, x=x, provider="network")
            result = model.fit(counts, params, x=x, max_nfev=300)
            reached += result.redchi < 1.2
            total += 1
    assert reached >= 0.6 * total


def test_network_is_much_faster_than_the_multi_start() -> None:
    """Not a benchmark: that the network replaces the multi-start at all shows in the number of model evaluations."""
    calls = {"network": 0, "classical": 0}
    curve = measured(GGG)
    for name, provider in (("network", NetworkGuess()), ("classical", ClassicalGuess())):
        model = model_of(Reflection("GGG", (4, 4, 4)))
        bind = model.simulation.bind
        bound_type = type(bind(np.linspace(-1e-3, 1e-3, 10)))
        original = bound_type._evaluate

        def counted(self, *args, _name=name, _original=original):
            calls[_name] += 1
            return _original(self, *args)

        bound_type._evaluate = counted
        try:
            provider.guess(model, curve)
        finally:
            bound_type._evaluate = original
    assert calls["network"] < 0.3 * calls["classical"]


class Off:
    """A guess that is the classical one, with a thickness that is wrong by a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def guess(self, model: RockingCurveModel, curve: xr.DataArray) -> lmfit.Parameters:
        params = ClassicalGuess().guess(model, curve)
        params[f"{model.prefix}L1"].value *= self.factor
        return params


def test_of_several_guesses_the_curve_chooses_one() -> None:
    model = model_of(Reflection("GGG", (4, 4, 4)), prefix="a_")
    curve = measured(GGG)
    found = model.guess(curve, provider=EnsembleGuess([Off(1.1), NetworkGuess(), Off(0.95)]))
    alone = model.guess(curve, provider=NetworkGuess())
    for name, par in alone.items():
        assert found[name].value == par.value
    thickness = found["a_L1"]
    others = [Off(factor).guess(model, model.observe(curve).to_guess())["a_L1"].value for factor in (1.1, 0.95)]
    assert thickness.user_data["guess"]["spread"] == pytest.approx(np.std([thickness.value, *others]))
    assert guess_by(found)["provider"] == "network"
    assert "member 2 of 3" in guess_by(found)["note"]


@pytest.mark.parametrize("members", [[], ["network"]])
def test_an_ensemble_of_nobody_is_refused(members: list[str]) -> None:
    with pytest.raises(ParameterError, match="at least one"):
        EnsembleGuess(members)
