"""Parts that a user writes: profile, damage, film and diffuse model, with exact derivatives and in fits."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import hrxrd_ml as hx
from differences import central, error
from hrxrd_ml.complex_step import extended
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.diffuse import CorrelationDiffuse, LineShape
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.damage import FunctionDamage
from hrxrd_ml.specimen.film import Film
from hrxrd_ml.specimen.profile.function import FunctionProfile
from hrxrd_ml.units import ARCSEC

GGG = Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Ge 220",))
X = np.arange(-900.0, 201.0, 8.0)


def spec(name, unit, value, low, high):
    return ParameterSpec(name, unit, value, low, high, True, name)


def fading(z, top, depth):
    return top * np.exp(-3.0 * (z / depth) ** 2) * (1.0 - z / depth)


PROFILE = FunctionProfile(fading, (spec("top", "", 0.006, 0.0, 0.05), spec("depth", "Å", 2500.0, 500.0, 9000.0)))


def wearing(z, wear, reach):
    return wear * np.exp(-z / reach)


DAMAGE = FunctionDamage(wearing, (spec("wear", "", 0.3, 0.0, 5.0), spec("reach", "Å", 900.0, 50.0, 9000.0)))


class Squared:
    """L follows the square of the strain."""

    space = ParameterSpace((spec("worst", "", 0.4, 0.0, 5.0),))

    def evaluate(self, z, values, strained):
        return values["worst"] * (strained.strain / strained.largest) ** 2


@dataclass(frozen=True)
class Graded:
    """A film whose strain follows from a dose, and else is like another one."""

    inner: Film

    @property
    def name(self):
        return self.inner.name

    @property
    def thickness(self):
        return self.inner.thickness

    def space(self, reflection):
        kept = tuple(s for s in self.inner.space(reflection) if not s.name.endswith("_strain"))
        return ParameterSpace((*kept, spec(f"{self.name}_dose", "", 0.4, 0.0, 2.0)))

    def state(self, values, reflection):
        return self.inner.state({**values, f"{self.name}_strain": 0.002 * values[f"{self.name}_dose"] ** 2}, reflection)


class Correlation(LineShape):
    """`CorrelationDiffuse` by its line shape alone."""

    space = CorrelationDiffuse().space

    def length(self, values):
        return values["correlation_length"]

    @staticmethod
    def line(q, loss, length, mix):
        x2 = (q * length) ** 2
        return loss * length * (mix / (1.0 + x2) + (1.0 - mix) * np.exp(-x2 / np.pi))

    def density(self, q, debye_waller, values):
        return self.line(q, 1.0 - debye_waller**2, values["correlation_length"], values["diffuse_mix"])

    def substrate_density(self, q, values):
        loss = 1.0 - np.exp(-2.0 * values["substrate_damage"])
        return self.line(q, loss, values["substrate_correlation_length"], values["substrate_diffuse_mix"])


CAP = (Graded(Film("cap", "YIG", 1500.0, damage=0.2)),)
PARTS = {
    "profile": {"profile": PROFILE},
    "function of damage": {"profile": PROFILE, "damage": DAMAGE},
    "class of damage": {"profile": PROFILE, "damage": Squared()},
    "line shape": {"profile": PROFILE, "diffuse": Correlation()},
    "film": {"films": CAP, "diffuse": "correlation"},
    "film and profile": {
        "films": (Graded(Film("cap", "YIG", 1500.0, damage=0.2)),),
        "profile": PROFILE,
        "damage": DAMAGE,
    },
}
OWN = ("top", "depth", "wear", "reach", "worst", "cap_dose", "cap_thickness", "damage", "correlation_length")


def own_names(space):
    return [name for name in OWN if name in space]


@pytest.mark.parametrize("part", PARTS)
def test_derivatives_are_exact(part):
    model = RockingCurve.of(GGG, **PARTS[part], tolerance=1e-8)
    curve, values = model.bind(X * ARCSEC), model.space.defaults()
    names = own_names(model.space)
    _, jacobian = curve.jacobian(values, names)
    for column, name in zip(jacobian.T, names, strict=True):
        step = 2e-4 * values[name]
        expected = central(lambda h, n=name: curve.curve(values | {n: values[n] + h}), step)
        assert error(column, expected) < 1e-6, name


@pytest.mark.parametrize("part", PARTS)
def test_a_fit_finds_the_truth(part):
    model = hx.RockingCurveModel(GGG, **PARTS[part], axis_kind="offset", unit="arcsec")
    truth = model.make_params(scale=1e6, background=5.0)
    counts = np.random.default_rng(3).poisson(model.eval(truth, x=X)).astype(float)
    start, free = truth.copy(), [*own_names(model.space), "scale"]
    for par in start.values():
        par.vary = par.name in free
    for name in free:
        start[name].value *= 1.01
    result = model.fit(counts, start, x=X)
    assert result.redchi < 1.4
    for name in free:
        assert abs(result.params[name].value - truth[name].value) < 5.0 * result.params[name].stderr, name


@pytest.mark.parametrize("part", PARTS)
def test_a_model_with_own_parts_says_that_it_cannot_be_saved(part, tmp_path):
    model = hx.RockingCurveModel(GGG, **PARTS[part])
    with pytest.raises(ParameterError, match="cannot save"):
        model.save(tmp_path / "model.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("films", [(), (Film("f", "YIG", 2000.0, damage=0.1, relaxation=0.1),)], ids=["bare", "film"])
@pytest.mark.parametrize("resolution", ["gaussian", "double_crystal"])
def test_a_line_shape_agrees_with_the_compiled_model(films, resolution):
    found = []
    for diffuse in (CorrelationDiffuse(), Correlation()):
        model = RockingCurve.of(GGG, "implanted", "tied", diffuse, films=films, resolution=resolution)
        values = model.space.defaults() | {"scale": 1.0, "background": 0.0, "diffuse_mix": 0.4, "strain_spread": 0.01}
        # A line of one's own is that of one reflection.
        names = sorted(set(model.physics) - {"substrate_correlation_exponent"})
        found.append(model.bind(X * ARCSEC).jacobian(values, names))
    (compiled, by_compiled), (plain, by_plain) = found
    assert error(plain, compiled) < 1e-10
    for k, name in enumerate(names):
        assert error(by_plain[:, k], by_compiled[:, k]) < 1e-10, name


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda z, top, depth: top * np.abs(z - 0.4 * depth), "drops the imaginary part"),
        (lambda z, top, depth: top * np.real(1.0 - z / depth), "drops the imaginary part"),
        (lambda z, top, depth: top * np.interp(z, [0.0, 5000.0], [1.0, 0.0]), "complex numbers|imaginary part"),
        (lambda z, top, depth: top * math.exp(-depth / 1000.0) * (depth - z), "complex numbers"),
        (lambda z, top, depth: top * np.array([math.exp(-v / depth) for v in z]), "complex numbers"),
    ],
    ids=["abs", "real", "interp", "math.exp of a parameter", "math.exp of depth"],
)
@pytest.mark.parametrize("kind", [FunctionProfile, FunctionDamage])
def test_a_function_without_derivatives_is_refused(kind, function, said):
    specs = (spec("top", "", 0.006, 0.0, 0.05), spec("depth", "Å", 2500.0, 500.0, 9000.0))
    with pytest.raises(ParameterError, match=said):
        kind(function, specs)


def test_a_function_with_a_kink_and_branches_on_real_parts_is_taken():
    def bent(z, top, depth):
        return top * np.where(np.real(z) < 0.4 * np.real(depth), z / (0.4 * depth), (depth - z) / (0.6 * depth))

    profile = FunctionProfile(bent, PROFILE.specs)
    assert profile.evaluate(np.array([400.0]), {"top": 0.01, "depth": 1000.0}) == pytest.approx(0.01)


def test_a_table_is_a_profile():
    depths = np.linspace(0.0, 1.0, 12)
    table = CubicSpline(depths, np.exp(-3.0 * depths**2) * (1.0 - depths))
    with pytest.raises(ParameterError, match="drops the imaginary part"):
        FunctionProfile(lambda z, top, depth: top * table(np.real(z / depth)), PROFILE.specs)
    of_depth = extended(table, table.derivative())
    profile = FunctionProfile(lambda z, top, depth: top * of_depth(z / depth), PROFILE.specs, scale=200.0)
    model = RockingCurve.of(GGG, profile, tolerance=1e-8)
    curve, values = model.bind(X * ARCSEC), model.space.defaults()
    _, jacobian = curve.jacobian(values, ("top", "depth"))
    for column, name in zip(jacobian.T, ("top", "depth"), strict=True):
        expected = central(lambda h, n=name: curve.curve(values | {n: values[n] + h}), 1e-4 * values[name])
        # Third derivatives of the table leap at its knots.
        assert error(column, expected) < 1e-6, name
