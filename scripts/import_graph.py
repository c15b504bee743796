"""Print or draw who imports whom: ``python scripts/import_graph.py [--table | --dot | --png FILE] [FOLDER]``.

FOLDER is the root of a checkout, this one by default. The order of the floors is the table of tests/test_layering.py,
where there is one; otherwise a part stands one floor above the highest that it imports.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]

KINDS = ("eager", "inside", "checking")
"""When an import runs: with its module, when a function is called, never (for type checkers)."""


@dataclass(frozen=True, order=True)
class Import:
    """One import: ``source`` names ``target``, both by dotted names; external targets as well."""

    source: str
    target: str
    line: int
    kind: str


def _walk(node: ast.AST, kind: str = "eager") -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, kind
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            yield from _walk(ast.Module(child.body, []), "checking")
            yield from _walk(ast.Module(child.orelse, []), kind)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, "inside" if function and kind == "eager" else kind)


def imports_of(source: str, module: str, is_package: bool, known: Set[str]) -> list[Import]:
    """Imports of a module by absolute name; ``from p import m`` counts as p.m where that is a module.

    ``module`` is dotted, beginning with the package; ``known`` are the package's modules.
    """
    found = []
    for node, kind in _walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            parts = module.split(".")
            package = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*package, *(node.module.split(".") if node.module else [])])
            targets = [f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names]
        found += [Import(module, target, node.lineno, kind) for target in dict.fromkeys(targets)]
    return found


def circles(graph: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other, by Tarjan's algorithm; nodes that reach what they need first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


@dataclass(frozen=True)
class Package:
    """Sources of a package.

    Attributes
    ----------
    name : str
    files : dict of str to Path
        By dotted name, which begins with ``name``.
    """

    name: str
    files: dict[str, Path]

    @classmethod
    def at(cls, folder: Path) -> Package:
        """Package whose folder this is."""
        files = {}
        for path in sorted(folder.rglob("*.py")):
            parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return cls(folder.name, files)

    @cached_property
    def imports(self) -> dict[str, list[Import]]:
        """Imports of each module, external ones as well."""
        known = frozenset(self.files)
        return {
            name: imports_of(path.read_text(encoding="utf-8"), name, path.name == "__init__.py", known)
            for name, path in self.files.items()
        }

    def internal(self, kinds: Collection[str] = KINDS) -> list[Import]:
        """Imports between modules; those of the package's own __init__, which offers what others define, left out."""
        return [
            found
            for name, imports in self.imports.items()
            for found in imports
            if name != self.name and found.kind in kinds and found.target in self.files and found.target != name
        ]

    def graph(self, kinds: Collection[str] = KINDS) -> dict[str, set[str]]:
        """For each module those that it imports."""
        graph: dict[str, set[str]] = {name: set() for name in self.files if name != self.name}
        for found in self.internal(kinds):
            if found.target != self.name:
                graph[found.source].add(found.target)
        return graph

    def lines(self, module: str) -> int:
        """Number of lines of a module."""
        return len(self.files[module].read_text(encoding="utf-8").splitlines())

    def part(self, module: str) -> str:
        """The package or file directly below the root that a module belongs to; "" for the root."""
        return module.partition(".")[2].partition(".")[0]

    @cached_property
    def parts(self) -> dict[str, list[str]]:
        """Modules of each part."""
        found: dict[str, list[str]] = {}
        for module in self.files:
            if module != self.name:
                found.setdefault(self.part(module), []).append(module)
        return found

    def is_folder(self, part: str) -> bool:
        """Whether a part is a package rather than a file."""
        return self.files[f"{self.name}.{part}"].name == "__init__.py"

    def between(self, kinds: Collection[str] = KINDS) -> dict[tuple[str, str], list[Import]]:
        """Imports from one part in another, by both names."""
        found: dict[tuple[str, str], list[Import]] = {}
        for own in self.internal(kinds):
            pair = self.part(own.source), self.part(own.target)
            if pair[0] != pair[1] and all(pair):
                found.setdefault(pair, []).append(own)
        return found


def levels(graph: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Floor of each node, from 0: one above the highest that it imports; the nodes of a circle share one."""
    floor: dict[str, int] = {}
    for group in circles(graph):
        below = {other for node in group for other in graph[node]} - set(group)
        floor |= dict.fromkeys(group, 1 + max((floor[other] for other in below), default=-1))
    return floor


def floors_of(package: Package, table: Path) -> dict[str, int]:
    """Floor of each part: by the table FLOORS in a file, or by what it imports where there is none."""
    if table.is_file():
        for statement in ast.parse(table.read_text(encoding="utf-8")).body:
            target = getattr(statement, "target", None) or next(iter(getattr(statement, "targets", [])), None)
            if isinstance(target, ast.Name) and target.id == "FLOORS":
                rows = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
                return {name: i for i, row in enumerate(rows) for name in row.split()}
    graph: dict[str, set[str]] = {part: set() for part in package.parts}
    for source, target in package.between(("eager", "inside")):
        graph[source].add(target)
    return levels(graph)


def upward(package: Package, floors: Mapping[str, int]) -> list[Import]:
    """Imports of a part from one that does not stand below it."""
    return [
        own
        for (source, target), imports in sorted(package.between().items())
        if floors.get(target, 0) >= floors.get(source, 0)
        for own in imports
    ]


def summary(package: Package, floors: Mapping[str, int]) -> str:
    """The graph in numbers."""
    modules = [name for name in package.files if package.files[name].name != "__init__.py"]
    lengths = [package.lines(name) for name in modules]
    folders = [part for part in package.parts if package.is_folder(part)]
    eager, called, every = (package.graph(KINDS[:n]) for n in (1, 2, 3))
    rings = [[group for group in circles(graph) if len(group) > 1] for graph in (eager, called, every)]
    above = upward(package, floors)
    text = [
        f"modules               {len(modules)}, {sum(map(package.lines, package.files))} lines, "
        f"median {statistics.median(lengths):g}, longest {max(lengths)}",
        f"on top                {len(folders)} packages, {len(package.parts) - len(folders)} files",
        f"leading underscore    {sum(name.rpartition('.')[2].startswith('_') for name in modules)} file names",
        f"imports               {sum(map(len, every.values()))} between modules; between parts: "
        f"{sum(map(len, package.between().values()))} in {len(package.between())} arrows",
        f"floors                {1 + max(levels(called).values())} of modules, {1 + max(floors.values())} of parts",
        f"circles               {len(rings[0])} when modules are imported, {len(rings[1])} with imports inside of "
        f"functions, {len(rings[2])} with those for type checkers; modules in them: "
        + ", ".join(str(sum(map(len, group))) for group in rings),
        f"upward between parts  {sum(own.kind != 'checking' for own in above)}, for type checkers "
        f"{sum(own.kind == 'checking' for own in above)}",
    ]
    for group in rings[1]:
        text.append("  circle: " + ", ".join(name.removeprefix(package.name + ".") for name in group))
    for own in above:
        short = (name.removeprefix(package.name + ".") for name in (own.source, own.target))
        text.append(f"  upward: {' -> '.join(short)} (line {own.line}{', ' + own.kind if own.kind != 'eager' else ''})")
    return "\n".join([*text, ""])


def table(package: Package, floors: Mapping[str, int]) -> str:
    """The parts from the top floor to the ground, as a table of Markdown."""
    rows = ["| floor | part | modules | lines | imports from |", "|---|---|---|---|---|"]
    arrows = package.between()
    for part in sorted(package.parts, key=lambda name: (-floors.get(name, -1), name)):
        modules = package.parts[part]
        below = sorted((t for s, t in arrows if s == part), key=lambda name: (-floors.get(name, -1), name))
        counted = ", ".join(f"{name} {len(arrows[part, name])}" for name in below)
        lines = sum(map(package.lines, modules))
        rows.append(f"| {floors.get(part, '?')} | `{part}` | {len(modules)} | {lines} | {counted} |")
    return "\n".join([*rows, ""])


def dot(package: Package, floors: Mapping[str, int]) -> str:
    """The parts and their arrows for Graphviz."""
    text = [f"digraph {package.name} {{", "  rankdir=TB; node [shape=box];"]
    for level in sorted(set(floors.values()), reverse=True):
        same = " ".join(f'"{part}";' for part in package.parts if floors.get(part) == level)
        text.append(f"  {{ rank=same; {same} }}")
    for (source, target), imports in sorted(package.between().items()):
        wrong = floors.get(target, 0) >= floors.get(source, 0)
        text.append(f'  "{source}" -> "{target}" [label={len(imports)}{", color=red" if wrong else ""}];')
    return "\n".join([*text, "}", ""])


def draw(package: Package, floors: Mapping[str, int], file: Path) -> None:
    """Picture of the parts on their floors; arrows upward or within a floor in red."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    place = {}
    for level in set(floors.values()):
        row = sorted(part for part in package.parts if floors.get(part) == level)
        # Shifted by a little from floor to floor, so that arrows do not run through the boxes between their ends.
        place |= {part: (i + 0.5 - len(row) / 2.0 + 0.25 * (-1) ** level, level) for i, part in enumerate(row)}
    width = max(abs(x) for x, _ in place.values()) + 1.0
    figure, axes = plt.subplots(figsize=(max(8.0, 1.5 * width), 1.0 + 0.8 * (1 + max(floors.values()))))
    for (source, target), imports in sorted(package.between().items()):
        wrong = place[target][1] >= place[source][1]
        style = {"color": "#d55e00" if wrong else "#0072b2", "lw": 0.4 + 0.15 * len(imports) ** 0.5 * 2.0}
        arrow = {"arrowstyle": "->", "shrinkA": 10, "shrinkB": 10, "connectionstyle": "arc3,rad=0.12", **style}
        axes.annotate("", place[target], place[source], arrowprops=arrow | {"alpha": 1.0 if wrong else 0.45})
    for part, (x, y) in place.items():
        lines = sum(map(package.lines, package.parts[part]))
        box = {"boxstyle": "round", "fc": "#e8f1f8" if package.is_folder(part) else "white", "ec": "#8c8c8c"}
        axes.text(x, y, f"{part}\n{lines}", ha="center", va="center", fontsize=8, bbox=box)
    axes.set_xlim(-width, width)
    axes.set_ylim(-0.7, max(floors.values()) + 0.7)
    axes.axis("off")
    figure.tight_layout()
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--table", action="store_true", help="parts from the top floor to the ground, as Markdown")
    shown.add_argument("--dot", action="store_true", help="graph for Graphviz")
    shown.add_argument("--png", type=Path, metavar="FILE", help="picture")
    arguments = parser.parse_args()
    package = Package.at(arguments.folder.resolve() / "src" / "hrxrd_ml")
    floors = floors_of(package, arguments.folder / "tests" / "test_layering.py")
    if arguments.png:
        draw(package, floors, arguments.png)
    elif arguments.dot:
        sys.stdout.write(dot(package, floors))
    elif arguments.table:
        sys.stdout.write(table(package, floors))
    else:
        sys.stdout.write(summary(package, floors))


if __name__ == "__main__":
    main()
