"""Who may import whom, read from the sources: the table of docs/architecture.md, enforced."""

import importlib
import importlib.util
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = "hrxrd_ml"
REPOSITORY = Path(__file__).resolve().parents[1]

FLOORS = (
    "errors arrays",
    "units parameters complex_step reading",
    "crystal",
    "io specimen",
    "diffraction",
    "instrument",
    "simulate",
    "inference",
    "model",
    "guess results",
    "training",
    "cli",
)
"""From the ground up: a part of the package imports from floors below its own, and from itself."""

INSIDE = {
    "crystal": "miller wavelength lattice scattering susceptibility cif library structure monochromator reflection "
    "material",
    "instrument": "spreading angles convolution counting background resolution emission diffractometer optics declared "
    "grid measure",
    "model": "observation transforms json_values uncertainty plausible saving minimizer intervals provider result "
    "composite rocking_curve loading nexpy",
    "results": "derived tables dataset posterior_dataset posterior plots html",
}
"""Of some packages their modules, from the ground up, where the order is part of the design."""

TRAINING = "training"
"""Trains the network; nothing that guesses, fits or samples needs it."""

HEAVY = {
    "torch": ("training",),
    "matplotlib": ("results.plots", "results.html"),
    "xraydb": (),
    "gemmi": (),
}
"""Libraries that are slow to load, and the parts that may load them when they are themselves imported."""

MOST_PACKAGES = 10
MOST_FILES = 7
MEDIAN_LENGTH = 180
MOST_UNDERSCORES = 3


@cache
def tool() -> ModuleType:
    """The command that prints the graph, which reads the imports for this test as well."""
    spec = importlib.util.spec_from_file_location("import_graph", REPOSITORY / "scripts" / "import_graph.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@cache
def package():
    return tool().Package.at(Path(importlib.util.find_spec(ROOT).origin).parent)


def floors() -> dict[str, int]:
    return {name: i for i, row in enumerate(FLOORS) for name in row.split()}


def modules() -> list[str]:
    return [name for name, path in package().files.items() if path.name != "__init__.py"]


def below(module: str) -> str:
    """Dotted name without the root."""
    return module.partition(".")[2]


def belongs(module: str, parts: tuple[str, ...]) -> bool:
    return any(below(module) == part or below(module).startswith(part + ".") for part in parts)


def shown(imports) -> list[str]:
    return [f"{own.source} line {own.line}: {own.target}" for own in imports]


def test_every_part_has_a_floor() -> None:
    unplaced = sorted(set(package().parts) - set(floors()))
    assert not unplaced, f"give each its place in FLOORS and in docs/architecture.md: {unplaced}"


def test_no_import_points_upward() -> None:
    assert not shown(tool().upward(package(), floors()))


@pytest.mark.parametrize("part", INSIDE)
def test_no_import_points_upward_inside_of_a_package(part: str) -> None:
    order = {name: i for i, name in enumerate(INSIDE[part].split())}
    wrong = []
    for own in package().internal(("eager", "inside")):
        pair = [below(name).split(".") for name in (own.source, own.target)]
        if all(names[0] == part and len(names) > 1 and names[1] in order for names in pair):
            here, there = (order[names[1]] for names in pair)
            wrong += [own] if there > here else []
    assert not shown(wrong)


def test_no_circle_of_imports() -> None:
    """Not when modules are imported, and not by way of imports inside of functions."""
    graph = package().graph(("eager", "inside"))
    assert [group for group in tool().circles(graph) if len(group) > 1] == []


def test_nothing_uses_names_of_the_package_that_offers_all_others() -> None:
    found = [own for own in package().internal() if own.target == ROOT and not belongs(own.source, ("cli",))]
    assert not shown(found)


def test_what_the_package_offers_is_not_hidden_by_a_part() -> None:
    """Importing a part sets an attribute of the package, in place of what is offered under that name."""
    offered = importlib.import_module(ROOT).__all__
    assert not set(offered) & set(package().parts)


def test_few_parts_on_top() -> None:
    folders = [part for part in package().parts if package().is_folder(part)]
    assert len(set(folders) - {TRAINING}) <= MOST_PACKAGES
    assert len(package().parts) - len(folders) <= MOST_FILES


def test_modules_can_be_read_in_one_sitting() -> None:
    assert statistics.median(map(package().lines, modules())) < MEDIAN_LENGTH


def test_names_of_files_say_what_they_hold() -> None:
    private = [name for name in modules() if name.rpartition(".")[2].startswith("_")]
    assert len(private) <= MOST_UNDERSCORES, private


def loaded_with(module: str) -> set[str]:
    """Everything, inside and outside the package, that importing a module of the package imports."""
    seen: set[str] = set()
    stack = [module]
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        if name.partition(".")[0] == ROOT:
            stack += [own.target for own in package().imports.get(name, []) if own.kind == "eager"]
            stack += [name.rpartition(".")[0]] if "." in name else []
    return seen


@pytest.mark.parametrize("library", HEAVY)
def test_slow_libraries_are_loaded_where_they_are_needed(library: str) -> None:
    wrong = [
        module
        for module in package().files
        if not belongs(module, HEAVY[library])
        and any(name.partition(".")[0] == library for name in loaded_with(module))
    ]
    assert not wrong, f"importing these loads {library}: {wrong}"


def test_torch_is_named_in_training_only() -> None:
    """Not even inside of a function elsewhere."""
    found = [
        own
        for module, imports in package().imports.items()
        for own in imports
        if own.target.partition(".")[0] == "torch" and not belongs(module, (TRAINING,))
    ]
    assert not shown(found)


def test_importing_the_package_loads_nothing_slow() -> None:
    code = f"import sys, {ROOT}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert ROOT in loaded
    assert not loaded & set(HEAVY)


SOURCE = """
import typing
import torch.nn as nn
from . import sibling, value
from .. import units
from ..crystal import Crystal
from hrxrd_ml import errors, RockingCurveModel
if typing.TYPE_CHECKING:
    import matplotlib
def f():
    import gemmi
class C:
    import emcee
"""


def test_reading_of_imports() -> None:
    known = frozenset(f"{ROOT}{m}" for m in ("", ".crystal", ".errors", ".units", ".a", ".a.b", ".a.sibling"))
    found = tool().imports_of(SOURCE, f"{ROOT}.a.b", False, known)
    kinds = {own.target: own.kind for own in found}
    assert {name for name, kind in kinds.items() if kind == "eager"} == {
        "typing",
        "torch.nn",
        "emcee",
        f"{ROOT}.a.sibling",
        f"{ROOT}.a",
        f"{ROOT}.units",
        f"{ROOT}.crystal",
        f"{ROOT}.errors",
        ROOT,
    }
    assert (kinds["matplotlib"], kinds["gemmi"]) == ("checking", "inside")
    itself = tool().imports_of("from .b import x\nfrom .. import units", f"{ROOT}.a", True, known)
    assert [own.target for own in itself] == [f"{ROOT}.a.b", f"{ROOT}.units"]


def test_finding_circles_and_floors() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "d"}}
    assert [group for group in tool().circles(graph) if len(group) > 1] == [["b", "c"]]
    assert tool().levels(graph) == {"d": 0, "b": 1, "c": 1, "a": 2, "e": 3}
