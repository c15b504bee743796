"""Lamellae: the grid follows the profile, the result does not depend on the grid, derivatives are exact."""

import numpy as np
import pytest

from hrxrd_ml import Reflection
from hrxrd_ml.diffraction.coherent import reflectivity
from hrxrd_ml.diffraction.lamellae import Lamellae
from hrxrd_ml.specimen.damage import SplineDamage, TiedDamage
from hrxrd_ml.specimen.layers import discretise, sublayers
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile
from hrxrd_ml.specimen.profile.spline import SplineProfile

SEVEN = {"Dmax1": 0.008, "D01": 0.001, "L1": 5200.0, "Rp1": 3500.0, "D02": 0.0025, "L2": 3000.0, "Rp2": -50.0}
SPLINE = {f"s{i}": 1e-3 * (2.0 + np.sin(i)) for i in range(9)} | {"depth": 3000.0}
WAVES = {f"w{i}": 0.1 + 0.05 * i for i in range(5)}
DTHETA = (np.arange(301) - 270) * 8.0 * np.pi / 648_000.0


@pytest.fixture(scope="module")
def ggg():
    return Reflection("GGG", (4, 4, 4), 1.5405)


def layer(profile, damage, values, reflection, **options):
    return discretise(
        profile,
        damage,
        values,
        diffraction_vector=reflection.diffraction_vector,
        strain_range=0.02,
        **options,
    )


def curve(reflection, lamellae_of):
    thickness, strain, exponent = lamellae_of
    lamellae = Lamellae.of_one_crystal(reflection, thickness, strain, np.exp(-exponent))
    return reflectivity(reflection, lamellae, DTHETA)


def test_grid_covers_the_profile_with_nodes_on_its_kinks(ggg):
    made = layer(ImplantedProfile(), TiedDamage(), SEVEN | {"damage": 0.4}, ggg)
    assert made.thickness.sum() == pytest.approx(5200.0)
    assert made.depth[0, 0] == 0.0
    np.testing.assert_allclose(made.depth[1:, 0], made.depth[:-1, 2])
    for kink in (3000.0, 3500.0, 5200.0):
        assert np.min(np.abs(made.depth[:, 2] - kink)) < 1e-9


def test_tied_damage_is_the_strain_scaled_to_its_maximum(ggg):
    made = layer(ImplantedProfile(), TiedDamage(), SEVEN | {"damage": 0.4}, ggg)
    assert made.damage.max() == pytest.approx(0.4, rel=1e-3)
    np.testing.assert_allclose(made.damage / made.strain, (made.damage / made.strain)[0, 0])


@pytest.mark.parametrize(("tolerance", "error"), [(1e-4, 1e-4), (1e-7, 1e-5)])
def test_the_curve_converges_to_that_of_very_thin_sublayers(ggg, tolerance, error):
    values = SEVEN | {"damage": 0.4}
    made = layer(ImplantedProfile(), TiedDamage(), values, ggg, tolerance=tolerance)
    graded = curve(ggg, (made.thickness, made.strain, made.damage))
    # Richardson: the error of uniform sublayers falls with the square of their thickness.
    h = ggg.diffraction_vector
    cuts = (sublayers(ImplantedProfile(), TiedDamage(), values, t, diffraction_vector=h) for t in (4.0, 2.0))
    coarse, fine = (curve(ggg, cut) for cut in cuts)
    exact = fine + (fine - coarse) / 3.0
    assert np.max(np.abs(graded - exact) / (exact + 1e-6)) < error
    assert len(made.thickness) <= (60 if tolerance == 1e-4 else 150)


@pytest.mark.parametrize(
    ("profile", "damage", "values"),
    [
        (ImplantedProfile(), TiedDamage(), SEVEN | {"damage": 0.4}),
        (ImplantedProfile(), SplineDamage(5), SEVEN | WAVES),
        (ImplantedProfile(), None, SEVEN),
        (SplineProfile(9), TiedDamage(), SPLINE | {"damage": 0.4}),
        (SplineProfile(9), SplineDamage(5), SPLINE | WAVES),
    ],
    ids=["implanted-tied", "implanted-bspline", "implanted-none", "bspline-tied", "bspline-bspline"],
)
def test_derivatives_agree_with_finite_differences(ggg, profile, damage, values):
    """Strain, E and thickness of every lamella, the motion of the nodes included."""
    made = layer(profile, damage, values, ggg, names=tuple(values))
    slopes = made.slopes
    by_e = -made.debye_waller * slopes.damage
    dense = np.concatenate([slopes.strain, by_e, slopes.thickness[..., None]], axis=2)

    def flat(v):
        m = layer(profile, damage, v, ggg)
        return np.concatenate([m.strain, m.debye_waller, m.thickness[:, None]], axis=1)

    for i, name in enumerate(slopes.names):
        h = 1e-6 * max(abs(values[name]), 1e-2)
        difference = (flat(values | {name: values[name] + h}) - flat(values | {name: values[name] - h})) / (2.0 * h)
        scale = np.abs(difference).max(axis=0) + 1e-8  # below: rounding
        assert np.max(np.abs(dense[i] - difference) / scale) < 5e-5, name


@pytest.mark.parametrize("rp1", [0.0, 1e-9, 5200.0])
def test_profiles_without_one_flank_have_lamellae_all_the_same(ggg, rp1):
    made = layer(ImplantedProfile(), TiedDamage(), SEVEN | {"Rp1": rp1, "damage": 0.4}, ggg, names=tuple(SEVEN))
    assert made.thickness.sum() == pytest.approx(5200.0)
    assert np.all(np.isfinite(made.strain))
    for slopes in (made.slopes.strain, made.slopes.damage, made.slopes.thickness):
        assert np.all(np.isfinite(slopes))
