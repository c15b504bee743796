"""Whether the intervals of an unattended fit hold, from the guess on, over several crystals.

    python benchmarks/unattended.py --curves 500 --out /tmp/unattended

Samples as in benchmarks/joint.py, each measured in one reflection; the guess and `stepwise`, which frees refinements by
the Bayesian information criterion, find what `hrxrd-ml fit` finds.  A parameter counts as well identified in a curve
where its stated error is below a tenth of the width of its bounds and no bound is within two of them.  "Beyond 5" are
values farther than five stated errors from the truth, and of these those of curves without a note that names the
parameter or says that the curve is not described.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from joint import REFLECTIONS, angles, drawn, models
from tqdm import tqdm

import hrxrd_ml as hx
from hrxrd_ml.guess.strategy import stepwise
from hrxrd_ml.inference.threads import begin_worker, one_thread
from hrxrd_ml.io.files import write_text
from hrxrd_ml.specimen.profile.implanted import implanted_space

CRYSTALS = ("GGG", "Si", "YIG", "GaAs", "UO2")
SHOWN = (
    *implanted_space().names, "damage", "correlation_length", "substrate_damage", "substrate_correlation_length",
    "scale", "background", "offset", "fwhm",
)  # fmt: skip
LEVELS = {"68 %": 1.0, "95 %": 1.959964}

Row = dict[str, Any]


def study(number: int) -> Row:
    """Make a curve and fit it as the command line does."""
    rng = np.random.default_rng([24, number])
    crystal = CRYSTALS[number % len(CRYSTALS)]
    assert crystal in REFLECTIONS
    members = models(crystal)
    joint = hx.JointModel(members)
    values = drawn(joint, rng)
    model = members[0]
    truth = joint.of_member(joint.members[0], joint.make_params(**values))
    x = angles(model, values)
    counts = rng.poisson(model.eval(truth, x=x)).astype(float)
    with one_thread():
        begin = time.thread_time()
        curve = hx.make_curve(x, counts, kind="offset", unit="arcsec", data_kind="counts")
        result = stepwise(model, curve, model.guess(curve))
        seconds = time.thread_time() - begin
    mean, deviation = result.observation.likelihood.expectation(result.best_fit)
    row: Row = {"number": number, "crystal": crystal, "seconds": seconds}
    row["excess"] = (float(result.chisqr) - mean + result.nvarys) / deviation
    row["verdict"], found = bool(result.verdict or result.redchi > 5.0), {}
    for name in SHOWN:
        par = result.params[model.prefix + name]
        if not par.vary:
            continue
        named = any(par.name in note for note in result.bound_notes)
        found[name] = [
            float(par.value),
            float(par.stderr or 0.0),
            par.min,
            par.max,
            named,
            float(truth[par.name].value),
        ]
    return row | {"found": found}


def table(rows: list[Row]) -> str:
    """Return how many intervals hold, of all parameters and of those that are well identified."""
    lines = [f"{'':30s}{'identified':>12s}" + "".join(f"{level:>8s}" for level in LEVELS) + "  beyond 5, unsaid"]
    total, far_all, unsaid = 0, 0, 0
    for name in SHOWN:
        own = [row["found"][name] + [row["verdict"]] for row in rows if name in row["found"]]
        data = np.array(own, dtype=float)
        value, error, low, high, named, truth, verdict = data.T
        error = np.maximum(error, 1e-300)
        off = np.abs(value - truth) / error
        well = (error < 0.1 * (high - low)) & (value - low > 2.0 * error) & (high - value > 2.0 * error)
        held = "".join(f"{100.0 * np.mean(off[well] < k):8.1f}" for k in LEVELS.values())
        far = off > 5.0
        silent = far & (named == 0.0) & (verdict == 0.0)
        total, far_all, unsaid = total + len(off), far_all + int(far.sum()), unsaid + int(silent.sum())
        shares = f"{100.0 * far.mean():8.2f} % {100.0 * silent.mean():6.2f} %"
        lines.append(f"{name:30s}{int(well.sum()):6d} of {len(off):3d}{held} {shares}")
    shares = f"{100.0 * far_all / total:.2f} % beyond 5 errors, {100.0 * unsaid / total:.2f} % without a word"
    lines.append(f"of {total} values {shares}")
    return "\n".join(lines)


def main() -> None:
    """Run, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for unattended.json")
    args = parser.parse_args()
    with ProcessPoolExecutor(args.workers, initializer=begin_worker) as pool:
        rows = list(tqdm(pool.map(study, range(args.curves)), total=args.curves, unit="curve"))
    floor = np.mean([row["excess"] <= 3.0 for row in rows])
    seconds = np.median([row["seconds"] for row in rows])
    print(f"{len(rows)} curves, {100.0 * floor:.1f} % at the noise floor, median {seconds:.2f} s")
    print(table(rows))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        write_text(args.out / "unattended.json", json.dumps(rows))


if __name__ == "__main__":
    main()
