"""The catalogue of parameters and the rules between them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrxrd_ml import ParameterSpace, ParameterSpec, Reflection
from hrxrd_ml.diffraction.diffuse import DIFFUSES, make_diffuse
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.instrument.background import BACKGROUNDS, make_background
from hrxrd_ml.instrument.counting import base_space
from hrxrd_ml.instrument.resolution import RESOLUTIONS, Response, make_resolution
from hrxrd_ml.parameters import Nested
from hrxrd_ml.specimen.damage import DAMAGES, TiedDamage, make_damage
from hrxrd_ml.specimen.profile import PROFILES, make_profile
from hrxrd_ml.specimen.profile.implanted import implanted_space
from hrxrd_ml.specimen.profile.spline import spline_space

MONOCHROMATED = Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Ge 220",))
IMPLANTED_RANGES = {
    "Dmax1": (0.001, 0.030),
    "D01": (0.0005, 0.030),
    "L1": (500.0, 7000.0),
    "Rp1": (0.0, 7000.0),
    "D02": (0.001, 0.030),
    "L2": (500.0, 7000.0),
    "Rp2": (-6500.0, 0.0),
}

CATALOGUE = [
    implanted_space(),
    spline_space(8, 5),
    *(part().space for part in (*PROFILES.values(), *DAMAGES.values(), *DIFFUSES.values()) if part),
    *(Response(make_resolution(kind, MONOCHROMATED)).space for kind in RESOLUTIONS),
    *(make_background(kind).space for kind in BACKGROUNDS),
    base_space(),
]

implanted_values = st.fixed_dictionaries(
    {name: st.floats(low - 1.0, high + 1.0) for name, (low, high) in IMPLANTED_RANGES.items()}
)


def test_implanted_profile_has_the_documented_names_ranges_and_units():
    space = implanted_space()
    assert {spec.name: (spec.min, spec.max) for spec in space} == IMPLANTED_RANGES
    assert [spec.unit for spec in space] == ["", "", "Å", "Å", "", "Å", "Å"]
    assert set(space.nested) == {
        Nested("D01", "Dmax1"),
        Nested("Rp1", "L1"),
        Nested("L2", "L1"),
        Nested("D02", "D01", 0.03),
    }


@pytest.mark.parametrize("space", CATALOGUE, ids=lambda space: "+".join(space.names[:2]) or "empty")
def test_defaults_are_feasible_and_described(space):
    assert space.violations(space.defaults()) == ()
    assert space.clip(space.defaults()) == space.defaults()
    assert all(spec.description for spec in space)


def test_spline_names_count_from_the_surface():
    assert spline_space(3, 2).names == ("depth", "knot_centre", "knot_crowding", "s0", "s1", "s2", "w0", "w1")
    assert make_damage("bspline", 3).space.names == ("w0", "w1", "w2")


@pytest.mark.parametrize("build", [make_profile, make_damage, make_diffuse, make_resolution, make_background])
def test_unknown_kind_lists_the_known_ones(build):
    with pytest.raises(ParameterError, match="expected"):
        build("nonsense")


@given(implanted_values)
def test_clip_gives_feasible_values_and_is_idempotent(values):
    space = implanted_space()
    clipped = space.clip(values)
    assert space.violations(clipped) == ()
    assert all(space[name].min <= value <= space[name].max for name, value in clipped.items())
    assert space.clip(clipped) == clipped


def test_clip_leaves_feasible_values_alone_and_lowers_the_one_that_gives_way():
    space = implanted_space()
    assert space.clip({"Dmax1": 0.01, "D01": 0.009}) == space.defaults() | {"Dmax1": 0.01, "D01": 0.009}
    assert space.clip({"Dmax1": 0.004, "D01": 0.009})["D01"] == 0.004
    assert space.clip({"Dmax1": 0.03, "D01": 0.02, "D02": 0.02})["D02"] == pytest.approx(0.01)


def test_clip_without_bounds_keeps_values_beyond_them():
    values = implanted_space().clip({"Dmax1": 0.05, "D01": 0.001, "L1": 9000.0}, bounds=False)
    assert (values["Dmax1"], values["L1"]) == (0.05, 9000.0)


def test_limits_leave_room_for_the_partner():
    _, high = implanted_space().limits()
    assert high["D01"] == pytest.approx(0.029)  # the other strain at the surface is at least 0.001


def test_violations_say_which_rule_and_which_values():
    (text,) = implanted_space().violations({**implanted_space().defaults(), "L2": 6000.0})
    assert "L2 <= L1" in text
    assert "6000" in text
    assert "5000" in text


def test_spaces_add_and_keep_what_is_the_same_once():
    space = implanted_space() + TiedDamage().space + implanted_space()
    assert space.names == (*IMPLANTED_RANGES, "damage")
    assert len(space.nested) == 4
    with pytest.raises(ParameterError, match="L1"):
        implanted_space() + implanted_space().with_changes("L1", max=9000.0)


def test_changes_apply_to_one_parameter():
    space = base_space().with_changes("scale", value=5.0, vary=False)
    assert (space["scale"].value, space["scale"].vary) == (5.0, False)
    assert space["offset"] == base_space()["offset"]


def test_unknown_name_offers_the_nearest():
    with pytest.raises(ParameterError, match="did you mean Dmax1"):
        implanted_space()["Dmax"]
    with pytest.raises(ParameterError, match="known"):
        implanted_space().clip({"zzz": 1.0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a b"}, "letters"),
        ({"min": 2.0, "max": 1.0}, "below"),
        ({"value": 7.0}, "not within"),
        ({"value": float("nan")}, "not within"),
    ],
)
def test_bad_specification_is_refused(changes, message):
    good = {"name": "a", "unit": "", "value": 0.5, "min": 0.0, "max": 1.0, "vary": True, "description": "x"}
    with pytest.raises(ParameterError, match=message):
        ParameterSpec(**good | changes)


def test_rules_need_known_names_in_order():
    a, b = (ParameterSpec(name, "", 0.5, 0.0, 1.0, True, "x") for name in "ab")
    with pytest.raises(ParameterError, match="needs a parameter c"):
        ParameterSpace((a, b), (Nested("b", "c"),))
    with pytest.raises(ParameterError, match="must come before"):
        ParameterSpace((a, b), (Nested("a", "b"),))


def test_names_units_and_order_of_a_whole_model():
    space = implanted_space() + base_space()
    assert len(space) == 11
    assert "scale" in space
    assert "nothing" not in space
    assert {spec.name: spec.unit for spec in base_space()} == {
        "scale": "counts",
        "offset": "arcsec",
        "step": "",
        "dead_time": "1/counts",
    }
    assert np.isfinite([spec.value for spec in space]).all()
