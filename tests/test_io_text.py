"""Reading curves from columns of text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curve_files import COUNTS, FACTORS, OMEGA, assert_is_the_curve, save, text_of
from hrxrd_ml import HrxrdError, read_curve
from hrxrd_ml.errors import InputFileError


class TestText:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", " ", "   ", " , ", ", "])
    @pytest.mark.parametrize("heading", ["", "Angle,Counts\n", "# a\n% b\n' c\n; d\n", "\n\nomega counts\n\n"])
    def test_delimiters_and_headings(self, tmp_path, delimiter, heading):
        text = text_of(delimiter=delimiter, heading=heading.replace(",", delimiter))
        assert_is_the_curve(read_curve(save(tmp_path, "a.dat", text), kind="omega"))

    @pytest.mark.parametrize("delimiter", [";", "\t", " "])
    def test_decimal_commas(self, tmp_path, delimiter):
        text = text_of(delimiter=delimiter, decimal=",", heading="Winkel;Zählereignisse\n")
        assert_is_the_curve(read_curve(save(tmp_path, "a.csv", text.encode("latin-1")), kind="omega"))

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1", "utf-8"])
    def test_encodings(self, tmp_path, encoding):
        text = text_of(heading="ange µ° ,counts\n")
        assert_is_the_curve(read_curve(save(tmp_path, "a.csv", text.encode(encoding)), kind="omega"))

    def test_windows_line_ends_and_trailing_delimiters(self, tmp_path):
        text = text_of().replace("\n", ",\r\n") + "\r\n\x1a"
        assert_is_the_curve(read_curve(save(tmp_path, "a.csv", text)))

    def test_preamble_of_an_export(self, tmp_path):
        heading = (
            "[Measurement conditions]\nSample,\nAnode material,Cu\nWavelength,1.5405980\n"
            "Scan range,32.8,33.4\n[Scan points]\nAngle,Intensity\n"
        )
        assert_is_the_curve(read_curve(save(tmp_path, "a.csv", text_of(heading=heading)), kind="omega"))

    def test_exponents_and_signs(self, tmp_path):
        text = "".join(f"{a:+.6e} {b:.3E}\n" for a, b in zip(OMEGA, COUNTS, strict=True))
        assert_is_the_curve(read_curve(save(tmp_path, "a.xy", text)))

    def test_descending_scan_is_turned_round(self, tmp_path):
        assert_is_the_curve(read_curve(save(tmp_path, "a.xy", text_of(OMEGA[::-1], COUNTS[::-1]))))

    @pytest.mark.parametrize(
        ("x_column", "column"),
        [("Omega", "I"), ("omega (deg)", "i"), (1, 2), ("1", "2"), (" Omega (deg) ", 2), ("omega", None)],
    )
    def test_columns_by_name_and_index(self, tmp_path, x_column, column):
        rows = "".join(f"p{i},{a:.5f},{b:.0f},{i}\n" for i, (a, b) in enumerate(zip(OMEGA, COUNTS, strict=True)))
        path = save(tmp_path, "a.csv", "label,Omega (deg),I,n\n" + rows)
        if column is None:
            column = "I"
        assert_is_the_curve(read_curve(path, x_column=x_column, column=column))

    def test_heading_in_the_last_comment(self, tmp_path):
        text = "# made by a script\n# omega n counts\n"
        text += "".join(f"{a:.5f} 7 {b:.0f}\n" for a, b in zip(OMEGA, COUNTS, strict=True))
        assert_is_the_curve(read_curve(save(tmp_path, "a.txt", text), x_column="omega", column="counts"))

    def test_line_of_units_under_the_heading(self, tmp_path):
        text = text_of(OMEGA * 1000, COUNTS, heading="omega,detector\n[mdeg],[counts]\n")
        curve = read_curve(save(tmp_path, "a.csv", text), x_column="omega", column="detector")
        assert (curve.x.attrs["kind"], curve.x.attrs["units"]) == ("omega", "mdeg")

    def test_a_title_as_wide_as_the_table_is_no_heading(self, tmp_path):
        text = text_of(heading="GGG,third scan\nAngle (deg),counts\n")
        curve = read_curve(save(tmp_path, "a.csv", text), x_column="angle", column="counts", kind="omega")
        assert_is_the_curve(curve)

    def test_counts_are_where_their_heading_is(self, tmp_path):
        text = "omega,time,counts\n" + "".join(f"{a:.5f},1.0,{b:.0f}\n" for a, b in zip(OMEGA, COUNTS, strict=True))
        assert_is_the_curve(read_curve(save(tmp_path, "a.csv", text)))

    def test_a_constant_column_is_not_taken_for_counts(self, tmp_path):
        text = "".join(f"{a:.5f},1.0,{b:.0f}\n" for a, b in zip(OMEGA, COUNTS, strict=True))
        path = save(tmp_path, "a.csv", text)
        with pytest.raises(InputFileError, match="column 1, taken for the counts, is 1 in every row"):
            read_curve(path)
        assert_is_the_curve(read_curve(path, column=2))

    def test_whole_rates_are_no_counts(self, tmp_path):
        text = text_of(heading="omega (deg),Intensity (cps)\n")
        path = save(tmp_path, "a.csv", text)
        with pytest.raises(InputFileError, match="says a rate, whose noise depends on the counting time"):
            read_curve(path)
        assert read_curve(path, data_kind="intensity").attrs["units"] == "Intensity (cps)"
        assert read_curve(path, relative_error=0.03).name == "intensity"
        curve = read_curve(path, counting_time=3.0)
        assert_is_the_curve(curve, y=3.0 * COUNTS)
        assert (curve["counting_time"] == 3.0).all()
        rows = zip(OMEGA, COUNTS, strict=True)
        text = "om,I (cps),t\n" + "".join(f"{a:.5f},{10.0 * b:.0f},0.1\n" for a, b in rows)
        assert_is_the_curve(read_curve(save(tmp_path, "b.csv", text), counting_time_column="t"))

    @pytest.mark.parametrize("sign", [",", "."])
    def test_a_sign_between_thousands_is_no_decimal_sign(self, tmp_path, sign):
        counts = np.r_[np.arange(500, 520), np.full(20, 12345)]
        text = "".join(
            f"{a:.0f}\t{f'{b:,}'.replace(',', sign)}\n" for a, b in zip(np.arange(40.0), counts, strict=True)
        )
        with pytest.raises(InputFileError, match="between thousands"):
            read_curve(save(tmp_path, "a.tsv", text), kind="offset", unit="arcsec")

    def test_spec_files_name_their_columns(self, tmp_path):
        rows = zip(OMEGA, COUNTS, strict=True)
        text = "#S 1 ascan\n#L Theta  Epoch  Seconds  Detector\n"
        text += "".join(f"{a:.5f} {1700000 + i} 1 {b:.0f}\n" for i, (a, b) in enumerate(rows))
        assert_is_the_curve(read_curve(save(tmp_path, "a.spec", text), unit="deg"))

    def test_a_scan_of_a_spec_file_is_chosen(self, tmp_path):
        rows = "".join(f"{a:.5f}  1  {b:.0f}\n" for a, b in zip(OMEGA, COUNTS, strict=True))
        scans = "".join(f"\n#S {i} ascan th {i} 2\n#D today\n#L Two Theta  Seconds  Detector\n{rows}" for i in (1, 2))
        path = save(tmp_path, "a.spec", f"#F a\n#E 1\n{scans}")
        with pytest.raises(InputFileError, match=r"holds 2 scans \(0: 1 ascan th 1 2, 1: 2 ascan th 2 2\); choose one"):
            read_curve(path)
        curve = read_curve(path, scan=1)
        assert_is_the_curve(curve)
        assert (curve.x.attrs["kind"], curve.attrs["format"]) == ("two_theta", "spec")
        with pytest.raises(InputFileError, match="no scan 2"):
            read_curve(path, scan=2)
        save(tmp_path, "b.spec", f"#F a\n{scans}".replace("33.40000  1  20\n", "33.40000  1  x\n"))
        with pytest.raises(InputFileError, match="line 89, column 2"):
            read_curve(tmp_path / "b.spec", scan=1)

    def test_counts_that_are_not_whole_are_asked_about(self, tmp_path):
        rows = list(zip(OMEGA, COUNTS * (1 + 0.02 * np.sin(np.arange(len(OMEGA)))), strict=True))
        path = save(tmp_path, "a.csv", "omega,counts\n" + "".join(f"{a:.5f},{b:.4f}\n" for a, b in rows))
        with pytest.raises(
            InputFileError, match=r"speaks of counts, and .* is not whole; say kind = .counts. for counts with"
        ):
            read_curve(path)
        with pytest.warns(UserWarning, match="corrected"):
            assert read_curve(path, data_kind="counts").attrs["units"] == "counts"
        assert read_curve(path, data_kind="intensity").name == "intensity"

    def test_a_unit_that_is_not_known_is_refused(self, tmp_path):
        path = save(tmp_path, "a.csv", text_of(heading="Delta_omega_urad,counts\n"))
        with pytest.raises(InputFileError, match="says urad, which is none of"):
            read_curve(path)
        assert read_curve(path, kind="omega", unit="deg").x.attrs["units"] == "deg"

    @pytest.mark.parametrize(
        ("heading", "kind", "unit"),
        [
            ("offset_mrad", "offset", "mrad"),
            ("offset mrad", "offset", "mrad"),
            ("omega (arcmin)", "omega", "arcmin"),
            ('domega (")', "offset", "arcsec"),
            ("Omega rel. (sec)", "offset", "arcsec"),
            ("omega - omega_0 (deg)", "offset", "deg"),
        ],
    )
    def test_kind_and_unit_that_a_heading_suggests(self, tmp_path, heading, kind, unit):
        path = save(
            tmp_path,
            "a.csv",
            text_of(x=np.linspace(1.0, 9.0, len(OMEGA)), heading=f"{heading};counts\n", delimiter=";"),
        )
        assert read_curve(path).x.attrs["kind"] == kind
        assert read_curve(path).x.attrs["units"] == unit

    def test_the_axis_of_the_scan_is_told_above_the_table(self, tmp_path):
        above = "Sample,7\nScan axis,2Theta-Omega\nAngle,Intensity\n"
        path = save(tmp_path, "a.csv", text_of(x=2.0 * OMEGA, heading=above))
        assert read_curve(path).x.attrs["kind"] == "two_theta"

    def test_angles_that_are_not_the_first_column(self, tmp_path):
        rows = zip(range(len(OMEGA)), OMEGA, COUNTS, strict=True)
        text = "point,omega,counts\n" + "".join(f"{i},{a:.5f},{b:.0f}\n" for i, a, b in rows)
        assert_is_the_curve(read_curve(save(tmp_path, "a.csv", text), unit="deg"))

    @pytest.mark.parametrize("heading", ["x,rel. intensity,z", "deg,rel. intensity,z", "deg,offset counts,time (sec)"])
    def test_intensities_that_sound_like_angles_are_none(self, tmp_path, heading):
        text = heading + "\n" + "".join(f"{a:.5f},{b:.0f},7\n" for a, b in zip(OMEGA, COUNTS, strict=True))
        curve = read_curve(save(tmp_path, "a.csv", text), unit="deg", kind="omega", data_kind="counts")
        assert_is_the_curve(curve)

    def test_times_of_the_day_are_no_counting_times(self, tmp_path):
        rows = zip(OMEGA, COUNTS, strict=True)
        text = "omega_deg,cps,time\n" + "".join(f"{a:.5f},{b / 4:.6g},12:30:01\n" for a, b in rows)
        with pytest.raises(InputFileError, match="counting time"):
            read_curve(save(tmp_path, "a.csv", text))

    def test_rates_beside_their_counting_times_are_counts(self, tmp_path):
        rows = list(zip(OMEGA, COUNTS, strict=True))
        text = "omega_deg,cps,time_s\n" + "".join(f"{a:.5f},{b / 4:.6g},4\n" for a, b in rows)
        curve = read_curve(save(tmp_path, "a.csv", text))
        assert_is_the_curve(curve)
        assert (curve["counting_time"] == 4.0).all()
        text = "omega_deg,cps,time_s\n" + "".join(f"{a:.5f},{b / 4:.6g},3\n" for a, b in rows)
        with pytest.raises(InputFileError, match="counting time"):
            read_curve(save(tmp_path, "b.csv", text))

    def test_logarithms_are_refused(self, tmp_path):
        path = save(tmp_path, "a.csv", text_of(heading="omega_deg,log10(counts)\n"))
        with pytest.raises(InputFileError, match="holds logarithms"):
            read_curve(path)

    def test_headings_with_units_between_blanks(self, tmp_path):
        text = text_of(delimiter="   ", heading="omega (deg)   counts\n")
        assert_is_the_curve(read_curve(save(tmp_path, "a.txt", text), column="counts"))

    def test_decimal_commas_between_blanks(self, tmp_path):
        text = "".join(f"{a:.5f} {b:.2f}\n".replace(".", ",") for a, b in zip(OMEGA, COUNTS, strict=True))
        assert_is_the_curve(read_curve(save(tmp_path, "a.txt", text)))

    def test_commas_in_numbers_and_between_them(self, tmp_path):
        text = text_of(heading="omega,counts\n").replace(".", ",")
        with pytest.raises(InputFileError, match=r"both between columns and in numbers"):
            read_curve(save(tmp_path, "a.csv", text))

    @pytest.mark.parametrize(
        ("heading", "kind", "unit"),
        [
            ("omega_offset_arcsec", "offset", "arcsec"),
            ("two_theta_deg", "two_theta", "deg"),
            ("2Theta [deg]", "two_theta", "deg"),
            ("Delta omega (arcsec)", "offset", "arcsec"),
            ("omega/mdeg", "omega", "mdeg"),
        ],
    )
    def test_headings_suggest_kind_and_unit(self, tmp_path, heading, kind, unit):
        scale = {"deg": 1.0, "arcsec": 3600.0, "mdeg": 1000.0}[unit]
        x = (OMEGA - 33.0 if kind == "offset" else OMEGA) * scale
        path = save(tmp_path, "a.csv", text_of(x, COUNTS, heading=f"{heading},counts\n"))
        curve = read_curve(path)
        assert (curve.x.attrs["kind"], curve.x.attrs["units"]) == (kind, unit)

    def test_what_is_said_outranks_the_heading(self, tmp_path):
        path = save(tmp_path, "a.csv", text_of(heading="two_theta_arcsec,counts\n"))
        curve = read_curve(path, kind="omega", unit="deg")
        assert (curve.x.attrs["kind"], curve.x.attrs["units"]) == ("omega", "deg")

    def test_further_columns_become_coordinates(self, tmp_path):
        rows = zip(OMEGA, COUNTS, FACTORS, strict=True)
        text = "om,n,att,t\n" + "".join(f"{a:.5f},{b:.0f},{f:g},2.5\n" for a, b, f in rows)
        curve = read_curve(save(tmp_path, "a.csv", text), attenuation_column="att", counting_time_column="t")
        assert_is_the_curve(curve)
        np.testing.assert_array_equal(curve.attenuation, FACTORS)
        np.testing.assert_array_equal(curve.counting_time, 2.5)

    def test_error_names_line_and_column(self, tmp_path):
        text = text_of(heading="# comment\nomega,counts\n") + "33.5,many\n"
        with pytest.raises(InputFileError, match=r"line 43, column 1 \(counts\): 'many' is not a number"):
            read_curve(save(tmp_path, "a.csv", text))

    def test_underscores_are_no_digits(self, tmp_path):
        with pytest.raises(InputFileError, match="line 41"):
            read_curve(save(tmp_path, "a.csv", text_of() + "33.5,1_000\n"))

    def test_column_twice(self, tmp_path):
        path = save(tmp_path, "a.csv", text_of(heading="a,a\n"))
        with pytest.raises(InputFileError, match="is there 2 times"):
            read_curve(path, x_column="a")

    def test_no_heading_to_search(self, tmp_path):
        with pytest.raises(InputFileError, match="no headings"):
            read_curve(save(tmp_path, "a.csv", text_of()), x_column="omega")

    def test_scan_of_a_text_file(self, tmp_path):
        with pytest.raises(InputFileError, match="holds one scan"):
            read_curve(save(tmp_path, "a.csv", text_of()), scan=1)

    @given(data=st.binary(max_size=300))
    def test_junk_is_an_error_and_no_crash(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("junk") / "a.dat"
        path.write_bytes(data)
        with pytest.raises(HrxrdError):
            read_curve(path)

    @given(data=st.text(alphabet="0123456789.,;-+eE \t\n#'\"abnif", max_size=400))
    def test_almost_numbers_are_read_or_refused(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("almost") / "a.dat"
        path.write_text(data)
        try:
            curve = read_curve(path)
        except HrxrdError:
            return
        assert len(curve) >= 20
        assert np.all(np.isfinite(curve.values))
