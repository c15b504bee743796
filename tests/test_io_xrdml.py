"""Reading PANalytical files."""

import numpy as np
import pytest

from curve_files import (
    ATTENUATORS,
    BOTH,
    COUNTS,
    FACTORS,
    OMEGA,
    RAW_COUNTS,
    TIME,
    N,
    assert_is_the_curve,
    between,
    fixed,
    listed,
    save,
    xrdml,
)
from hrxrd_ml import read_curve
from hrxrd_ml.errors import InputFileError


class TestXrdml:
    def test_version_2(self, tmp_path):
        path = save(tmp_path, "a.xrdml", xrdml(BOTH + ATTENUATORS + TIME + RAW_COUNTS))
        curve = read_curve(path)
        assert_is_the_curve(curve)
        assert curve.name == curve.attrs["kind"] == "counts"
        assert curve.x.attrs["kind"] == "omega"
        assert curve.attrs["wavelength"] == 1.540598
        assert curve.attrs["scan_axis"] == "Omega-2Theta"
        np.testing.assert_array_equal(curve.attenuation, FACTORS)
        np.testing.assert_array_equal(curve.counting_time, 0.5)

    @pytest.mark.parametrize("factor", [1.0, 172.0, 1.7, 9.63])
    def test_version_1_holds_corrected_intensities(self, tmp_path, factor):
        factors = np.where(COUNTS > 1000, factor, 1.0)
        corrected = np.round(COUNTS * factors)
        points = (
            f"<beamAttenuationFactors>{listed(factors)}</beamAttenuationFactors>{TIME}"
            f'<intensities unit="counts">{" ".join(f"{v:.0f}" for v in corrected)}</intensities>'
        )
        curve = read_curve(save(tmp_path, "a.xrdml", xrdml(BOTH + points, "1.3")))
        assert curve.name == "counts"
        assert_is_the_curve(curve)
        np.testing.assert_array_equal(curve.attenuation, factors)

    def test_version_1_without_attenuator(self, tmp_path):
        points = f'{BOTH}<intensities unit="counts">{listed(COUNTS)}</intensities>'
        curve = read_curve(save(tmp_path, "a.xrdml", xrdml(points, "1.0")))
        assert_is_the_curve(curve)
        assert "attenuation" not in curve.coords
        assert "counting_time" not in curve.coords

    def test_rates_become_counts_where_the_time_is_known(self, tmp_path):
        values = " ".join(f"{v / 0.5:.2f}" for v in COUNTS)
        points = f'{BOTH}{TIME}<intensities unit="counts per second">{values}</intensities>'
        assert_is_the_curve(read_curve(save(tmp_path, "a.xrdml", xrdml(points, "1.0"))))

    def test_rates_stay_intensities_where_it_is_not(self, tmp_path):
        values = " ".join(f"{v / 0.7:.4f}" for v in COUNTS)
        points = f'{BOTH}<intensities unit="cps">{values}</intensities>'
        curve = read_curve(save(tmp_path, "a.xrdml", xrdml(points, "1.0")))
        assert curve.name == "intensity"
        assert curve.attrs["units"] == "cps"
        assert "sigma" not in curve.coords

    def test_listed_positions_and_times(self, tmp_path):
        x = OMEGA + 1e-3 * np.sin(np.arange(N))
        times = np.linspace(1, 5, N)
        positions = f"<listPositions>{' '.join(map(str, x))}</listPositions>"
        points = (
            f'<positions axis="Omega" unit="deg">{positions}</positions>{fixed("2Theta", 66.1)}'
            f'<countingTimes unit="seconds">{" ".join(map(str, times))}</countingTimes>'
        )
        curve = read_curve(save(tmp_path, "a.xrdml", xrdml(points + RAW_COUNTS, axis="Omega")))
        assert_is_the_curve(curve, x=x)
        np.testing.assert_array_equal(curve.counting_time, times)

    def test_axis_asked_for(self, tmp_path):
        path = save(tmp_path, "a.xrdml", xrdml(BOTH + RAW_COUNTS))
        curve = read_curve(path, kind="two_theta", unit="mdeg")
        np.testing.assert_allclose(curve.x.values[[0, -1]], [65_600, 66_800])
        assert curve.x.attrs["kind"] == "two_theta"

    def test_symmetric_scan_prefers_two_theta(self, tmp_path):
        path = save(tmp_path, "a.xrdml", xrdml(BOTH + RAW_COUNTS, axis="Gonio"))
        assert read_curve(path).x.attrs["kind"] == "two_theta"

    def test_axis_that_stands_still(self, tmp_path):
        points = between("Omega", 32.8, 33.4) + fixed("2Theta", 66.1) + RAW_COUNTS
        path = save(tmp_path, "a.xrdml", xrdml(points, axis="Omega"))
        assert_is_the_curve(read_curve(path))
        with pytest.raises(InputFileError, match="set the kind of the axis to 'omega'"):
            read_curve(path, kind="two_theta")

    def test_scan_of_another_axis(self, tmp_path):
        points = fixed("Omega", 33.0) + between("Phi", 0, 360) + RAW_COUNTS
        with pytest.raises(InputFileError, match="scan axis Phi"):
            read_curve(save(tmp_path, "a.xrdml", xrdml(points, axis="Phi")))

    def test_a_scan_of_the_detector_alone_is_asked_about(self, tmp_path):
        points = fixed("Omega", 33.0) + between("2Theta", 65.6, 66.8) + RAW_COUNTS
        path = save(tmp_path, "a.xrdml", xrdml(points, axis="2Theta"))
        with pytest.raises(InputFileError, match="2θ moves alone, as in a scan of the detector"):
            read_curve(path)
        assert read_curve(path, kind="two_theta").x.attrs["kind"] == "two_theta"

    def test_the_reflection_that_the_file_names(self, tmp_path):
        text = xrdml(BOTH + RAW_COUNTS).decode()
        named = "<reflection><material>GGG</material><hkl><h>4</h><k>4</k><l>-4</l></hkl></reflection><dataPoints>"
        path = save(tmp_path, "a.xrdml", text.replace("<dataPoints>", named))
        assert read_curve(path).attrs["hkl"] == "4 4 -4"
        experiment = save(tmp_path, "b.toml", '[reflection]\ncrystal = "GGG"\nhkl = [8, 8, 8]\n')
        with pytest.warns(UserWarning, match="the file says reflection 4 4 -4 and the experiment"):
            read_curve(path, experiment=experiment)

    def test_several_scans(self, tmp_path):
        path = save(tmp_path, "a.xrdml", xrdml(BOTH + RAW_COUNTS, scans=3))
        with pytest.raises(InputFileError, match=r"holds 3 scans .*choose one with scan="):
            read_curve(path)
        assert_is_the_curve(read_curve(path, scan=2))
        with pytest.raises(InputFileError, match="no scan 3"):
            read_curve(path, scan=3)

    def test_columns_make_no_sense(self, tmp_path):
        path = save(tmp_path, "a.xrdml", xrdml(BOTH + RAW_COUNTS))
        with pytest.raises(InputFileError, match="leave out column"):
            read_curve(path, column="counts")

    @pytest.mark.parametrize(
        ("points", "message"),
        [
            (BOTH, "no counts and no intensities"),
            (BOTH + RAW_COUNTS + "<beamAttenuationFactors>1 1</beamAttenuationFactors>", "2 values for 40"),
            (BOTH + RAW_COUNTS + ATTENUATORS.replace("172", "0.5"), "factor of at least 1"),
            (BOTH.replace("deg", "furlong") + RAW_COUNTS, "furlong"),
            (BOTH.replace("endPosition", "end") + RAW_COUNTS, "neither start and end"),
            (BOTH.replace("33.4", "x") + RAW_COUNTS, "end of Omega: expected a number"),
            ("", "no counts"),
        ],
    )
    def test_damage(self, tmp_path, points, message):
        with pytest.raises(InputFileError, match=message):
            read_curve(save(tmp_path, "a.xrdml", xrdml(points)))

    def test_entities_are_refused_in_any_encoding(self, tmp_path):
        bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><a>&c;</a>'
        for encoding in ("utf-8", "utf-16"):
            path = save(tmp_path, "a.xrdml", bomb.encode(encoding))
            with pytest.raises(InputFileError, match="document type or entities"):
                read_curve(path)

    def test_measured_file(self, shared_data):
        curve = read_curve(shared_data / "algaas_gaas_004.xrdml")
        assert curve.name == "counts"
        assert len(curve) == 2999
        assert float(curve.x[0]) == 32.7758
        assert float(curve.x[-1]) == 33.3754
        assert curve.values.max() == 76182
        assert curve.attrs["wavelength"] == 1.540598
        assert curve.attrs["experiment"].endswith("algaas_gaas_004.toml")
        assert set(curve.coords) == {"x", "attenuation", "counting_time"}
        two_theta = read_curve(shared_data / "algaas_gaas_004.xrdml", kind="two_theta")
        np.testing.assert_allclose(two_theta.x.values[[0, -1]], [65.46, 66.6592])
