"""Reading Rigaku and Bruker files."""

import numpy as np
import pytest

from curve_files import (
    COUNTS,
    FACTORS,
    OMEGA,
    VIEWS,
    N,
    archive,
    assert_is_the_curve,
    brml,
    described_brml,
    ras,
    rasx,
    save,
    text_of,
    uxd,
    x00,
)
from hrxrd_ml import read_curve
from hrxrd_ml.errors import InputFileError


class TestRigaku:
    def test_ras(self, tmp_path):
        curve = read_curve(save(tmp_path, "a.ras", ras().encode("cp932")))
        assert_is_the_curve(curve, x=np.round(OMEGA, 4))
        assert curve.name == "counts"
        assert curve.attrs["wavelength"] == 1.540593
        np.testing.assert_array_equal(curve.attenuation, FACTORS)
        np.testing.assert_allclose(curve.counting_time, 0.5)

    @pytest.mark.parametrize(
        ("axis", "kind"),
        [
            ("Omega", "omega"),
            ("2Theta/Omega", "two_theta"),
            ("TwoThetaOmega", "two_theta"),
            ("Theta/2-Theta", "two_theta"),
        ],
    )
    def test_scan_axes(self, tmp_path, axis, kind):
        assert read_curve(save(tmp_path, "a.ras", ras(axis))).x.attrs["kind"] == kind

    def test_ambiguous_axis_is_what_the_user_says(self, tmp_path):
        path = save(tmp_path, "a.ras", ras("Omega/2Theta"))
        with pytest.raises(InputFileError, match="some programs list ω and others 2θ"):
            read_curve(path)
        assert read_curve(path, kind="two_theta").x.attrs["kind"] == "two_theta"
        with pytest.raises(InputFileError, match="two_theta moves"):
            read_curve(save(tmp_path, "b.ras", ras("2Theta/Omega")), kind="omega")

    @pytest.mark.parametrize(("at", "kind"), [((33.4, 66.8), "omega"), ((16.5, 33.0), "two_theta")])
    def test_where_the_axes_stood_tells_which_is_listed(self, tmp_path, at, kind):
        stood = "".join(
            f'*MEAS_COND_AXIS_NAME-{i} "{name}"\n*MEAS_COND_AXIS_POSITION-{i} "{place:.4f}"\n'
            for i, (name, place) in enumerate(zip(("Omega", "2-Theta"), at, strict=True))
        )
        text = ras("Omega/2Theta").replace("*RAS_HEADER_END", stood + "*RAS_HEADER_END")
        assert read_curve(save(tmp_path, "a.ras", text)).x.attrs["kind"] == kind

    @pytest.mark.parametrize("axis", ["2Theta", "2-Theta", "TwoTheta"])
    def test_a_scan_of_the_detector_alone_is_asked_about(self, tmp_path, axis):
        path = save(tmp_path, "a.ras", ras(axis))
        with pytest.raises(InputFileError, match="2θ moves alone, as in a scan of the detector"):
            read_curve(path)
        assert read_curve(path, kind="two_theta").x.attrs["kind"] == "two_theta"

    def test_counts_with_a_small_correction_stay_counts(self, tmp_path):
        values = np.round(COUNTS * (1.0 + 0.02 * np.sin(np.arange(N))), 4)
        with pytest.warns(UserWarning, match="taken as corrected ones, with the variance of counts"):
            curve = read_curve(save(tmp_path, "a.ras", ras(values=values)))
        np.testing.assert_array_equal(curve, values)
        assert (curve.attrs["kind"], curve.attrs["units"]) == ("counts", "counts")
        assert curve.attrs["read_as"] == "ω, deg; counts, corrected"
        assert read_curve(tmp_path / "a.ras", data_kind="intensity").name == "intensity"

    def test_rates_become_counts(self, tmp_path):
        curve = read_curve(save(tmp_path, "a.ras", ras(unit="cps", values=COUNTS / 0.5)))
        assert curve.name == "counts"
        assert_is_the_curve(curve, x=np.round(OMEGA, 4))

    def test_rates_that_give_no_whole_numbers_stay(self, tmp_path):
        curve = read_curve(save(tmp_path, "a.ras", ras(unit="cps", values=COUNTS / 0.3)))
        assert curve.name == "intensity"
        assert curve.attrs["units"] == "cps"

    def test_several_scans(self, tmp_path):
        path = save(tmp_path, "a.ras", ras(scans=2))
        with pytest.raises(InputFileError, match="holds 2 scans"):
            read_curve(path)
        assert len(read_curve(path, scan=1)) == N

    def test_other_axis(self, tmp_path):
        with pytest.raises(InputFileError, match="expected an Omega"):
            read_curve(save(tmp_path, "a.ras", ras("Phi")))

    def test_damaged_row_names_its_line(self, tmp_path):
        with pytest.raises(InputFileError, match="line 14"):
            read_curve(save(tmp_path, "a.ras", ras().replace("32.8000 ", "32.8000 *")))

    def test_rasx(self, tmp_path):
        curve = read_curve(save(tmp_path, "a.rasx", rasx()))
        assert_is_the_curve(curve)
        assert curve.attrs["wavelength"] == 1.540593
        np.testing.assert_array_equal(curve.attenuation, FACTORS)
        np.testing.assert_allclose(curve.counting_time, 0.5)

    def test_rasx_with_several_scans(self, tmp_path):
        path = save(tmp_path, "a.rasx", rasx(12))
        with pytest.raises(InputFileError, match="holds 12 scans"):
            read_curve(path)
        assert_is_the_curve(read_curve(path, scan=11))

    def test_rasx_without_conditions(self, tmp_path):
        path = save(tmp_path, "a.rasx", archive({"Data0/Profile0.txt": text_of(delimiter="\t")}))
        with pytest.raises(InputFileError, match="names the scan axis"):
            read_curve(path)


class TestBruker:
    def test_brml(self, tmp_path):
        curve = read_curve(save(tmp_path, "a.brml", brml()))
        assert_is_the_curve(curve)
        assert curve.attrs["wavelength"] == 1.5406
        np.testing.assert_array_equal(curve.attenuation, FACTORS)
        np.testing.assert_array_equal(curve.counting_time, 0.5)
        two_theta = read_curve(tmp_path / "a.brml", kind="two_theta")
        np.testing.assert_allclose(two_theta.x, 2 * OMEGA, atol=1e-5)

    def test_description_of_the_columns_decides(self, tmp_path):
        rows = [f"0.5,1,{a:.6f},{2 * a:.6f},{v:g}" for a, v in zip(OMEGA, COUNTS, strict=True)]
        assert_is_the_curve(read_curve(save(tmp_path, "a.brml", brml(views=VIEWS, rows=rows))))

    def test_rocking_scan(self, tmp_path):
        rows = [f"0.5,1,{a:.6f},{v:g}" for a, v in zip(OMEGA, COUNTS, strict=True)]
        assert_is_the_curve(read_curve(save(tmp_path, "a.brml", brml("Theta", rows=rows))))

    @pytest.mark.parametrize(
        "order",
        [
            "time absorber axes counter", "time absorber axes space counter", "time absorber axes counter kelvin",
            "time absorber axes pixel counter", "time absorber drives axes space counter",
            "absorber omega counter time",
            "time absorber omega space counter kelvin pixel",
        ],
    )  # fmt: skip
    def test_columns_are_those_that_the_file_describes(self, tmp_path, order):
        curve = read_curve(save(tmp_path, "a.brml", described_brml(order)))
        assert_is_the_curve(curve)
        assert (curve.x.attrs["kind"], curve.name, curve.attrs["wavelength"]) == ("omega", "counts", 1.5406)
        np.testing.assert_array_equal(curve.attenuation, FACTORS)
        np.testing.assert_array_equal(curve.counting_time, 0.5)

    @pytest.mark.parametrize(
        "order", ["time absorber axes counter counter", "time absorber axes", "time axes kelvin pixel"]
    )
    def test_which_column_counts_is_not_guessed(self, tmp_path, order):
        with pytest.raises(InputFileError, match=r"several columns record counts|no column records counts"):
            read_curve(save(tmp_path, "a.brml", described_brml(order)))

    @pytest.mark.parametrize("factor", [8.3, 8.8, 77.0])
    def test_the_absorber_is_divided_out(self, tmp_path, factor):
        factors = np.where(COUNTS > 1000, factor, 1.0)
        curve = read_curve(save(tmp_path, "a.brml", described_brml("time absorber axes counter", factors=factors)))
        assert_is_the_curve(curve)
        assert "corrected" not in curve.attrs
        np.testing.assert_array_equal(curve.attenuation, factors)

    def test_counts_that_are_no_multiples_of_the_absorber_are_remarked(self, tmp_path):
        values = np.where(FACTORS > 1.0, COUNTS + 0.5, COUNTS)
        path = save(tmp_path, "a.brml", described_brml("time absorber axes counter", values))
        with pytest.warns(UserWarning, match="no whole multiples of the absorber's factors"):
            curve = read_curve(path)
        np.testing.assert_allclose(curve, values)
        assert curve.attrs["read_as"] == "ω, deg; counts, corrected"

    def test_a_scan_of_the_detector_alone_is_asked_about(self, tmp_path):
        rows = [f"0.5,1,{2 * a:.6f},{v:g}" for a, v in zip(OMEGA, COUNTS, strict=True)]
        path = save(tmp_path, "a.brml", brml("TwoTheta", rows=rows))
        with pytest.raises(InputFileError, match="2θ moves alone, as in a scan of the detector"):
            read_curve(path)
        assert read_curve(path, kind="two_theta").x.attrs["kind"] == "two_theta"

    def test_line_detector_is_refused(self, tmp_path):
        rows = [f"0.5,1,{2 * a},{a},1,2,3,4" for a in OMEGA]
        with pytest.raises(InputFileError, match="point detector"):
            read_curve(save(tmp_path, "a.brml", brml(rows=rows)))

    def test_other_axis_is_refused(self, tmp_path):
        rows = [f"0.5,1,{a},5" for a in OMEGA]
        with pytest.raises(InputFileError, match="axes: Phi"):
            read_curve(save(tmp_path, "a.brml", brml("Phi", rows=rows)))

    def test_zip_of_something_else(self, tmp_path):
        with pytest.raises(InputFileError, match=r"neither \.rasx nor \.brml"):
            read_curve(save(tmp_path, "a.zip", archive({"readme": "x"})))

    def test_damaged_member(self, tmp_path):
        data = bytearray(brml())
        data[data.index(b"RawData0.xml") + 20] ^= 0xFF
        with pytest.raises(InputFileError):
            read_curve(save(tmp_path, "a.brml", bytes(data)))


class TestUxd:
    @pytest.mark.parametrize("settings", [{}, {"unit": "CPS"}, {"pairs": False}, {"unit": "CPS", "pairs": False}])
    def test_coupled_scan(self, tmp_path, settings):
        curve = read_curve(save(tmp_path, "a.uxd", uxd(**settings)))
        assert_is_the_curve(curve, x=2 * OMEGA)
        assert curve.attrs["read_as"] == "2θ, deg; counts"
        assert curve.attrs["wavelength"] == 1.5406
        assert (curve.counting_time == 2.0).all()

    def test_several_ranges(self, tmp_path):
        path = save(tmp_path, "a.uxd", uxd(ranges=2))
        with pytest.raises(InputFileError, match=r"holds 2 scans .*choose one with scan="):
            read_curve(path)
        assert_is_the_curve(read_curve(path, scan=1), x=2 * OMEGA)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"drive": "PHI"}, "the drive is 'PHI'; expected COUPLED"),
            ({"drive": "TWOTHETA"}, "2θ moves alone"),
            ({"drive": "OMEGA"}, "say whether these angles are ω or 2θ"),
        ],
    )
    def test_other_drives(self, tmp_path, settings, message):
        with pytest.raises(InputFileError, match=message):
            read_curve(save(tmp_path, "a.uxd", uxd(**settings)))

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("\t26\n", "\tmany\n", "expected a number"),
            ("\t26\n", "\n", "two numbers"),
            ("_2THETACOUNTS\n", "", "neither"),
        ],
    )
    def test_damage(self, tmp_path, old, new, message):
        with pytest.raises(InputFileError, match=message):
            read_curve(save(tmp_path, "a.uxd", uxd().replace(old, new)))


class TestX00:
    def test_rates_become_counts(self, tmp_path):
        curve = read_curve(save(tmp_path, "a.x00", x00()))
        assert_is_the_curve(curve)
        assert curve.attrs["read_as"] == "ω, deg; counts"
        assert (curve.attrs["wavelength"], curve.attrs["hkl"]) == (1.54056, "0 0 4")

    def test_other_rates_stay(self, tmp_path):
        curve = read_curve(save(tmp_path, "a.x00", x00(factor=1.013)))
        assert curve.attrs["read_as"] == "ω, deg; intensity (cps)"
        with pytest.warns(UserWarning, match="corrected"):
            curve = read_curve(tmp_path / "a.x00", data_kind="counts")
        np.testing.assert_allclose(curve, 1.013 * COUNTS, atol=1e-3)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (x00(axis="Phi"), "the scan axis is 'Phi'"),
            (x00(axis="2Theta"), "2θ moves alone"),
            (x00(n=N + 1), "40 values where the header says 41"),
            (x00().replace("StepWidth", "Step"), "no StepWidth"),
            (x00().replace("ScanData\n", ""), "ends before its data"),
        ],
    )
    def test_refused(self, tmp_path, text, message):
        with pytest.raises(InputFileError, match=message):
            read_curve(save(tmp_path, "a.x00", text))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.asc",
            "*TYPE\t\t=  Raw\n*GROUP_COUNT\t=  1\n*BEGIN\n*START = 65\n*COUNT = 4\n 1, 2, 3, 4\n*END\n",
            r"Rigaku \.asc",
        ),
        ("a.udf", "SampleIdent,GGG,/\nDataAngleRange, 65.0, 66.0,/\nRawScan\n 1, 2, 3, 4\n", r"Philips \.udf"),
    ],
)
def test_formats_that_are_not_read_are_named_with_what_to_do(tmp_path, name, text, message):
    with pytest.raises(
        InputFileError, match=f"{message} file, which lists counts without their angles; save the scan as"
    ):
        read_curve(save(tmp_path, name, text))
