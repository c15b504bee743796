"""What a fit costs beside time: memory, compilation, imports; each measured in processes of its own."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import _bench

_PREPARE = """
import json, re, resource, sys, time
sys.path.insert(0, {here!r})
begin = time.perf_counter()
import hrxrd_ml
imported = time.perf_counter() - begin
import _bench
import numpy as np
from hrxrd_ml import RockingCurveModel
import hrxrd_ml.diffraction.coherent, hrxrd_ml.simulate, hrxrd_ml.guess.classical

def peak():
    # On Linux ru_maxrss of a new process begins with the memory of the one that started it.
    try:
        with open("/proc/self/status") as file:
            return int(re.search(r"VmHWM:\\s*(\\d+)", file.read()).group(1)) / 1024.0
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024.0**2 if sys.platform == "darwin" else 1024.0)

model = RockingCurveModel(_bench.ggg())
x = model.frame.angles(_bench.ANGLES)
params = model.make_params(**_bench.SEVEN, scale=2e5, offset=4.0, background=3.0)
ready, before = time.perf_counter() - begin, peak()
"""

_FIT = """
begin = time.perf_counter()
expected = model.eval(params, x=x)
value = time.perf_counter() - begin
counts = np.random.default_rng(1).poisson(expected).astype(float)
begin = time.perf_counter()
result = model.fit(counts, params, x=x)
fit = time.perf_counter() - begin
after = peak()
begin = time.perf_counter()
{guess}
guess = time.perf_counter() - begin
found = dict(imported=imported, ready=ready, before=before, after=after, guessed=peak())
print(json.dumps(found | dict(value=value, fit=fit, guess=guess)))
"""


def _child(cache: str, guess: bool = False) -> dict[str, float]:
    """Run one fit in a process of its own; times in s, peak memory in MB."""
    here = str(Path(__file__).resolve().parent)
    code = _PREPARE.format(here=here) + _FIT.format(guess="model.guess(counts, x=x)" if guess else "pass")
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def memory() -> None:
    """Peak memory of a fit and of a guess, above that of the imports."""
    with tempfile.TemporaryDirectory() as cache:
        _child(cache, guess=True)  # compiles, which takes memory of its own
        runs = [_child(cache, guess=True) for _ in range(3)]
    before, after, guessed = (statistics.median(run[key] for run in runs) for key in ("before", "after", "guessed"))
    _bench.table(
        "Peak memory of a process that fits 701 points, 17 free parameters",
        ["what", "MB", "above the imports (MB)", "goal"],
        [
            ["after the imports", f"{before:.0f}", "", ""],
            ["after the fit", f"{after:.0f}", f"{after - before:.0f}", _bench.goal(after - before, 300.0)],
            ["after the classical guess as well", f"{guessed:.0f}", f"{guessed - before:.0f}", ""],
        ],
    )


def start() -> None:
    """Import, and first calls with and without a cache of compiled kernels."""
    imports = []
    for _ in range(9):
        code = "import time; t = time.perf_counter(); import hrxrd_ml; print(time.perf_counter() - t)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        imports.append(float(done.stdout))
    with tempfile.TemporaryDirectory() as cache:
        cold = _child(cache)
        warm = [_child(cache) for _ in range(5)]
    rows = [["import hrxrd_ml", "", f"{statistics.median(imports):.3f}"]]
    for key, name in (
        ("ready", "import and build a model"),
        ("value", "first curve"),
        ("fit", "first fit (the exact Jacobian compiles here)"),
    ):
        rows.append([name, f"{cold[key]:.2f}", f"{statistics.median(run[key] for run in warm):.3f}"])
    _bench.table("What a new process waits for", ["what", "nothing cached (s)", "kernels cached (s)"], rows)
