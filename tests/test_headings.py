"""What headings of columns say about the curve that is read."""

import numpy as np
import pytest

from curve_files import COUNTS, OMEGA, assert_is_the_curve, save, text_of
from hrxrd_ml import read_curve
from hrxrd_ml.errors import InputFileError

ARCSEC = np.linspace(-900.0, 270.0, len(OMEGA))


def told(folder, heading, x=ARCSEC):
    """Kind and unit that are read of a heading."""
    curve = read_curve(save(folder, "a.csv", text_of(x, COUNTS, delimiter=";", heading=f"{heading};counts\n")))
    return curve.x.attrs["kind"], curve.x.attrs["units"]


def asked(folder, heading, data="counts", x=OMEGA, **given):
    """The question that a heading makes the reader ask."""
    path = save(folder, "a.csv", text_of(x, COUNTS, delimiter=";", heading=f"{heading};{data}\n"))
    with pytest.raises(InputFileError) as caught:
        read_curve(path, **given)
    return str(caught.value)


@pytest.mark.parametrize(
    "heading",
    [
        "delta 2theta (arcsec)", "2theta offset [arcsec]", "rel. 2Theta (arcsec)", "2theta − 2thetaB (arcsec)",
        "2θ−2θ_B [″]", "Δ2θ ('')", "Δ(2θ) / arcsec", "delta_two_theta_arcsec", "d2theta (arcsec)", "tth-tth0 (arcsec)",
        "2Theta (relative, arcsec)", "2Theta - 66.05 (arcsec)", "two_theta_offset_arcsec",
        "2-Theta minus Bragg [arcsec]",
    ],
)  # fmt: skip
def test_a_difference_of_2theta_is_no_offset_of_omega(tmp_path, heading):
    assert told(tmp_path, heading) == ("two_theta_offset", "arcsec")


@pytest.mark.parametrize(
    "heading",
    [
        "omega_offset_arcsec", "Δω (″)", "Δθ ('')", 'domega (")', "Omega rel. (sec)", "ω − ω_B [arcsec]",
        "offset (arcsec)", "theta - thetaB (arcsec)", "omega - 25.53 [arcsec]", "dtheta/arcsec",
        "Winkelversatz ω (Bogensekunden)",
    ],
)  # fmt: skip
def test_differences_of_omega(tmp_path, heading):
    assert told(tmp_path, heading) == ("offset", "arcsec")


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("ω (°)", "omega"), ("Ω [deg]", "omega"), ("om", "omega"), ("Theta", "omega"), ("Winkel ω", "omega"),
        ("2θ", "two_theta"), ("TTH", "two_theta"), ("2-Theta (deg)", "two_theta"), ("угол 2θ, град", "two_theta"),
        ("2θ角度(°)", "two_theta"), ("Detector 2theta", "two_theta"),
    ],
)  # fmt: skip
def test_absolute_angles(tmp_path, heading, kind):
    assert told(tmp_path, heading, OMEGA) == (kind, "deg")


@pytest.mark.parametrize(
    "heading",
    [
        "Angle", "Winkel (°)", "угол", "角度", "Delta angle (arcsec)", "relative angle", "arcsec", "Omega/2Theta",
        "2Theta-Omega", "2theta/2", "Phi", "χ (deg)", "H", "Qz", "temperature", "x", "Motor 3",
    ],
)  # fmt: skip
def test_an_angle_that_is_left_open_is_asked_for(tmp_path, heading):
    message = asked(tmp_path, heading)
    assert "does not say which angle this is; give its kind, one of offset, omega" in message
    assert "kind under [axis]" in message
    path = tmp_path / "a.csv"
    assert_is_the_curve(read_curve(path, kind="omega", unit="deg"))


@pytest.mark.parametrize("heading", ["offset", "Δω", "2theta offset"])
def test_the_unit_of_an_offset_is_asked_for(tmp_path, heading):
    assert "does not say in which unit; give the unit, one of arcsec" in asked(tmp_path, heading, x=OMEGA - 33.05)


@pytest.mark.parametrize(
    "heading",
    [
        "counts/sec", "count_rate", "Rate", "Hz", "counts s^-1", "counts·s⁻¹", "cts·s−1", "cps", "Intensity (cps)",
        "I [1/s]", "counts per second", "Intensity (c.p.s.)", "Zählrate", "Impulse/s", "имп/с", "скорость счета",
        "计数率",
        "counts/min", "kcps",
    ],
)  # fmt: skip
def test_a_rate_is_no_count(tmp_path, heading):
    message = asked(tmp_path, "omega_deg", heading)
    assert f"{heading!r} says a rate, whose noise depends on the counting time" in message
    assert "counting_time = seconds a point" in message
    curve = read_curve(tmp_path / "a.csv", data_kind="intensity")
    assert (curve.name, curve.attrs["units"]) == ("intensity", heading)


@pytest.mark.parametrize(("heading", "factor"), [("cps", 2.0), ("kcps", 2000.0), ("counts/min", 1 / 30)])
def test_a_rate_and_its_time_are_counts(tmp_path, heading, factor):
    rows = zip(OMEGA, COUNTS / factor, strict=True)
    text = f"omega_deg,{heading}\n" + "".join(f"{a:.5f},{b:.9g}\n" for a, b in rows)
    path = save(tmp_path, "a.csv", text)
    curve = read_curve(path, counting_time=2.0)
    assert_is_the_curve(curve)
    assert (curve.counting_time == 2.0).all()
    with pytest.raises(InputFileError, match="the values are rates"):
        read_curve(path, data_kind="counts")


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), "2"])
def test_a_counting_time_is_a_number_of_seconds(tmp_path, seconds):
    with pytest.raises(InputFileError, match="counting_time must be a number of seconds"):
        read_curve(save(tmp_path, "a.csv", text_of(heading="omega,cps\n")), counting_time=seconds)


@pytest.mark.parametrize(
    ("heading", "what"), [("sqrt(counts)", "square roots"), ("log10(counts)", "logarithms"), ("ln I", "logarithms")]
)
def test_functions_of_counts_are_refused(tmp_path, heading, what):
    assert f"holds {what}" in asked(tmp_path, "omega_deg", heading)


@pytest.mark.parametrize("heading", ["Qz", "temperature", "T (K)", "φ", "L", "sigma", "counts error", "mon1", "Epoch"])
def test_what_is_plainly_something_else_is_not_taken_for_counts(tmp_path, heading):
    message = asked(tmp_path, "omega_deg", heading)
    assert f"no column of omega_deg, {heading} may hold the counts; name the right one" in message


class TestColumns:
    def test_among_many_names_without_counts_none_is_guessed(self, tmp_path):
        header = "Phi;H;K;L;Epoch;Seconds;mon1;apd\n"
        rows = "".join(
            f"{a:.5f};0.1;0.2;7.8;{i};2;200;{b:.0f}\n" for i, (a, b) in enumerate(zip(OMEGA, COUNTS, strict=True))
        )
        path = save(tmp_path, "a.csv", header + rows)
        with pytest.raises(InputFileError, match="no column of Phi, H, K, L, Epoch, Seconds, mon1, apd may hold"):
            read_curve(path, kind="omega", unit="deg")
        assert_is_the_curve(read_curve(path, kind="omega", unit="deg", column="apd"))

    def test_two_detectors_are_asked_about(self, tmp_path):
        rows = "".join(f"{a:.5f},{b:.0f},{b:.0f}\n" for a, b in zip(OMEGA, COUNTS, strict=True))
        path = save(tmp_path, "a.csv", "omega,det1,det2\n" + rows)
        with pytest.raises(InputFileError, match="several columns of omega, det1, det2"):
            read_curve(path)
        assert_is_the_curve(read_curve(path, column="det2"))

    @pytest.mark.parametrize("heading", ["counts,omega (deg)", "Impulse,ω", "имп,ω (°)", "强度,ω"])
    def test_swapped(self, tmp_path, heading):
        rows = "".join(f"{b:.0f},{a:.5f}\n" for a, b in zip(OMEGA, COUNTS, strict=True))
        assert_is_the_curve(read_curve(save(tmp_path, "a.csv", f"{heading}\n{rows}")))

    def test_counts_rather_than_what_was_made_of_them(self, tmp_path):
        rows = "".join(f"{2 * a:.5f},{b / 2},{b:.0f},{b / 9000}\n" for a, b in zip(OMEGA, COUNTS, strict=True))
        curve = read_curve(save(tmp_path, "a.csv", "2theta,cps,counts,norm. intensity\n" + rows))
        np.testing.assert_array_equal(curve, COUNTS)
        assert curve.x.attrs["kind"] == "two_theta"


class TestWithoutHeadings:
    def test_omega_in_degrees_is_assumed_and_said(self, tmp_path):
        curve = read_curve(save(tmp_path, "a.xy", text_of()))
        assert curve.attrs["read_as"] == "ω, deg (no heading says so); counts"

    def test_text_above_that_speaks_of_rates_or_2theta_is_heard(self, tmp_path):
        path = save(tmp_path, "a.xy", text_of(heading="# rocking curve, in counts per second\n", delimiter=" "))
        with pytest.raises(InputFileError, match="in counts per second' says a rate"):
            read_curve(path)
        np.testing.assert_array_equal(read_curve(path, counting_time=3.0), 3.0 * COUNTS)
        path = save(tmp_path, "b.xy", text_of(heading="# GGG 444, 2Theta scan, step 0.01\n", delimiter=" "))
        with pytest.raises(InputFileError, match="the text above speaks of 2θ"):
            read_curve(path)

    def test_headings_with_units_in_a_comment(self, tmp_path):
        text = text_of(ARCSEC, COUNTS, heading="# 2theta-2thetaB [arcsec] counts\n", delimiter=" ")
        assert read_curve(save(tmp_path, "a.xy", text)).attrs["read_as"] == "2θ offset, arcsec; counts"


def test_what_was_decided_is_kept(tmp_path):
    path = save(tmp_path, "a.csv", text_of(ARCSEC, COUNTS, heading="omega_offset_arcsec,counts\n"))
    assert read_curve(path).attrs["read_as"] == "ω offset, arcsec; counts"
    assert read_curve(path, relative_error=0.1).attrs["read_as"] == "ω offset, arcsec; intensity (arb. units)"


def test_a_kind_that_contradicts_the_heading_is_remarked(tmp_path):
    path = save(tmp_path, "a.csv", text_of(ARCSEC, COUNTS, heading="delta 2theta (arcsec),counts\n"))
    with pytest.warns(UserWarning, match="says 2θ offset; they are read as ω offset, as was asked for"):
        assert read_curve(path, kind="offset").x.attrs["kind"] == "offset"


def test_half_of_a_difference_of_2theta_is_the_offset():
    from hrxrd_ml.units import ARCSEC as SECOND
    from hrxrd_ml.units import axis_to_offset, offset_to_axis

    dtheta = axis_to_offset(ARCSEC, "two_theta_offset", "arcsec", bragg_angle=0.4, inclination=0.1)
    np.testing.assert_allclose(dtheta, 0.5 * ARCSEC * SECOND)
    np.testing.assert_allclose(offset_to_axis(dtheta, "two_theta_offset", "arcsec", bragg_angle=0.4), ARCSEC)
