"""The report: complete, self-contained, and safe to open."""

import base64
import re
from html.parser import HTMLParser

import pytest
import xarray as xr

import hrxrd_ml as hx
from fit_results import FREE, result
from hrxrd_ml import sample
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.results.html import page


class Outline(HTMLParser):
    """Collects tags, links and text."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.text, self.images = [], [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.links += [values[key] for key in ("href", "src") if key in values]
        if tag == "img":
            self.images.append(values)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def outline(text):
    parser = Outline()
    parser.feed(text)
    assert not parser.open
    return parser


@pytest.mark.filterwarnings("ignore:the chain is too short")
def test_everything_is_in_one_file(tmp_path):
    posterior = sample(result(), 10, burn=20, seed=1, workers=1, progress=False)
    written = hx.report(result(), tmp_path / "fit.html", posterior=posterior)
    seen = outline(written.read_text(encoding="utf-8"))
    assert all(link.startswith("data:image/png;base64,") for link in seen.links)
    assert len(seen.images) == 5
    for image in seen.images:
        assert image["alt"]
        assert base64.b64decode(image["src"].split(",")[1]).startswith(b"\x89PNG")
    text = "\n".join(seen.text)
    for name in (*FREE, "max_strain", "damaged_thickness", "arcsec", "χ²/N", "lmfit", "the chain is too short"):
        assert name in text


def test_without_a_posterior_there_is_none():
    text = page(hx.to_dataset(result()))
    assert len(outline(text).images) == 2
    assert "Posterior" not in text


def test_names_from_files_cannot_become_markup():
    dataset = hx.to_dataset(result()).assign_attrs(source="<script>alert(1)</script>.csv", notes="a < b & c")
    text = page(dataset)
    assert "<script" not in text
    assert "a &lt; b &amp; c" in text


def test_files_are_named_with_their_hash(tmp_path):
    file = tmp_path / "curve.csv"
    file.write_text("1 2\n", encoding="utf-8")
    dataset = hx.to_dataset(result()).assign_attrs(source=str(file), experiment=str(tmp_path / "gone.toml"))
    text = page(dataset)
    assert re.search(r"SHA-256 [0-9a-f]{16}…", text)
    assert "not there any more" in text


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputFileError, match="does not exist"):
        hx.report(result(), tmp_path / "no" / "fit.html")


def test_a_dataset_read_from_netcdf_makes_the_same_page(tmp_path):
    dataset = hx.to_dataset(result())
    hx.save_dataset(dataset, tmp_path / "fit.nc")
    with xr.open_dataset(tmp_path / "fit.nc", engine="h5netcdf") as opened:
        again = page(opened.load())
    assert outline(again).text == outline(page(dataset)).text
