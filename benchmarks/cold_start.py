"""What the first curve, fit and sampling after an installation spend on compiling, function by function.

Run by hand: ``python benchmarks/cold_start.py [OTHER] [--stages curve,fit,guess,sample] [--repeat N] [--top N]``.
``OTHER`` is the src folder of another source tree to compare with, run in turn with this one. Each run is a new
process with an empty cache. Seconds are of the processor, those by a clock stand beside them. Seconds of a function are
its own: those of the functions that it calls, compiled on the way, are theirs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import _one_core  # noqa: F401

HERE = Path(__file__).resolve().parents[1] / "src"
STAGES = ("curve", "fit", "guess", "sample")


def child(stages: list[str]) -> None:
    """Do what a user does first, and print what was compiled for it as JSON."""
    begin = time.process_time()
    import numba.core.event as ev

    own: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    passes: dict[str, float] = defaultdict(float)
    open_calls: list[list[float]] = []

    class Recorder(ev.Listener):
        """Time of each compilation without those that are nested in it."""

        def on_start(self, event: Any) -> None:
            open_calls.append([time.process_time(), 0.0])

        def on_end(self, event: Any) -> None:
            start, nested = open_calls.pop()
            spent = time.process_time() - start
            if open_calls:
                open_calls[-1][1] += spent
            function = event.data["dispatcher"].py_func
            entry = own[stage, f"{function.__module__.removeprefix('hrxrd_ml.')}.{function.__name__}"]
            entry[0] += spent - nested
            entry[1] += 1

    class Passes(ev.Listener):
        """Time of each kind of pass."""

        def on_start(self, event: Any) -> None:
            open_passes.append([time.process_time(), 0.0])

        def on_end(self, event: Any) -> None:
            start, nested = open_passes.pop()
            spent = time.process_time() - start
            if open_passes:
                open_passes[-1][1] += spent
            passes[event.data["name"].split("_", 1)[-1]] += spent - nested

    open_passes: list[list[float]] = []
    ev.register("numba:compile", Recorder())
    ev.register("numba:run_pass", Passes())
    numba_import, clock = time.process_time() - begin, time.perf_counter()

    seconds, wall = {}, {}
    stage = "curve"
    import numpy as np

    import hrxrd_ml as hx

    reflection = hx.Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Si 111", "Ge 111"))
    model = hx.RockingCurveModel(reflection, axis_kind="offset", unit="arcsec")
    values = {"Dmax1": 0.008, "D01": 0.001, "L1": 5800.0, "Rp1": 3500.0, "D02": 0.0025, "L2": 3000.0, "Rp2": -50.0}
    start = model.make_params(**values, damage=0.4)
    x = np.linspace(-1400.0, 400.0, 701)
    counts = model.eval(start, x=x)
    seconds["curve"], wall["curve"] = time.process_time() - begin - numba_import, time.perf_counter() - clock
    for stage in stages[1:]:
        begin, clock = time.process_time(), time.perf_counter()
        if stage == "fit":
            curve = hx.make_curve(x, np.round(1e4 * counts / counts.max()) + 1.0, kind="offset", unit="arcsec")
            start["Dmax1"].value *= 1.02
            start["scale"].value *= 1e4 / counts.max()
            result = model.fit(curve, start)
        elif stage == "guess":
            model.guess(curve)
        elif stage == "sample":
            hx.sample(result, steps=60, progress=False)
        seconds[stage], wall[stage] = time.process_time() - begin, time.perf_counter() - clock
    functions = [[*key, *value] for key, value in own.items()]
    print(json.dumps({"seconds": seconds, "wall": wall, "own": functions, "passes": passes}))


def measure(source: Path, stages: list[str]) -> dict[str, Any]:
    """One run of the stages in a new process with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"PYTHONPATH": str(source), "NUMBA_CACHE_DIR": cache}
        done = subprocess.run(
            [sys.executable, __file__, "--child", "--stages", ",".join(stages)],
            env=environment, cwd=cache, capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Print seconds by stage, and by function."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", type=Path, help="src folder of another source tree")
    parser.add_argument("--stages", default="curve,fit,sample", help=f"first of {', '.join(STAGES)}, in this order")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--top", type=int, default=25, help="how many functions to list")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    stages = options.stages.split(",")
    if stages[0] != "curve" or not set(stages) <= set(STAGES):
        parser.error(f"--stages: expected curve first, then some of {', '.join(STAGES[1:])}")
    if options.child:
        child(stages)
        return
    import _bench

    trees = [HERE, *([options.other.resolve()] if options.other else [])]
    runs: dict[Path, list[dict[str, Any]]] = {tree: [] for tree in trees}
    for _ in range(options.repeat):
        for tree in trees:
            runs[tree].append(measure(tree, stages))
    print(_bench.machine("llvmlite"))
    rows = []
    for stage in [*stages, "all"]:
        row = [stage]
        for tree in trees:
            chosen = stages if stage == "all" else [stage]
            seconds, wall = ([sum(run[of][s] for s in chosen) for run in runs[tree]] for of in ("seconds", "wall"))
            compiling = [sum(entry[2] for entry in run["own"] if entry[0] in chosen) for run in runs[tree]]
            row += [f"{statistics.median(numbers):.2f}" for numbers in (seconds, compiling, wall)]
        if options.other:
            row.append(f"{float(row[1]) / float(row[4]):.2f}")
        rows.append(row)
    header = [
        "stage",
        *["seconds", "of which compiling", "by a clock"] * len(trees),
        *(["ratio"] if options.other else []),
    ]
    _bench.table("New process with an empty cache: this tree" + (", the other" if options.other else ""), header, rows)
    for tree in trees:
        run = min(runs[tree], key=lambda run: sum(run["seconds"].values()))
        listed = sorted(run["own"], key=lambda entry: -entry[2])[: options.top]
        rows = [[name, stage, f"{count:.0f}", f"{seconds:.2f}"] for stage, name, seconds, count in listed]
        rows.append([f"all {len(run['own'])}", "", "", f"{sum(entry[2] for entry in run['own']):.2f}"])
        _bench.table(f"Compiled by {tree}", ["function", "stage", "signatures", "own seconds"], rows)
        rows = [[name, f"{s:.2f}"] for name, s in sorted(run["passes"].items(), key=lambda item: -item[1])[:8]]
        _bench.table("By pass", ["pass", "seconds"], rows)


if __name__ == "__main__":
    main()
