"""Whether `hx.sample` ends converged: simulated curves of five crystals, each fitted from its own guess.

    python benchmarks/sampling.py --curves 15

Truth: seven parameters of the profile, damage, diffuse line and instrument, uniform in ranges and inside the nested
constraints; 401 points, counting noise.  One call, as it comes, on one core (`--steps` for another limit).  A chain has
converged where R-hat is at most 1.01 and the effective samples are at least 400, for every parameter (rank-normalised;
where walkers have stayed at several maxima, among those at the same one).  Seconds are those of a processor
(`time.process_time`).
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import hrxrd_ml as hx
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.inference.threads import one_thread
from hrxrd_ml.io.files import write_text
from hrxrd_ml.results.derived import profile_summary
from hrxrd_ml.units import ARCSEC

REFLECTIONS = {"GGG": (4, 4, 4), "Si": (0, 0, 4), "YIG": (8, 8, 8), "GaAs": (0, 0, 4), "UO2": (0, 0, 2)}
RANGES = {
    "Dmax1": (0.003, 0.010), "D01": (0.0005, 0.008), "L1": (2000.0, 6000.0), "Rp1": (500.0, 5000.0),
    "D02": (0.001, 0.006), "L2": (500.0, 5000.0), "damage": (0.05, 0.8), "correlation_length": (40.0, 300.0),
    "scale": (0.5e5, 5e5), "fwhm": (10.0, 25.0), "background": (1.0, 10.0),
}  # fmt: skip
POINTS = 401
SHOWN = ("seconds", "steps", "acceptance", "rhat", "effective_samples", "maxima", "converged")


def fitted(number: int) -> tuple[str, hx.RockingCurveResult]:
    """Make a curve and fit it."""
    rng = np.random.default_rng([31, number])
    crystal = list(REFLECTIONS)[number % len(REFLECTIONS)]
    model = hx.RockingCurveModel(hx.Reflection(crystal, REFLECTIONS[crystal]), axis_kind="offset", unit="arcsec")
    while True:
        drawn = {name: float(rng.uniform(*limits)) for name, limits in RANGES.items()}
        if not model.space.violations(model.space.defaults() | drawn):
            break
    params = model.make_params(**drawn)
    values = {name: float(par.value) for name, par in params.items()}
    shift = profile_summary(model.simulation, values)["max_strain"] / StrainAxis.of(model.reflection).per_radian
    beside = 150.0 + 10.0 * model.reflection.darwin_width() / ARCSEC
    x = np.linspace(-1.15 * shift / ARCSEC - beside, beside, POINTS)
    counts = rng.poisson(model.eval(params, x=x)).astype(float)
    with one_thread():
        return crystal, model.fit(counts, model.guess(counts, x=x), x=x)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=int, default=15)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, help="instead of the default")
    parser.add_argument("--out", type=Path, help="folder for sampling.json")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    for number in range(args.first, args.curves):
        crystal, result = fitted(number)
        begin, limit = time.process_time(), {} if args.steps is None else {"steps": args.steps}
        post = hx.sample(result, seed=number, workers=1, progress=False, **limit)
        row = {"number": number, "crystal": crystal, "redchi": float(result.redchi), "notes": post.attrs["notes"]}
        row |= {"seconds": time.process_time() - begin} | {name: post.attrs[name] for name in SHOWN[1:]}
        rows.append(row)
        print(f"{number:3d} {crystal:5s}" + "".join(f" {name} {row[name]:.5g}" for name in SHOWN), flush=True)
        if row["notes"]:
            print("    " + row["notes"].replace("\n", "\n    "), flush=True)
    good = sum(row["converged"] for row in rows)
    print(f"{good} of {len(rows)} converged, {np.median([row['seconds'] for row in rows]):.0f} s in the median")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        write_text(args.out / "sampling.json", json.dumps(rows))


if __name__ == "__main__":
    main()
