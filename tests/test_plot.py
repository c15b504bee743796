"""Figures: everything measured is in them, with units; nothing outside them changes."""

import io

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure

from fit_results import curve, model, parameters, result
from hrxrd_ml import plot, to_dataset
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.results.plots.style import COLUMN


@pytest.fixture(scope="module")
def dataset():
    return to_dataset(result())


def all_axes(figure):
    return figure.get_axes()


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def test_overview_shows_curve_residual_strain_and_damage(dataset):
    figure = plot.overview(dataset)
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in all_axes(figure)]
    assert labels == [
        ("", "Counts"),
        ("Δθ (arcsec)", "Residual ($\\sigma$)"),
        ("", "Strain (%)"),
        ("Depth (Å)", "Debye–Waller $E$"),
    ]
    assert all_axes(figure)[0].get_yscale() == "log"
    assert len(png(figure)) > 10_000


def test_every_measured_point_is_in_the_picture(dataset):
    data = dataset["data"].copy()
    data[3] = 0.0  # cannot be on a logarithmic axis
    ax = all_axes(plot.fit(dataset.assign(data=data)))[0]
    low, high = ax.get_ylim()
    assert low < float(data[data > 0.0].min())
    assert high > float(data.max())
    left, right = ax.get_xlim()
    assert left < float(dataset["x"][0])
    assert right > float(dataset["x"][-1])
    ticks = [line for line in ax.get_lines() if line.get_marker() == "|"]
    np.testing.assert_array_equal(ticks[0].get_xdata(), dataset["x"].values[[3]])


def test_strain_is_in_per_cent_with_its_band(dataset):
    wide = dataset.assign(strain_sigma=0.1 * dataset["strain"])
    ax = all_axes(plot.profile(wide))[0]
    fit = next(line for line in ax.get_lines() if line.get_label() == "fit")
    np.testing.assert_allclose(fit.get_ydata(), 100.0 * dataset["strain"])
    vertices = ax.collections[0].get_paths()[0].vertices
    assert vertices[:, 1].max() == pytest.approx(110.0 * float(dataset["strain"].max()))


def test_outliers_are_marked_at_the_edge(dataset):
    residual = dataset["residual"].copy()
    residual[50], residual[60] = 400.0, -300.0
    ax = all_axes(plot.fit(dataset.assign(residual=residual)))[1]
    assert ax.get_ylim()[1] < 10.0
    marks = {line.get_marker(): np.asarray(line.get_xdata()) for line in ax.get_lines()}
    np.testing.assert_array_equal(marks["^"], dataset["x"].values[[50]])
    np.testing.assert_array_equal(marks["v"], dataset["x"].values[[60]])


def test_points_left_out_look_different(dataset):
    used = dataset["used"].copy()
    used[:20] = False
    legend = plot.fit(dataset.assign(used=used)).legends[0]
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["data", "left out", "start", "fit"]


def test_components_on_demand(dataset):
    labels = all_axes(plot.fit(dataset, components=True))[0].get_legend_handles_labels()[1]
    assert {"coherent", "diffuse", "background"} <= set(labels)


def test_legends_name_only_what_can_be_seen(dataset):
    hidden = dataset.assign(guess=dataset["best_fit"], strain_guess=dataset["strain"])
    assert [text.get_text() for text in plot.fit(hidden).legends[0].get_texts()] == ["data", "fit"]
    assert "start" not in [text.get_text() for text in plot.profile(hidden).legends[0].get_texts()]


def test_perfect_crystal_has_no_profile_to_draw():
    fitted = model(profile="none", damage="none", diffuse="none")
    dataset = to_dataset(fitted.fit(curve(), fitted.make_params(scale=2.0e5)))
    assert len(all_axes(plot.overview(dataset))) == 2
    with pytest.raises(ParameterError, match="no strain profile"):
        plot.profile(dataset)


def test_undamaged_layer_needs_one_panel():
    fitted = model(damage="none", diffuse="none")
    start = parameters(model())
    params = fitted.make_params(**{name: start[name].value for name in fitted.param_names})
    assert len(all_axes(plot.profile(fitted.fit(curve(), params, max_nfev=3)))) == 1


@pytest.mark.parametrize(("kind", "unit", "label"), [("omega", "deg", "ω (°)"), ("two_theta", "deg", "2θ (°)")])
def test_axis_label_names_kind_and_unit(kind, unit, label):
    other = model(axis_kind=kind, unit=unit)
    found = other.fit(curve(other), parameters(other, free=("scale",)))
    assert all_axes(plot.fit(found))[1].get_xlabel() == label


def test_draws_into_a_given_figure_and_leaves_no_state(dataset):
    settings, open_before = dict(mpl.rcParams), Gcf.get_num_fig_managers()
    own = Figure(figsize=(5.0, 4.0))
    assert plot.fit(dataset, own) is own
    assert plot.profile(result()).get_figwidth() == pytest.approx(COLUMN)
    plot.overview(dataset)
    assert dict(mpl.rcParams) == settings
    assert Gcf.get_num_fig_managers() == open_before
