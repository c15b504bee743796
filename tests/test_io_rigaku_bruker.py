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
    ras,
    rasx,
    save,
    text_of,
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
