"""The documentation names what is there: parameters, pages, files."""

import re
import runpy
from pathlib import Path

import pytest

from hrxrd_ml.reflection import Reflection
from hrxrd_ml.simulate import RockingCurve

ROOT = Path(__file__).resolve().parents[1]
GERMANIUM = Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Ge 220",))
MODELS = [
    {"profile": "implanted", "resolution": "gaussian", "background": "constant"},
    {"profile": "bspline", "damage": "bspline", "resolution": "pseudo_voigt", "background": "linear"},
    {"profile": "pseudo_voigt", "resolution": "split_pseudo_voigt", "background": "exponential"},
    {"profile": "none", "diffuse": "none", "resolution": "double_crystal"},
]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_parameter_page_is_what_the_script_writes():
    written = runpy.run_path(str(ROOT / "scripts" / "make_parameter_table.py"))["page"]()
    assert text("docs/parameters.md") == written, "run python scripts/make_parameter_table.py"


@pytest.mark.parametrize("name", ["README.md", "docs/parameters.md"])
@pytest.mark.parametrize("parts", MODELS, ids=lambda parts: parts["profile"])
def test_every_parameter_is_documented(name, parts):
    named = set(re.findall(r"`(\w+)`", text(name)))
    names = {re.sub(r"^([sw])\d+$", r"\g<1>0", each) for each in RockingCurve.of(GERMANIUM, **parts).space.names}
    assert names <= named


@pytest.mark.parametrize("part", ["profile", "damage"])
def test_numbers_of_spline_coefficients_are_the_defaults(part):
    parts = {"profile": "bspline", "damage": "bspline"}
    names = RockingCurve.of(GERMANIUM, **parts).space.names
    count = sum(bool(re.fullmatch({"profile": r"s\d+", "damage": r"w\d+"}[part], name)) for name in names)
    knots = {"profile": "strain_knots", "damage": "damage_knots"}[part]
    assert f"`{knots}`, {count} by default" in text("docs/parameters.md").replace("\n", " ")


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []
