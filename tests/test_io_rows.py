"""Rows of text that are no points, and numbers that a sign or a blank between thousands splits."""

import numpy as np
import pytest

from curve_files import COUNTS, OMEGA, N, assert_is_the_curve, save, text_of
from hrxrd_ml import read_curve
from hrxrd_ml.errors import InputFileError

SECONDS = -250.0 + 10.0 * np.arange(N)


def grouped(x, y, delimiter, sign, heading=""):
    """A curve whose counts are written in groups of three digits."""
    rows = (
        f"{a:.5f}{delimiter}{b:,.0f}".replace(",", sign, -1 if delimiter != "," else 0)
        for a, b in zip(x, y, strict=True)
    )
    return heading + "\n".join(rows) + "\n"


def refusal(folder, text, **given):
    with pytest.raises(InputFileError) as caught:
        read_curve(save(folder, "a.txt", text), **given)
    return str(caught.value)


class TestThousands:
    @pytest.mark.parametrize("blank", [" ", "\u00a0", "\u202f", "\u2009"])
    def test_blanks_beside_blanks_between_columns(self, tmp_path, blank):
        assert "line 15 has 3 columns where the others have 2" in refusal(tmp_path, grouped(OMEGA, COUNTS, " ", blank))

    @pytest.mark.parametrize("sign", [" ", "\u00a0", "\u202f", "'", "’"])
    @pytest.mark.parametrize("delimiter", [";", "\t"])
    def test_other_signs(self, tmp_path, sign, delimiter):
        text = grouped(OMEGA, COUNTS, delimiter, sign, f"omega{delimiter}counts\n")
        assert "line 16, column 1 (counts)" in refusal(tmp_path, text)

    @pytest.mark.parametrize("heading", ["", "omega counts\n"])
    def test_blanks_in_every_row(self, tmp_path, heading):
        message = refusal(tmp_path, grouped(OMEGA, COUNTS + 1000, " ", " ", heading))
        assert "stand between thousands" in message or "names 2 columns and line 2 has 3" in message

    @pytest.mark.parametrize("heading", ["", "omega,counts\n"])
    def test_commas_in_every_row(self, tmp_path, heading):
        rows = "".join(f"{a:.0f},{b:,.0f}\n" for a, b in zip(SECONDS, COUNTS + 1000, strict=True))
        assert "between thousands" in refusal(tmp_path, heading + rows, kind="offset", unit="arcsec")

    @pytest.mark.parametrize("sign", [",", "."])
    def test_a_sign_in_all_counts_may_be_either(self, tmp_path, sign):
        text = grouped(OMEGA, COUNTS + 1000, ";", ",").replace(".", sign).replace(",", sign)
        message = refusal(tmp_path, text)
        assert "three digits behind the sign, which may be a decimal sign or stand between thousands" in message
        curve = read_curve(tmp_path / "a.txt", data_kind="intensity")
        np.testing.assert_allclose(curve, (COUNTS + 1000) / 1000)

    def test_decimals_that_show_that_they_are(self, tmp_path):
        rows = zip(OMEGA, COUNTS, strict=True)
        text = "".join(f"{a:.5f};{b / 9000:.3f}\n".replace(".", ",") for a, b in rows)
        np.testing.assert_allclose(read_curve(save(tmp_path, "a.txt", text)), np.round(COUNTS / 9000, 3))
        text = "".join(f"{a:.3f};{b:.3f}\n" for a, b in zip(SECONDS / 1000 + 33, COUNTS, strict=True))
        np.testing.assert_array_equal(read_curve(save(tmp_path, "b.txt", text)), COUNTS)

    @pytest.mark.parametrize("sign", [",", "."])
    def test_in_the_angles(self, tmp_path, sign):
        rows = "".join(f"{5 * a:,.0f};{b:.0f}\n".replace(",", sign) for a, b in zip(SECONDS, COUNTS, strict=True))
        assert "between thousands" in refusal(tmp_path, "offset_arcsec;counts\n" + rows)


class TestStrayRows:
    @pytest.mark.parametrize(
        ("stray", "line"),
        [
            ("32.5 0.0154 33.4\n", "line 1 has 3 columns where the others have 2"),
            ("40\n", "line 1 has 1 column where the others have 2"),
            ("32.5 40\n", "line 1: the angle 32.5 lies 19 steps from its neighbour"),
            ("32.79 0.0154\n", "line 1: 0.0154 alone is not whole; is this line no point?"),
        ],
    )
    def test_before_the_points(self, tmp_path, stray, line):
        assert line in refusal(tmp_path, stray + text_of(delimiter=" "))
        assert_is_the_curve(read_curve(save(tmp_path, "b.txt", "# " + stray + text_of(delimiter=" "))))

    def test_under_the_headings(self, tmp_path):
        text = text_of(heading="omega,counts\n32.5,1\n")
        assert "line 2: the angle 32.5 lies 19 steps" in refusal(tmp_path, text)

    @pytest.mark.parametrize(
        ("stray", "line"),
        [
            ("99.0,306689\n", "line 41: the angle 99 lies"),
            ("1,2,3\n", "line 41 has 3 columns"),
            ("33.5\n", "line 41 has 1"),
        ],
    )
    def test_behind_the_points(self, tmp_path, stray, line):
        assert line in refusal(tmp_path, text_of() + stray)

    def test_among_the_points(self, tmp_path):
        lines = text_of().splitlines(keepends=True)
        assert "line 21 has 3 columns" in refusal(tmp_path, "".join([*lines[:20], "33.1,5,7\n", *lines[20:]]))

    def test_blank_cells_at_the_end_of_a_row_are_no_other_width(self, tmp_path):
        rows = [f"{a:.5f},{b:.0f},{'x' if i % 3 else ''}\n" for i, (a, b) in enumerate(zip(OMEGA, COUNTS, strict=True))]
        assert_is_the_curve(read_curve(save(tmp_path, "a.txt", "omega,counts,remark\n" + "".join(rows))))

    def test_a_gap_between_parts_of_a_scan_is_none(self, tmp_path):
        keep = (OMEGA < 32.95) | (OMEGA > 33.15)
        curve = read_curve(save(tmp_path, "a.txt", text_of(OMEGA[keep], COUNTS[keep])))
        assert_is_the_curve(curve, OMEGA[keep], COUNTS[keep])
