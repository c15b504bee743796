"""The scale symmetry, the window that the network sees, the coordinates in which it answers, and the prior."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrxrd_ml import Reflection, RockingCurve, Susceptibility
from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.guess.network.targets import NUISANCE, PROFILE, Frame, Targets, feasible
from hrxrd_ml.guess.network.window import Preprocessing
from hrxrd_ml.specimen.profile.implanted import implanted_space
from hrxrd_ml.training.prior import FixedPrior, UniversalPrior
from hrxrd_ml.training.reflections import TRAINING_CRYSTALS, UNSEEN_CRYSTALS
from hrxrd_ml.units import ARCSEC

GGG = Reflection("GGG", (4, 4, 4))


@pytest.mark.parametrize(
    "reflection",
    [GGG, Reflection("Si", (0, 0, 4), "MoKa1"), Reflection("GaAs", (1, 1, 5), surface=(0, 0, 1), exit="low")],
    ids=str,
)
def test_strain_axis_is_inverted_and_names_the_strain_that_diffracts(reflection: Reflection) -> None:
    axis = StrainAxis.of(reflection)
    strain = np.array([-0.01, 0.0, 0.004, 0.03])
    assert axis.strain(axis.offset(strain)) == pytest.approx(strain, abs=1e-12)
    # A thick uniformly strained layer has its peak there, up to refraction.
    at = axis.offset(np.array([0.01 / 1.01]))[0]
    expected = -0.01 * (
        np.cos(reflection.inclination) ** 2 * np.tan(reflection.bragg_angle)
        - np.sin(reflection.inclination) * np.cos(reflection.inclination)
    )
    assert at == pytest.approx(expected, rel=0.03)


def test_curves_of_other_crystals_coincide_on_the_strain_axis() -> None:
    """Another lattice, Bragg angle and wavelength with the same dimensionless constants: the same curve."""
    first = GGG.replace(polarization_ratio=0.0)
    second = Reflection("Si", (0, 0, 4), 1.2, polarization_ratio=0.0)
    ratio = second.diffraction_vector / first.diffraction_vector

    def matched(target: Reflection) -> Reflection:
        one, two = StrainAxis.of(first), StrainAxis.of(target)
        chi = first.susceptibility
        coupling = one.coupling / (two.coupling / abs(target.susceptibility.chih)) / abs(chi.chih)
        unit = target.replace(susceptibility=Susceptibility(-1e-9 + 1e-6j, chi.chih * coupling))
        absorption = 1e-6 * one.absorption / StrainAxis.of(unit).absorption
        return target.replace(susceptibility=Susceptibility(-1e-9 + 1j * absorption, chi.chih * coupling))

    base = first.replace(susceptibility=Susceptibility(-1e-9 + 1j * first.susceptibility.chi0.imag, -1.2e-5 + 3e-7j))
    first = base
    other = matched(second)
    strain = np.linspace(0.02, -0.002, 500)
    curves = []
    for reflection, shrink in ((first, 1.0), (other, 1.0 / ratio)):
        axis = StrainAxis.of(reflection)
        bound = RockingCurve.of(reflection, damage=None, diffuse=None, tolerance=1e-5).bind(axis.offset(strain))
        values = bound.model.space.defaults() | {
            "Dmax1": 0.012, "D01": 0.004, "L1": 4000.0 * shrink, "Rp1": 2500.0 * shrink, "D02": 0.003,
            "L2": 2500.0 * shrink, "Rp2": -800.0 * shrink, "scale": 1.0, "background": 0.0,
            "fwhm": 2e-4 / axis.per_arcsec,
        }  # fmt: skip
        curves.append(bound.curve(values))
    # What is left is the flux factor and the curvature of the axis: of the order of the strain.
    assert np.max(np.abs(np.log10(curves[0] / curves[1]))) < 0.03


@pytest.fixture(scope="module")
def measured() -> tuple[np.ndarray, np.ndarray]:
    dtheta = np.arange(-900.0, 150.0, 3.0) * ARCSEC
    bound = RockingCurve.of(GGG).bind(dtheta)
    values = bound.model.space.defaults() | {"scale": 1e5, "background": 2.0, "fwhm": 12.0}
    return dtheta, bound.curve(values)


def test_window_does_not_depend_on_the_units_of_intensity_or_on_the_zero_of_the_axis(
    measured: tuple[np.ndarray, np.ndarray],
) -> None:
    dtheta, intensity = measured
    seen = Preprocessing()
    axis = StrainAxis.of(GGG)
    window, image, constants = seen.prepare(axis, dtheta, intensity)
    scaled, same, known = seen.prepare(axis, dtheta, 7.0 * intensity, 7.0)
    assert scaled.height == pytest.approx(7.0 * window.height)
    assert same == pytest.approx(image, abs=1e-9)
    assert known == pytest.approx(constants, abs=1e-9)
    shifted, moved, _ = seen.prepare(axis, dtheta + 40.0 * ARCSEC, intensity)
    assert shifted.span == pytest.approx(window.span, rel=1e-3)
    inside = np.linspace(seen.low, seen.high, seen.points) > 0.02
    assert moved[0][inside] == pytest.approx(image[0][inside], abs=0.02)


def test_window_keeps_the_area_whatever_the_step(measured: tuple[np.ndarray, np.ndarray]) -> None:
    dtheta, intensity = measured
    axis, seen = StrainAxis.of(GGG), Preprocessing(points=64)
    _, fine, _ = seen.prepare(axis, dtheta, intensity)
    _, coarse, _ = seen.prepare(axis, dtheta[::2], intensity[::2])
    # The top of the peak, which everything is compared with, falls between the coarser points.
    difference = coarse[0][8:] - fine[0][8:]
    assert np.ptp(difference) < 0.06
    assert abs(np.median(difference)) < 0.1
    # Half as many points counted make the relative error larger by the root of two.
    assert np.median(coarse[1][10:] - fine[1][10:]) == pytest.approx(0.5 * np.log10(2.0), abs=0.05)


def test_window_marks_what_was_not_measured(measured: tuple[np.ndarray, np.ndarray]) -> None:
    dtheta, intensity = measured
    seen = Preprocessing()
    axis = StrainAxis.of(GGG)
    _, image, _ = seen.prepare(axis, dtheta[: -len(dtheta) // 8], intensity[: -len(dtheta) // 8])
    assert image[1][0] == 0.5
    with pytest.raises(CurveError, match="no clear substrate peak"):
        seen.prepare(axis, dtheta, np.full(len(dtheta), 5.0))


def _frame(n: int, rng: np.random.Generator) -> Frame:
    return Frame.stack(
        rng.uniform(0.003, 0.04, n), rng.uniform(-1e-3, 1e-3, n), 10 ** rng.uniform(2, 6, n),
        rng.uniform(2.0, 7.0, n), rng.uniform(3e-6, 2e-5, n),
    )  # fmt: skip


def test_answers_are_translated_there_and_back() -> None:
    rng = np.random.default_rng(3)
    n = 400
    values = implanted_space().from_unit(rng.random((n, 7)))
    values |= {name: rng.uniform(0.5, 2.0, n) for name in NUISANCE}
    frame = _frame(n, rng)
    targets = Targets()
    back = targets.decode(targets.encode(values, frame), frame)
    for name in targets.names:
        assert back[name] == pytest.approx(values[name], rel=1e-6, abs=1e-9), name
    linear = Targets("linear")
    back = linear.decode(linear.encode(values))
    for name in PROFILE:
        assert back[name] == pytest.approx(values[name], rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 30.0))
def test_whatever_the_network_answers_is_feasible(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    values = Targets().decode(size * rng.standard_normal((5, 4, 15)), _frame(5, rng))
    space = implanted_space()
    low, high = space.limits()
    for i in np.ndindex(5, 4):
        own = {name: float(values[name][i]) for name in space.names}
        assert not space.violations(own)
        assert all(low[name] <= own[name] <= high[name] for name in space.names)
    assert all(np.isfinite(values[name]).all() for name in values)


def test_prior_fills_the_feasible_set_exactly() -> None:
    space = implanted_space()
    unit = np.random.default_rng(5).random((2000, 7))
    values = space.from_unit(unit)
    low, high = space.limits()
    for name in space.names:
        assert np.all((values[name] >= low[name]) & (values[name] <= high[name]))
    assert not any(space.violations(dict(zip(values, row, strict=True))) for row in zip(*values.values(), strict=True))
    assert space.to_unit(values) == pytest.approx(unit, abs=1e-9)
    corners = space.from_unit(np.array([[0.0] * 7, [1.0] * 7]))
    assert corners["Rp1"][1] == corners["L1"][1] == 7000.0
    assert corners["D01"][1] == pytest.approx(0.029)  # D02 needs its room
    with pytest.raises(ParameterError, match="shape"):
        space.from_unit(np.zeros((3, 6)))
    with pytest.raises(ParameterError, match="0 to 1"):
        space.from_unit(np.full((3, 7), 1.5))


def test_prior_of_experiments_stays_inside_the_bounds_of_the_model() -> None:
    prior = UniversalPrior()
    rng = np.random.default_rng(8)
    seen = set()
    for group in prior.groups(rng.random((160, prior.columns)), rng):
        space = group.model(1e-3).space
        for name, column in group.values.items():
            spec = space[name]
            assert np.all((column >= spec.min) & (column <= spec.max)), name
        assert np.all(np.diff(group.dtheta) > 0.0)
        assert 100 < len(group.dtheta) <= prior.most_points
        assert group.kept.any(axis=1).all()
        seen.add(group.reflection.crystal.name)
    assert seen <= set(TRAINING_CRYSTALS)
    assert len(seen) > 3


def test_crystals_of_the_unseen_test_are_not_in_the_training() -> None:
    assert not set(UNSEEN_CRYSTALS) & set(TRAINING_CRYSTALS)


def test_thesis_prior_has_the_axis_of_the_thesis() -> None:
    group = next(FixedPrior().groups(np.full((3, 7), 0.5), np.random.default_rng(0)))
    assert len(group.dtheta) == 701
    assert group.dtheta[-21] == pytest.approx(0.0)
    assert np.diff(group.dtheta) / ARCSEC == pytest.approx(4.018)


def test_feasible_is_what_the_parameter_space_calls_so() -> None:
    space = implanted_space()
    rng = np.random.default_rng(12)
    wild = {
        name: 2.0 * spec.max * rng.standard_normal(50) - spec.min for name, spec in zip(space.names, space, strict=True)
    }
    moved = feasible(wild)
    for i in range(50):
        expected = space.clip({name: float(wild[name][i]) for name in space.names})
        assert {name: float(moved[name][i]) for name in space.names} == pytest.approx(expected)
