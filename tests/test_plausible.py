"""What a fit says of data that cannot tell, that a detector has spoilt, or that its model does not describe."""

import numpy as np
import pytest
import xarray as xr

from hrxrd_ml import Film, Reflection, RockingCurveModel
from hrxrd_ml.guess.strategy import other_wavelength
from hrxrd_ml.model.plausible import of_detector, shift_of_strain, unseen

ARCSEC = np.pi / 648_000.0
GGG = Reflection("GGG", (4, 4, 4), "CuKa1")
TRUTH = {
    "Dmax1": 0.0082,
    "D01": 0.002,
    "L1": 5000.0,
    "Rp1": 3400.0,
    "D02": 0.0015,
    "L2": 2500.0,
    "Rp2": -300.0,
    "damage": 0.3,
    "correlation_length": 40.0,
    "substrate_damage": 0.008,
    "substrate_correlation_length": 2500.0,
    "fwhm": 13.0,
    "scale": 2.5e5,
    "background": 10.0,
}


def curve_of(model: RockingCurveModel, x: np.ndarray, values: dict[str, float], seed: int = 1) -> xr.DataArray:
    """A simulated measurement of counts."""
    params = model.make_params(**values)
    counts = np.random.default_rng(seed).poisson(model.eval(params, x=x)).astype(float)
    axis = ("x", x, {"kind": "offset", "units": "arcsec"})
    return xr.DataArray(counts, {"x": axis}, ("x",), "counts", {"kind": "counts", "units": "counts"})


@pytest.fixture(scope="module")
def implanted() -> RockingCurveModel:
    model = RockingCurveModel(GGG, axis_kind="offset", unit="arcsec")
    for name in ("diffuse_mix", "substrate_diffuse_mix"):
        model.set_param_hint(name, vary=False)
    return model


@pytest.fixture(scope="module")
def whole(implanted):
    """Curve of a whole scan, and its fit from the truth."""
    curve = curve_of(implanted, np.arange(-1100.0, 250.0, 4.0), TRUTH)
    return curve, implanted.fit(curve, implanted.make_params(**TRUTH))


def said(result, text: str) -> list[str]:
    return [note for note in result.bound_notes if text in note]


# --- what the scan sees ---


def test_a_whole_scan_says_nothing_of_its_range_detector_or_noise(whole):
    result = whole[1]
    assert result.verdict == ""
    assert abs(result.params["Dmax1"].value - TRUTH["Dmax1"]) < 4.0 * result.params["Dmax1"].stderr
    for text in ("diffracts at", "leave them out", "chi-square over", "what noise alone makes"):
        assert not said(result, text)


def test_a_scan_that_ends_inside_the_layer_does_not_determine_its_strain(implanted, whole):
    curve = curve_of(implanted, np.arange(-116.0, 301.0, 4.0), TRUTH, 3)
    result = implanted.fit(curve, implanted.guess(curve))
    dmax = result.params["Dmax1"]
    assert said(result, "Dmax1 is not determined")
    assert abs(dmax.value - TRUTH["Dmax1"]) < 2.0 * dmax.stderr
    assert dmax.stderr > 5.0 * whole[1].params["Dmax1"].stderr
    assert result.covar[result.var_names.index("Dmax1"), result.var_names.index("Dmax1")] == pytest.approx(
        dmax.stderr**2
    )
    assert np.linalg.eigvalsh(result.covar / np.outer(*2 * [np.sqrt(np.diag(result.covar))])).min() > -1e-9


def test_a_gap_where_the_largest_strain_diffracts_is_named(implanted, whole):
    curve = whole[0]
    edge = shift_of_strain(implanted.simulation) * TRUTH["Dmax1"] / ARCSEC
    holes = np.abs(curve["x"].values - edge) < 120.0
    result = implanted.fit(curve[~holes], implanted.make_params(**TRUTH))
    assert said(result, "in the gap of the data")


def test_strains_diffract_where_braggs_law_has_them():
    for hkl in ((4, 4, 4), (0, 0, 4)):
        reflection = Reflection("GaAs", hkl, "CuKa1")
        model = RockingCurveModel(reflection, axis_kind="offset", unit="arcsec")
        strained = np.arcsin(np.sin(reflection.bragg_angle) / (1.0 + 1e-5)) - reflection.bragg_angle
        assert shift_of_strain(model.simulation) * 1e-5 == pytest.approx(strained, rel=1e-3)


def test_a_film_whose_peak_lies_outside_the_scan_is_named():
    film = Film("cap", "Si", thickness=400.0, strain=0.01)
    model = RockingCurveModel(Reflection("Si", (0, 0, 4), "CuKa1"), films=(film,), axis_kind="offset", unit="arcsec")
    values = {name: float(model.make_params()[name].value) for name in model.space.names}
    assert [part.name for part in unseen(model.simulation, values, np.arange(-300.0, 300.0, 5.0) * ARCSEC)] == [
        "film cap"
    ]
    assert unseen(model.simulation, values, np.arange(-2500.0, 600.0, 5.0) * ARCSEC) == []


# --- what the data are ---


def test_data_that_scatter_less_than_counts_are_named(implanted, whole):
    curve = whole[0].copy(data=np.round(whole[0].values / 10.0))
    start = implanted.make_params(**TRUTH | {"scale": 2.5e4, "background": 1.0})
    (note,) = said(implanted.fit(curve, start), "what noise alone makes")
    assert "3." in note.split("standard errors are about")[1]


def test_a_misfit_between_noise_and_no_fit_has_a_note(implanted, whole):
    rough = whole[0].values * (1.0 + 0.06 * np.sin(np.arange(len(whole[0])) * 0.9))
    result = implanted.fit(whole[0].copy(data=np.round(rough)), implanted.make_params(**TRUTH))
    assert 1.5 < result.redchi < 5.0
    assert said(result, "standard errors, which know of noise only, are too small")


def spoilt(kind: str, counts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Counts that a detector has spoilt, and where."""
    bad, top = counts.copy(), int(np.argmax(counts))
    if kind == "saturated":
        limit = np.floor(0.4 * counts.max())
        bad = np.minimum(counts, limit)
    elif kind.startswith("wrapped"):
        bad = np.mod(counts, 65_536.0)
    else:
        places = top + rng.choice(np.arange(-120, -20), 3, replace=False)
        bad[places] = 0.0 if kind == "empty" else 20.0 * counts[places] + 200.0
    return bad, bad != counts


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("saturated", "repeats itself"),
        ("wrapped", "overflows"),
        ("wrapped twice", "overflows"),
        ("spikes", "stand far out"),
        ("empty", "far fewer counts"),
    ],
)
def test_what_a_detector_did_is_named_with_its_mask(implanted, kind, text):
    x = np.arange(-1100.0, 250.0, 3.0 if kind != "wrapped twice" else 1.0)
    expected = implanted.eval(implanted.make_params(**TRUTH | {"background": 60.0, "scale": 4e5}), x=x)
    factor = {"wrapped": 110_000.0, "wrapped twice": 180_000.0}.get(kind, expected.max()) / expected.max()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        counts, where = spoilt(kind, rng.poisson(factor * expected).astype(float), rng)
        (note,) = of_detector(counts, factor * expected, x)
        assert text in note
        ranges = eval(note.split("mask = ")[1].split(" and ")[0], {"__builtins__": {}})
        assert all(
            any(low < angle < high for low, high in ranges)
            for angle in (x[where] if kind == "wrapped twice" else x[where][:3])
        )


def test_a_good_detector_is_not_accused(implanted):
    for step in (3.0, 8.0, 20.0):
        x = np.arange(-1100.0, 250.0, step)
        for scale in (2e3, 5e4, 3e6):
            expected = implanted.eval(implanted.make_params(**TRUTH | {"scale": scale, "background": 2.0}), x=x)
            for seed in range(20):
                assert of_detector(np.random.default_rng(seed).poisson(expected).astype(float), expected, x) == []


# --- whether the model describes the curve ---


def test_a_curve_of_another_physics_gets_one_plain_sentence(implanted):
    x = np.arange(-1500.0, 1500.0, 10.0)
    hump = np.random.default_rng(2).poisson(4000.0 * np.exp(-0.5 * (x / 500.0) ** 2) + 20.0).astype(float)
    curve = curve_of(implanted, x, TRUTH).copy(data=hump)
    result = implanted.fit(curve, implanted.make_params(**TRUTH), max_nfev=60)
    assert "describe" in result.verdict
    assert "check crystal" in result.verdict
    assert result.verdict in result.fit_report()


# --- guesses ---


def test_a_masked_substrate_peak_leaves_the_film_where_it_was_described():
    film = Film("film", "InAs", thickness=360.0, strain=0.0065)
    model = RockingCurveModel(Reflection("InAs", (0, 0, 2), "CuKa1"), films=(film,), axis_kind="offset", unit="arcsec")
    x = np.arange(-1500.0, 900.0, 8.0)
    curve = curve_of(model, x, {"film_thickness": 367.0, "film_strain": 0.006, "scale": 3e6, "background": 3.0})
    result = model.fit(curve[np.abs(x) > 100.0])
    assert result.redchi < 1.3
    assert abs(result.params["film_thickness"].value - 367.0) < 5.0 * result.params["film_thickness"].stderr
    assert abs(result.params["offset"].value) < 30.0


@pytest.mark.parametrize("prefix", ["", "sl_"])
def test_a_guess_of_tied_films_is_no_worse_than_their_description(prefix):
    films = tuple(
        Film(f"{kind}{i}", "Si", thickness=80.0 if kind == "a" else 150.0, strain=0.008 if kind == "a" else 0.0)
        for i in range(5)
        for kind in ("a", "b")
    )
    model = RockingCurveModel(
        Reflection("Si", (0, 0, 4), "CuKa1"), films=films, axis_kind="offset", unit="arcsec", prefix=prefix
    )
    for name in model.space.names:
        kind, _, what = name.partition("_")
        if kind[0] in "ab" and kind[1:].isdigit() and kind[1:] != "0" and what in ("thickness", "strain"):
            model.set_param_hint(name, expr=f"{prefix}{kind[0]}0_{what}")
        elif name == "b0_strain":
            model.set_param_hint(name, vary=False)
    truth = {"a0_thickness": 83.0, "b0_thickness": 146.0, "a0_strain": 0.0077, "scale": 2e5, "background": 2.0}
    curve = curve_of(model, np.arange(-4000.0, 1500.0, 15.0), {prefix + name: v for name, v in truth.items()})
    described, guessed = model.make_params(), model.guess(curve)
    likelihood = model.observe(curve).likelihood
    costs = [
        float((likelihood.residual(model.eval(params, x=curve["x"].values)) ** 2).sum())
        for params in (described, guessed)
    ]
    assert costs[1] < costs[0]
    result = model.fit(curve, guessed)
    assert result.redchi < 1.3
    tied = result.params[f"{prefix}a3_thickness"]
    assert abs(tied.value - 83.0) < 4.0 * result.params[f"{prefix}a0_thickness"].stderr


def test_smoothed_counts_are_named_also_where_the_fit_follows_them(implanted, whole):
    smooth = np.round(np.convolve(whole[0].values, np.ones(5) / 5.0, "same"))
    result = implanted.fit(whole[0].copy(data=smooth), implanted.make_params(**TRUTH))
    assert said(result, "the data scatter less than their errors say")


def test_a_wrong_wavelength_is_asked_about(implanted, whole):
    wrong = RockingCurveModel(GGG.replace(wavelength="MoKa1"), axis_kind="offset", unit="arcsec")
    depths = {name: 0.5 * TRUTH[name] for name in ("L1", "Rp1", "L2", "Rp2")}
    strains = {name: 2.2 * TRUTH[name] for name in ("Dmax1", "D01", "D02")}
    result = wrong.fit(whole[0], wrong.make_params(**TRUTH | depths | strains))
    assert result.redchi > 1.5
    assert other_wavelength(wrong, whole[0], result).startswith("with CuKa1 in place of 0.709")
    assert other_wavelength(implanted, whole[0], whole[1]) == ""
    named = whole[0].assign_attrs(wavelength=wrong.reflection.wavelength)
    assert other_wavelength(wrong, named, result) == ""
