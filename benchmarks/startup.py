"""What a new process spends on importing the package and building a model, beside lmfit alone.

Run by hand: ``python benchmarks/startup.py [OTHER] [--runs N]``. ``OTHER`` is the src folder of another source tree.
Each run is a new process; the trees take turns, and medians are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import _one_core  # noqa: F401

HERE = Path(__file__).resolve().parents[1] / "src"
STEPS = {
    "lmfit alone": "import lmfit",
    "import": "import hrxrd_ml as hx; hx.RockingCurveModel",
    "reflection": "reflection = hx.Reflection('GGG', (4, 4, 4), 'CuKa1')",
    "model": "params = (model := hx.RockingCurveModel(reflection)).make_params()",
    "first curve": "import numpy as np; model.eval(params, x=np.linspace(25.2, 25.6, 701))",
}
BUILT = ("import", "reflection", "model")
"""Steps to a model that are this package's own; lmfit has been imported before them."""


def run(source: Path) -> dict[str, float]:
    """Milliseconds of each step in a new process."""
    timed = [f"{code}\ntimes[{name!r}] = perf_counter() - sum(times.values()) - begin" for name, code in STEPS.items()]
    code = "\n".join(["import json; from time import perf_counter; times = {}; begin = perf_counter()", *timed])
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(json.dumps(times))"],
        env=os.environ | {"PYTHONPATH": str(source)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    times: dict[str, float] = json.loads(done.stdout)
    return {name: 1e3 * seconds for name, seconds in times.items()}


def main() -> None:
    """Print medians by step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", type=Path, help="src folder of another source tree")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    import _bench

    trees = [HERE, *([options.other.resolve()] if options.other else [])]
    runs: dict[Path, list[dict[str, float]]] = {tree: [] for tree in trees}
    for tree in trees:
        run(tree)  # compiles kernels and bytecode
    for _ in range(options.runs):
        for tree in trees:
            times = run(tree)
            own = sum(times[name] for name in BUILT)
            whole = times["lmfit alone"] + own
            summed = {
                "own: import to model": own,
                "lmfit to model": whole,
                "over lmfit alone": whole / times["lmfit alone"],
            }
            runs[tree].append(times | summed)
    print(_bench.machine("xarray", "xraydb"))
    rows = []
    for name in runs[HERE][0]:
        medians = [statistics.median(times[name] for times in runs[tree]) for tree in trees]
        row = [name, *(f"{value:.2f}" if name == "over lmfit alone" else f"{value:.0f}" for value in medians)]
        rows.append([*row, *([f"{medians[0] / medians[1]:.2f}"] if options.other else [])])
    header = ["step (ms)", "this tree", *(["the other", "ratio"] if options.other else [])]
    _bench.table(f"A new process, medians of {options.runs} runs", header, rows)


if __name__ == "__main__":
    main()
