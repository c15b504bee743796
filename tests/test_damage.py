"""Damage that the sample has for every reflection: mean-square displacements."""

import numpy as np
import pytest

import hrxrd_ml as hx
from differences import central, error
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.damage import DAMAGES, REFERENCE
from hrxrd_ml.units import ARCSEC

R444, R888 = (hx.Reflection("GGG", (n, n, n), 1.5405) for n in (4, 8))
X = np.arange(-900.0, 301.0, 7.0) * ARCSEC


def at_its_reflection(model, msd):
    """Values of a model in which L at the maximum is H² msd/2."""
    return model.space.defaults() | {"msd": msd, "substrate_msd": 0.05 * msd}


@pytest.mark.parametrize("reflection", [R444, R888])
def test_displacements_are_the_damage_that_a_reflection_sees_of_them(reflection):
    """L = H²⟨u²⟩/2, in layer and substrate, coherent and diffuse."""
    tied, sample = (RockingCurve.of(reflection, damage=kind) for kind in ("tied", "displacements"))
    values = at_its_reflection(sample, 0.03)
    seen = 0.5 * reflection.diffraction_vector**2
    same = {"damage": seen * values["msd"], "substrate_damage": seen * values["substrate_msd"]}
    expected = tied.bind(X).curve(tied.space.defaults() | same)
    np.testing.assert_allclose(sample.bind(X).curve(values), expected, rtol=1e-12)


def test_an_exponent_changes_the_ratio_of_two_reflections_and_not_the_unit():
    """L of 888 over that of 444 is 2^p, and a reflection at the reference sees H²⟨u²⟩/2 for any p."""
    for p in (1.5, 2.0):
        ratio = []
        for reflection in (R444, R888):
            model = RockingCurve.of(reflection, damage="displacements")
            ratio.append(model.substrate_exponent(model.space.defaults() | {"msd_exponent": p}))
        assert ratio[1] / ratio[0] == pytest.approx(2.0**p, rel=1e-12)
    measure = model.damage.measure
    assert measure.exponent({"msd_exponent": 1.2}, REFERENCE) == pytest.approx(0.5 * REFERENCE**2)


@pytest.mark.parametrize("kind", ["displacements", "displacement_spline"])
def test_derivatives_of_displacements_are_exact(kind):
    model = RockingCurve.of(R444, damage=kind, damage_knots=4, tolerance=1e-8)
    values = model.space.defaults() | {"scale": 1.0, "background": 0.0, "msd_exponent": 1.7}
    curve = model.bind(X)
    names = (model.damage.space + model.diffuse.space).names
    _, jacobian = curve.jacobian(values, names)
    for name, column in zip(names, jacobian.T, strict=True):
        step = 2e-4 * max(values[name], 0.01)
        assert error(column, central(lambda h, n=name: curve.curve(values | {n: values[n] + h}), step)) < 1e-6, name


def test_what_the_sample_has_is_shared_and_what_a_reflection_sees_is_not():
    scopes = {
        kind: {spec.scope for spec in (*make().space, *RockingCurve.of(R444, damage=kind).diffuse.space)
               if spec.name.startswith(("damage", "substrate_damage", "w", "msd", "substrate_msd"))}
        for kind, make in DAMAGES.items() if make
    }  # fmt: skip
    assert scopes == {
        "tied": {"curve"}, "bspline": {"curve"}, "displacements": {"sample"}, "displacement_spline": {"sample"},
    }  # fmt: skip


def test_two_reflections_share_displacements():
    models = [
        hx.RockingCurveModel(r, damage="displacements", prefix=p, axis_kind="offset", unit="arcsec")
        for r, p in ((R444, "a_"), (R888, "b_"))
    ]
    joint = hx.JointModel(models)
    assert {"msd", "substrate_msd", "msd_exponent"} <= set(joint.make_params())


@pytest.mark.parametrize("kind", ["displacements", "displacement_spline"])
def test_a_saved_model_with_displacements_is_the_same(kind, tmp_path):
    model = hx.RockingCurveModel(R444, damage=kind)
    model.save(tmp_path / "model.json")
    assert hx.load_model(tmp_path / "model.json").simulation == model.simulation


def test_an_unknown_damage_is_refused():
    with pytest.raises(ParameterError, match="displacements"):
        RockingCurve.of(R444, damage="displaced")
