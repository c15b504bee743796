"""Curves: making, checking, and reading them with an experiment file beside."""

import numpy as np
import pytest

from bad_input_cases import CURVE, EXPERIMENT, cases
from curve_files import (
    BOTH,
    COUNTS,
    FACTORS,
    OMEGA,
    RAW_COUNTS,
    N,
    assert_is_the_curve,
    brml,
    save,
    text_of,
    xrdml,
)
from hrxrd_ml import make_curve, read_curve, read_experiment
from hrxrd_ml.errors import CurveError, InputFileError
from hrxrd_ml.io.curve import leave_out


def test_a_relative_error_is_that_of_an_intensity(tmp_path):
    curve = read_curve(save(tmp_path, "a.csv", text_of()), relative_error=0.03)
    assert curve.name == "intensity"
    np.testing.assert_allclose(curve.sigma, 0.03 * curve.values)


def test_a_range_that_leaves_nothing_out_is_doubted():
    curve = make_curve(OMEGA, COUNTS)
    with pytest.warns(UserWarning, match=r"\[-20, 20\] to leave out holds no point"):
        assert len(leave_out(curve, [(-20.0, 20.0)])) == len(curve)


class TestExperimentBeside:
    def test_is_used(self, tmp_path):
        path = save(tmp_path, "a.csv", CURVE)
        save(tmp_path, "a.toml", EXPERIMENT)
        curve = read_curve(path)
        assert (curve.x.attrs["kind"], curve.x.attrs["units"]) == ("offset", "arcsec")
        assert curve.attrs["experiment"] == str(tmp_path / "a.toml")

    def test_arguments_win(self, tmp_path):
        path = save(tmp_path, "a.csv", CURVE)
        save(tmp_path, "a.toml", EXPERIMENT)
        curve = read_curve(path, unit="mdeg", data_kind="intensity", relative_error=0.2)
        assert curve.x.attrs["units"] == "mdeg"
        assert curve.name == "intensity"
        np.testing.assert_allclose(curve.sigma, 0.2 * curve.values)

    def test_can_be_ignored_or_given(self, tmp_path):
        path = save(tmp_path, "a.csv", text_of())
        beside = save(tmp_path, "a.toml", EXPERIMENT.replace('"offset"', '"two_theta"').replace('"arcsec"', '"deg"'))
        assert read_curve(path, experiment=False).x.attrs["kind"] == "omega"
        assert "experiment" not in read_curve(path, experiment=False).attrs
        beside.rename(tmp_path / "other.toml")
        for given_ in (tmp_path / "other.toml", read_experiment(tmp_path / "other.toml")):
            curve = read_curve(path, experiment=given_)
            assert curve.x.attrs["kind"] == "two_theta"
            assert curve.attrs["experiment"] == str(tmp_path / "other.toml")

    def test_picks_the_scan(self, tmp_path):
        path = save(tmp_path, "a.xrdml", xrdml(BOTH + RAW_COUNTS, scans=2))
        text = EXPERIMENT.replace('kind = "offset"\nunit = "arcsec"', 'kind = "omega"\nscan = 1')
        save(tmp_path, "a.toml", text)
        assert_is_the_curve(read_curve(path))

    def test_measured_curves(self, shared_data):
        points = {
            "ggg_he_2e15_444.csv": (360, "counts", "offset"),
            "ggg_he_4e15_444.csv": (498, "counts", "offset"),
            "ggg_he_2e15_888.csv": (1002, "counts", "offset"),
            "sic3c_400.csv": (301, "intensity", "two_theta"),
        }
        for name, expected in points.items():
            curve = read_curve(shared_data / name)
            assert (len(curve), curve.name, curve.x.attrs["kind"]) == expected
            assert np.all(np.diff(curve.x) > 0)
            assert "sigma" not in curve.coords


@pytest.mark.parametrize("case", cases("curve"))
def test_bad_curve(case, tmp_path, monkeypatch):
    case.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputFileError) as caught:
        read_curve(case.argv[1], experiment=case.argv[2])
    message = str(caught.value)
    assert case.message in message
    assert message.startswith(f"{case.argv[1]}: ")
    assert "\n" not in message


class TestMakeCurve:
    def test_from_arrays(self):
        curve = make_curve(OMEGA, COUNTS, attenuation=3, counting_time=FACTORS, attrs={"sample": "A"})
        assert_is_the_curve(curve)
        np.testing.assert_array_equal(curve.attenuation, 3.0)
        assert curve.attrs["sample"] == "A"
        assert curve.attrs["units"] == "counts"

    def test_input_is_not_changed(self):
        x, y = OMEGA[::-1].copy(), COUNTS.copy()
        curve = make_curve(x, y)
        curve.values[0] = -1
        np.testing.assert_array_equal(y, COUNTS)
        np.testing.assert_array_equal(x, OMEGA[::-1])

    def test_kind_of_data(self):
        assert make_curve(OMEGA, COUNTS).name == "counts"
        assert make_curve(OMEGA, COUNTS, data_kind="intensity").name == "intensity"
        assert make_curve(OMEGA, COUNTS + 0.5).name == "intensity"

    def test_corrected_counts_keep_the_variance_of_counts(self):
        values = COUNTS * (1.0 + 0.02 * np.cos(np.arange(N)))
        with pytest.warns(UserWarning, match="corrected"):
            curve = make_curve(OMEGA, values, data_kind="counts")
        np.testing.assert_array_equal(curve, values)
        assert curve.attrs["units"] == "counts"

    @pytest.mark.parametrize("divisor", [2, 3, 7, 60])
    def test_counts_that_were_divided_are_no_corrected_ones(self, divisor):
        rng = np.random.default_rng(1)
        counts = rng.poisson(COUNTS).astype(float)
        if divisor % 10:
            with pytest.raises(CurveError, match=f"counts divided by {divisor}: give the counts"):
                make_curve(OMEGA, np.round(counts / divisor, 6), data_kind="counts")
        with pytest.raises(CurveError, match='set kind = "intensity"'):
            make_curve(OMEGA, counts / counts.max(), data_kind="counts")

    def test_zero_intensity_has_an_error_too(self):
        values = np.where(np.arange(N) < 5, 0.0, 8.5)
        curve = make_curve(OMEGA, values, relative_error=0.1)
        np.testing.assert_allclose(curve.sigma, 0.85)

    def test_everything_turns_round_together(self):
        sigma = 1.0 + np.arange(N)
        curve = make_curve(OMEGA[::-1], COUNTS + 0.5, sigma=sigma, attenuation=1 + sigma)
        np.testing.assert_array_equal(curve.sigma, sigma[::-1])
        np.testing.assert_array_equal(curve.attenuation, 1 + sigma[::-1])

    def test_survives_netcdf_types(self):
        curve = make_curve(OMEGA, COUNTS)
        assert all(isinstance(v, str | float | int) for v in (curve.attrs | curve.x.attrs).values())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"x": OMEGA[:-1]}, "39 angles but 40 values"),
            ({"x": OMEGA[None]}, "shape"),
            ({"values": ["a"] * N}, "not real numbers"),
            ({"values": np.full(N, np.nan)}, "point 0"),
            ({"x": np.where(np.arange(N) == 3, np.inf, OMEGA)}, "point 3: the angle is inf"),
            ({"kind": "theta"}, "unknown kind"),
            ({"unit": "degrees"}, "unknown angle unit"),
            ({"data_kind": "cps"}, "unknown data kind"),
            ({"sigma": np.ones(N)}, "Poisson"),
            ({"data_kind": "intensity", "sigma": np.zeros(N)}, "sigma is 0"),
            ({"data_kind": "intensity", "relative_error": 2.0}, "relative_error"),
            ({"attenuation": 0.5}, "at least 1"),
            ({"attenuation": np.ones(3)}, "expected"),
            ({"counting_time": 0.0}, "positive"),
            ({"x": OMEGA - 33.0}, "has kind offset"),
            ({"x": OMEGA / 3600, "kind": "offset", "unit": "arcsec"}, "less than 1 arcsec"),
            ({"x": np.sin(OMEGA * 40)}, "change direction"),
            ({"x": np.repeat(OMEGA[::2], 2)}, "20 angle"),
        ],
    )
    def test_checks(self, change, message):
        with pytest.raises(CurveError, match=message):
            make_curve(**{"x": OMEGA, "values": COUNTS, **change})

    def test_far_too_many_points(self):
        n = 2_000_001
        with pytest.raises(CurveError, match="2000001 points"):
            make_curve(np.linspace(30, 31, n), np.ones(n))


class TestLeaveOut:
    def test_ranges_go(self):
        curve = make_curve(OMEGA, COUNTS, attenuation=FACTORS)
        left = leave_out(curve, [(33.0, 33.1), (30.0, 32.81)])
        keep = (OMEGA > 32.81) & ((OMEGA < 33.0) | (OMEGA > 33.1))
        np.testing.assert_array_equal(left.x, OMEGA[keep])
        np.testing.assert_array_equal(left.attenuation, FACTORS[keep])
        assert left.x.attrs == curve.x.attrs
        assert left.attrs == curve.attrs

    def test_nothing_to_leave_out(self):
        curve = make_curve(OMEGA, COUNTS)
        assert leave_out(curve, []).identical(curve)

    def test_too_little_left(self):
        with pytest.raises(CurveError, match="at least 20 must remain"):
            leave_out(make_curve(OMEGA, COUNTS), [(32.0, 33.2)])

    def test_empty_range(self):
        with pytest.raises(CurveError, match="low < high"):
            leave_out(make_curve(OMEGA, COUNTS), [(33.2, 33.0)])


def test_very_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr("hrxrd_ml.io.content.MAX_FILE_SIZE", 100)
    with pytest.raises(InputFileError, match="expected at most 100 bytes"):
        read_curve(save(tmp_path, "a.csv", text_of()))


def test_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    data = brml()
    monkeypatch.setattr("hrxrd_ml.io.content.MAX_FILE_SIZE", len(data))
    with pytest.raises(InputFileError, match="unpacks to"):
        read_curve(save(tmp_path, "a.brml", data))


@pytest.mark.parametrize("wavelength", [-1.0, 0.0, "CuKa1"])
def test_wavelength_is_a_number(tmp_path, wavelength):
    with pytest.raises(InputFileError, match="wavelength"):
        read_curve(save(tmp_path, "a.csv", text_of()), wavelength=wavelength)


def test_wavelength_given_replaces_the_files_own(tmp_path):
    path = save(tmp_path, "a.xrdml", xrdml(BOTH + RAW_COUNTS))
    assert read_curve(path, wavelength=1.39).attrs["wavelength"] == 1.39


@pytest.mark.parametrize("choice", [{"kind": "theta"}, {"unit": "degree"}, {"data_kind": "cps"}])
def test_unknown_choice(tmp_path, choice):
    with pytest.raises(InputFileError, match="must be one of"):
        read_curve(save(tmp_path, "a.csv", text_of()), **choice)
