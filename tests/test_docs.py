"""The documentation names what is there: parameters, pages, files."""

import contextlib
import html
import re
import runpy
from pathlib import Path

import pytest

import trouble_cases
from hrxrd_ml import Reflection, RockingCurve

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


# --- docs/troubleshooting.md: every message in a block of text is one that the package prints; … stands for what varies

QUOTES = [
    " ".join(quote.split())
    for quote in re.findall(r"^```text\n(.*?)^```$", text("docs/troubleshooting.md"), flags=re.MULTILINE | re.DOTALL)
]


def says(message, quote):
    """Whether a message, line ends aside, holds what is quoted."""
    return re.search(".*?".join(map(re.escape, quote.split("…"))), " ".join(message.split())) is not None


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    found = {}
    for name, case in trouble_cases.CASES.items():
        with contextlib.chdir(tmp_path_factory.mktemp("trouble")):
            found[name] = case()
    return found


@pytest.mark.parametrize("quote", QUOTES, ids=lambda quote: quote[:60])
def test_messages_in_troubleshooting_occur(quote, messages):
    assert [name for name, message in messages.items() if says(message, quote)]


@pytest.mark.parametrize("name", trouble_cases.CASES)
def test_troubles_are_in_the_page(name, messages):
    assert [quote for quote in QUOTES if says(messages[name], quote)], messages[name]


def test_pages_ask_nothing_of_other_computers_to_show_formulas():
    pytest.importorskip("latex2mathml", reason="formulas of the documentation need the extra docs")
    assert "https://" not in text("mkdocs.yml")
    hook = runpy.run_path(str(ROOT / "scripts" / "mathml.py"))["on_page_content"]
    inline = hook(r'<p>The width <span class="arithmatex">\(w &lt; \sigma_0\)</span>.</p>')
    assert inline.startswith('<p>The width <math xmlns="http://www.w3.org/1998/Math/MathML" display="inline">')
    assert inline.endswith("</math>.</p>")
    assert "&lt;" in inline or "&#x0003C;" in inline
    assert "arithmatex" not in inline
    block = hook('<div class="arithmatex">\\[\na = b,\n\\]</div>')
    assert 'display="block"' in block
    assert hook("<code>x</code>") == "<code>x</code>"


@pytest.fixture(scope="module")
def hooks():
    pytest.importorskip("latex2mathml", reason="formulas of the documentation need the extra docs")
    return runpy.run_path(str(ROOT / "scripts" / "mathml.py"))


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_every_formula_has_mathml(hooks, path):
    formulas = re.findall(r"\\\(.+?\\\)|\\\[.+?\\\]", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    page = hooks["on_page_content"](
        "".join(f'<span class="arithmatex">{html.escape(formula)}</span>' for formula in formulas)
    )
    assert page.count("<math ") == len(formulas)
    assert "\\" not in page


def test_a_formula_that_would_be_printed_as_it_is_written_is_an_error(hooks):
    with pytest.raises(ValueError, match="nosuchcommand"):
        hooks["on_page_content"](r'<span class="arithmatex">\(\nosuchcommand x\)</span>')


@pytest.mark.parametrize("source", ['<script src="https://cdn.org/x.js">', "<img alt=a src=//b.org/c.png>"])
def test_a_page_loads_nothing_from_elsewhere(hooks, source):
    with pytest.raises(ValueError, match="from elsewhere"):
        hooks["on_post_page"](source)
    page = '<a href="https://lmfit.github.io">lmfit</a><img src="images/a.png">'
    assert hooks["on_post_page"](page) == page
