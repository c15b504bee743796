"""The examples run from beginning to end, and the package gives the names that they use."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import hrxrd_ml

ROOT = Path(__file__).resolve().parents[1]


def examples():
    """All of them; the one that samples takes long."""
    for path in sorted((ROOT / "examples").glob("*.py")):
        yield pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem == "posterior"))


@pytest.mark.parametrize("path", examples())
def test_example(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().out
    named = path.read_text(encoding="utf-8").split('"""')[1]  # the docstring says what it writes
    written = {file.name for file in tmp_path.iterdir()}
    assert said
    assert written == set(re.findall(r"\w+\.(?:png|nc|cif)", named))
    if path.stem == "first_fit":
        assert "strain is largest" in said
        assert {file.suffix for file in tmp_path.iterdir()} == {".nc", ".png"}


def test_bundled_curve_can_be_made_again(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "make_demo.py", tmp_path / "demo.csv"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bundled = ROOT / "src" / "hrxrd_ml" / "data" / "demo.csv"

    def header(path):
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line[0] not in "-0123456789"]

    assert header(tmp_path / "demo.csv") == header(bundled)


@pytest.mark.parametrize("name", hrxrd_ml.__all__)
def test_every_exported_name_exists(name):
    assert getattr(hrxrd_ml, name) is not None
    assert name in dir(hrxrd_ml)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hrxrd_ml.nothing  # noqa: B018
