"""Who may import whom, read from the sources: the picture in docs/architecture.md, enforced."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = "hrxrd_ml"

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "crystal cif wavelength _crystal_data _lattice _scattering _susceptibility",
        "reflection",
        "parameters _parameter_space",
        "profile specimen _numba_profile",
        "dynamical",
        "diffuse film _numba_diffuse",
        "instrument resolution _gridding _numba_gridding",
        "simulate _bound _grid",
        "guess model objective _evaluation _fitting _json_values _landmarks _levenberg _minimizer _nesting "
        "_observation _profiling _competing _result _saving _search _statistics _task _threads _uncertainty",
        "results plot html_report run strategy outputs posterior _derived _netcdf _overrides _plot_posterior "
        "_plot_style sampling",
        "ml nexpy",
        "cli _cli_training",
    )
)
"""From the bottom up: a module may import from its own layer and from those before it."""

EVERYWHERE = frozenset({"errors", "units", "_miller", "expressions"})
"""What every module may import."""

BESIDE = {
    "errors": frozenset[str](),
    "units": frozenset({"errors"}),
    "arrays": frozenset[str](),
    "complex_step": frozenset({"errors", "arrays"}),
    "_miller": frozenset({"errors"}),
    "expressions": frozenset({"errors"}),
    "files": frozenset({"errors"}),
    "experiment": frozenset({"errors", "units", "_miller", "expressions"}),
    "io": frozenset({"errors", "units", "experiment"}),
}
"""Modules that stand beside the layers, with all that each may import.

No physics imports `files`, `experiment` or `io`: only what handles files on behalf of a user does."""

LOWEST_USER_OF_FILES = next(i for i, layer in enumerate(LAYERS) if "model" in layer)

USES_ROOT = frozenset({"cli", "_cli_training", "nexpy"})
"""What may import names of the package itself, which re-exports all the others."""

TRAINING = ("ml.network", "ml.train", "ml.feed", "ml.stream")
"""What trains networks with torch."""

PREDICTION = (
    "checkpoint", "domain", "forward", "plan", "predict", "provider", "settings", "scale", "window", "targets",
)  # fmt: skip
"""Modules of ml that guess with a trained network; they import no other module of it."""

HEAVY = {
    "torch": TRAINING,
    "matplotlib": ("plot", "html_report", "_plot_posterior"),
    "xraydb": (),
    "gemmi": (),
}
"""Libraries that are slow to load, and the modules that may load them when they are themselves imported."""

NAMED_ONLY_IN = {"torch": TRAINING}
"""Libraries that no other module may name at all, not even inside a function."""


@dataclass(frozen=True)
class Import:
    """One import statement's target; ``eager``: run when the module itself is imported."""

    target: str
    line: int
    eager: bool


def _walk(node: ast.AST, eager: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, eager
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            yield from _walk(ast.Module(child.body, []), False)
            yield from _walk(ast.Module(child.orelse, []), eager)
        else:
            inner = eager and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, inner)


def imports_of(source: str, module: str, is_package: bool, known: frozenset[str]) -> list[Import]:
    """Imports of a module by absolute name; ``from p import m`` counts as p.m where that is a module.

    ``module`` is dotted, beginning with the package; ``known`` are the package's modules.
    """
    found = []
    for node, eager in _walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            parts = module.split(".")
            package = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*package, *(node.module.split(".") if node.module else [])])
            targets = [f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names]
        found += [Import(target, node.lineno, eager) for target in dict.fromkeys(targets)]
    return found


@cache
def package() -> dict[str, list[Import]]:
    """Imports of every module of the installed package, by dotted name."""
    spec = find_spec(ROOT)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    files = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [ROOT, *path.relative_to(folder).with_suffix("").parts]
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    known = frozenset(files)
    return {
        name: imports_of(path.read_text(encoding="utf-8"), name, path.name == "__init__.py", known)
        for name, path in files.items()
    }


def top(module: str) -> str:
    """Name of the module or subpackage directly below the root; "" for the root itself."""
    return module.partition(".")[2].partition(".")[0]


def below(module: str) -> str:
    """Dotted name without the root."""
    return module.partition(".")[2]


def is_internal(target: str) -> bool:
    return target == ROOT or target.startswith(ROOT + ".")


def layer_of(name: str) -> int | None:
    return next((i for i, layer in enumerate(LAYERS) if name in layer), None)


def may_import(importer: str, imported: str) -> bool:
    """Whether one top-level module may import another ("" is the root)."""
    if importer in ("", imported):
        return True
    if imported == "":
        return importer in USES_ROOT
    if importer in BESIDE:
        return imported in BESIDE[importer]
    if imported in EVERYWHERE:
        return True
    here, there = layer_of(importer), layer_of(imported)
    assert here is not None
    if imported in BESIDE:
        return here >= LOWEST_USER_OF_FILES
    return there is not None and there <= here


def loaded_with(module: str) -> set[str]:
    """Everything, inside and outside the package, that importing a module of the package imports eagerly."""
    seen: set[str] = set()
    stack = [module]
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        if is_internal(name):
            stack += [i.target for i in package().get(name, []) if i.eager]
            stack += [name.rpartition(".")[0]] if "." in name else []
    return seen


def allowed(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(below(module) == p or below(module).startswith(p + ".") for p in prefixes)


MODULES = sorted(package())


def test_every_module_has_a_place() -> None:
    placed = set().union(*LAYERS) | set(BESIDE)
    unplaced = sorted({top(m) for m in MODULES} - placed - {""})
    assert not unplaced, f"give each its layer in LAYERS and in docs/architecture.md: {unplaced}"


@pytest.mark.parametrize("module", MODULES)
def test_dependencies_point_down(module: str) -> None:
    if top(module) and top(module) not in BESIDE and layer_of(top(module)) is None:
        pytest.skip("has no place yet, which another test reports")
    wrong = [
        f"line {i.line}: {i.target}"
        for i in package()[module]
        if is_internal(i.target) and not may_import(top(module), top(i.target))
    ]
    assert not wrong, f"{module} imports from above or from the side: {wrong}"


def test_prediction_imports_nothing_of_training() -> None:
    own = [f"{ROOT}.ml.{name}" for name in PREDICTION]
    wrong = [
        f"{module}: {i.target}"
        for module in own
        for i in package()[module]
        if top(i.target) == "ml" and i.target not in own
    ]
    assert not wrong, wrong


def test_no_cycle_of_imports() -> None:
    graph = {
        name: {i.target for i in imports if i.eager and is_internal(i.target) and i.target != name}
        for name, imports in package().items()
        if name != ROOT
    }
    # A package imports its own modules, and they name it only through its modules: no edge to the parent.
    order = list(TopologicalSorter(graph).static_order())
    assert set(graph) <= set(order)


@pytest.mark.parametrize("library", HEAVY)
def test_slow_libraries_are_loaded_where_they_are_needed(library: str) -> None:
    wrong = [
        module
        for module in MODULES
        if not allowed(module, HEAVY[library])
        and any(name.partition(".")[0] == library for name in loaded_with(module))
    ]
    assert not wrong, f"importing these loads {library}: {wrong}"


@pytest.mark.parametrize("library", NAMED_ONLY_IN)
def test_a_library_stays_in_its_place(library: str) -> None:
    wrong = [
        f"{module} line {i.line}"
        for module in MODULES
        for i in package()[module]
        if i.target.partition(".")[0] == library and not allowed(module, NAMED_ONLY_IN[library])
    ]
    assert not wrong, f"{library} is imported outside {NAMED_ONLY_IN[library]}: {wrong}"


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
    found = imports_of(SOURCE, f"{ROOT}.a.b", False, known)
    eager = {i.target for i in found if i.eager}
    assert {i.target for i in found} - eager == {"matplotlib", "gemmi"}
    assert eager == {
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
    package_itself = imports_of("from ._b import x\nfrom .. import units", f"{ROOT}.a", True, known)
    assert [i.target for i in package_itself] == [f"{ROOT}.a._b", f"{ROOT}.units"]


@pytest.mark.parametrize(
    ("importer", "imported", "expected"),
    [
        ("simulate", "reflection", True),
        ("reflection", "simulate", False),
        ("crystal", "errors", True),
        ("io", "crystal", False),
        ("simulate", "io", False),
        ("cli", "io", True),
        ("model", "", False),
        ("cli", "", True),
        ("guess", "model", True),
    ],
)
def test_rule(importer: str, imported: str, expected: bool) -> None:
    assert may_import(importer, imported) is expected
