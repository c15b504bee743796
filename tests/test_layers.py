"""What a fit says of the layers of a stack: where they diffract, how thick, how strained; tables and figures."""

import numpy as np
import pytest
import xarray as xr

import hrxrd_ml as hx
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.results.dataset import root_of
from hrxrd_ml.results.layers import depth_profile, peak_of
from hrxrd_ml.results.tables import layer_table

SURFACE = {"surface": (0, 0, 1)}
REFLECTIONS = {
    "004": hx.Reflection("Si", (0, 0, 4), "CuKa1", **SURFACE),
    "224 low": hx.Reflection("Si", (2, 2, 4), "CuKa1", exit="low", **SURFACE),
    "224 high": hx.Reflection("Si", (2, 2, 4), "CuKa1", exit="high", **SURFACE),
}


def model_of(reflection, *films, **options):
    return hx.RockingCurveModel(reflection, films=films, axis_kind="offset", unit="arcsec", **options)


def fitted(model, x, **values):
    params = model.make_params(**{"scale": 1e6, "background": 2.0, **values})
    counts = np.random.default_rng(0).poisson(model.eval(params, x=x)).astype(float)
    return model.fit(counts, params, x=x)


@pytest.mark.parametrize("where", REFLECTIONS)
@pytest.mark.parametrize("relaxation", [0.0, 0.7])
def test_a_layer_diffracts_where_its_peak_is_said_to_be(where, relaxation):
    reflection = REFLECTIONS[where]
    film = hx.Film("top", "SiGe", 4000.0, x=0.2, relaxation=relaxation)
    model = model_of(reflection, film)
    x = np.linspace(-5500.0, -400.0, 4000)
    curve = model.eval(model.make_params(background=0.0, fwhm=20.0), x=x)
    state = film.state(model.space.defaults(), reflection)
    shift = reflection.refraction_shift() / 4.848e-6
    peak = peak_of(reflection, float(state.strain), float(state.parallel)) + shift
    middle = float(np.average(x, weights=curve**2))
    assert abs(peak - middle) < 0.02 * abs(middle)


def test_table_dataset_and_depth_profile_of_a_superlattice(tmp_path):
    layers = [hx.Film("well", "InGaAs", 70.0, x=0.15), hx.Film("barrier", "GaAs", 150.0, strain=0.0)]
    parts = (hx.Superlattice("mqw", layers, repeats=8), hx.Film("cap", "AlGaAs", 400.0, x=0.3))
    model = model_of(hx.Reflection("GaAs", (0, 0, 4), "CuKa1"), *parts)
    model.set_param_hint("barrier_strain", vary=False)
    x = np.linspace(-3500.0, 1500.0, 500)
    result = fitted(model, x)
    found = hx.to_dataset(result)
    assert found["layer"].values.tolist() == ["well", "barrier", "cap"]
    assert found["layer_repeats"].values.tolist() == [8, 8, 1]
    assert found["layer_element"].values.tolist() == ["In", "", "Al"]
    for name in ("well", "cap"):
        par = result.params[f"{name}_thickness"]
        assert found["layer_thickness"].sel(layer=name) == pytest.approx(par.value)
        assert found["layer_thickness_sigma"].sel(layer=name) == pytest.approx(par.stderr, rel=1e-3)
    assert np.isnan(found["layer_composition"].sel(layer="barrier")).all()
    # Satellites are maxima of the curve: stronger there than half-way between them.
    orders = found["satellite"].sel(superlattice="mqw", order=[-2, -1, 0])
    peaks = orders.values + float(found["substrate_peak"])
    curve = lambda where: np.interp(where, x, result.best_fit)  # noqa: E731
    assert (curve(peaks) > 10.0 * curve(peaks + 0.5 * (peaks[0] - peaks[1]))).all()

    text = layer_table(found)
    assert "well (mqw, ×8)" in text
    assert text.index("cap") < text.index("well")  # as they lie
    depth, strain, sigma = depth_profile(found, "strain")
    total = 8 * 220.0 + 400.0
    assert depth[-1] == pytest.approx(1.05 * total, rel=0.01)
    mean = float(np.trapezoid(strain[depth > 0.0], depth[depth > 0.0]))
    each = (found["layer_strain"].mean("layer_height") * found["layer_thickness"] * found["layer_repeats"]).sum()
    assert mean == pytest.approx(float(each), rel=0.02)
    assert (sigma >= 0.0).all()

    hx.save_dataset(found, tmp_path / "fit.nc")
    with xr.open_dataset(tmp_path / "fit.nc", engine="h5netcdf") as again:
        hx.plot.stack(again.load()).savefig(tmp_path / "stack.png")
    assert (tmp_path / "stack.png").stat().st_size > 10_000
    page = hx.report(result, tmp_path / "fit.html").read_text(encoding="utf-8")
    assert "<h2>Layers</h2>" in page


def test_gradients_densities_and_other_lattices():
    graded = hx.Film("graded", "InGaAs", 1500.0, x=(0.02, 0.12))
    dense = hx.Film("oxide", "GaAs", 200.0, amorphous=True, density=0.8)
    result = fitted(
        model_of(hx.Reflection("GaAs", (0, 0, 4), "CuKa1"), graded, dense), np.linspace(-3000.0, 800.0, 400)
    )
    found = hx.to_dataset(result)
    ends = found["layer_composition"].sel(layer="graded").values[[0, -1]]
    for end, name in zip(ends, ("graded_x1", "graded_x2"), strict=True):
        assert end == pytest.approx(result.params[name].value)
    assert "→" in layer_table(found)
    assert np.isnan(found["layer_peak"].sel(layer="oxide"))
    density = depth_profile(found, "density")[1]
    assert density[0] == pytest.approx(0.8)
    assert density[-1] == pytest.approx(1.0)

    gan = hx.Film("gan", "GaN", 2000.0, hkl=(0, 0, 2))
    sapphire = hx.Reflection("Al2O3", (0, 0, 6), "CuKa1")
    x = np.linspace(-14_500.0, 500.0, 600)
    result = fitted(model_of(sapphire, gan), x)
    peak = float(hx.to_dataset(result)["layer_peak"].sel(layer="gan"))
    strongest = x[x < -1000.0][np.argmax(result.best_fit[x < -1000.0])]
    assert abs(peak - strongest) < 50.0


def test_layers_of_a_joint_fit_belong_to_the_sample_and_peaks_to_the_curves():
    film = hx.Film("top", "SiGe", 800.0, x=0.2, relaxation=0.3)
    joint = hx.JointModel(
        [model_of(REFLECTIONS[name], film, prefix=p) for name, p in (("004", "s_"), ("224 high", "a_"))]
    )
    x = [np.linspace(-3000.0, 500.0, 250), np.linspace(-4500.0, 500.0, 250)]
    params = joint.make_params(s_scale=1e6, a_scale=1e6, s_background=2.0, a_background=2.0)
    counts = np.random.default_rng(0).poisson(joint.eval(params, x=x)).astype(float)
    tree = hx.to_dataset(joint.fit(np.split(counts, [250]), params, x=x))
    root = root_of(tree)
    assert root["layer_thickness"].sel(layer="top") == pytest.approx(800.0, abs=10.0)
    assert "layer_peak" not in root
    assert tree["s"]["layer_peak"].item() != pytest.approx(tree["a"]["layer_peak"].item(), abs=100.0)
    hx.plot.stack(tree)


def test_a_fit_without_films_has_no_layers():
    result = fitted(hx.RockingCurveModel(REFLECTIONS["004"], profile="none", axis_kind="offset", unit="arcsec"),
                    np.linspace(-300.0, 300.0, 200))  # fmt: skip
    assert "layer" not in hx.to_dataset(result).dims
    with pytest.raises(ParameterError, match="no films to draw"):
        hx.plot.stack(result)
