"""What pip installs: every library that is imported, none without its lowest version, and torch only for training."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", text)[0].lower().replace("_", "-") for text in requirements}


def imported() -> set[str]:
    """Top-level modules that the package imports anywhere, but for its own and Python's."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "find_spec":  # of which files are read
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found - {"hrxrd_ml"} - sys.stdlib_module_names


def test_what_is_imported_is_what_is_declared() -> None:
    distributions = packages_distributions() | {"torch": ["torch"]}
    needed = {distributions[module][0].lower().replace("_", "-") for module in imported()}
    assert needed == names(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["train"])


def test_every_requirement_states_its_lowest_version() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "lowest_versions.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = dict(line.split("==") for line in done.stdout.splitlines())
    assert found["lmfit"] == "1.3.4"
    every = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    assert {name.lower() for name in found} == names(every) - {"hrxrd-ml"}


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy==2.0", "numpy>2"])
def test_a_requirement_without_a_lowest_version_is_refused(requirement: str) -> None:
    code = f"from lowest_versions import lowest; lowest([{requirement!r}])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True, check=False
    )
    assert f'"{requirement}" must state the lowest version' in done.stderr


# What runs in a process of its own, where torch is not installed as far as Python can tell.
WITHOUT_TORCH = """
import sys
class Absent:
    @staticmethod
    def find_spec(name, *_):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name=name)
sys.meta_path.insert(0, Absent)
from hrxrd_ml.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def without_torch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_training_without_torch_says_what_to_install(tmp_path: Path) -> None:
    done = without_torch(tmp_path, "train", "universal", "--out", "trained")
    assert done.returncode == 2
    assert done.stderr == 'hrxrd-ml: this needs torch, which is not installed: pip install "hrxrd_ml[train]"\n'
    assert not list(tmp_path.iterdir())


def test_everything_else_works_without_torch(tmp_path: Path) -> None:
    (tmp_path / "set.toml").write_text("[dataset]\ncurves = 40\nseed = 3\n", encoding="utf-8")
    data = ROOT / "src" / "hrxrd_ml" / "data" / "demo"
    for command in (
        f"guess {data}.csv --out start.toml",
        "dataset make set.toml --out set --workers 1",
        "evaluate bundled set --out evaluated",
    ):
        done = without_torch(tmp_path, *command.split())
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "evaluated" / "evaluation.json").read_text(encoding="utf-8"))["curves"] > 30
