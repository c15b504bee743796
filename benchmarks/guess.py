"""Which share of fits comes down to the noise, from which start, and how long that takes.

    hrxrd-ml dataset make fit-test --out /tmp/fit-test
    python benchmarks/guess.py /tmp/fit-test --out /tmp/guess

All starts go into the same least-squares fit of the same curves in the same run; times are of one core.  "At the floor"
is a sum of squares within three standard deviations of what counting noise alone makes, for these expected counts: the
reduced chi-square of a perfect fit of 150 points scatters by 0.12 and has a mean of 1.15 at one or two counts a point.
"Truth" starts from the parameters that the curve was made from: no start can do better.  "As low" is at most 2 above
the sum of squares that is reached from there.  Differential evolution is run on the first few curves only.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from lmfit import Parameters
from tqdm import tqdm

from hrxrd_ml import HrxrdError, RockingCurveModel, RockingCurveResult
from hrxrd_ml.guess.starts import start_values
from hrxrd_ml.guess.task import Task, fill, guess_by
from hrxrd_ml.inference.threads import begin_worker, one_thread
from hrxrd_ml.io.files import write_text
from hrxrd_ml.model.observation import as_curve
from hrxrd_ml.specimen.profile.implanted import implanted_space
from hrxrd_ml.training.dataset import DatasetFolder
from hrxrd_ml.training.shard import Measurement, measurements

FLOOR, REACHED, AS_LOW = 3.0, 1.15, 2.0
Row = dict[str, Any]
Start = Callable[[RockingCurveModel, Measurement, np.random.Generator], Parameters]


def model_of(curve: Measurement) -> RockingCurveModel:
    """Return the model that a user would choose for the curve."""
    return RockingCurveModel(curve.reflection, resolution="pseudo_voigt", axis_kind="offset", unit="rad")


def task_of(model: RockingCurveModel, curve: Measurement) -> Task:
    """Return the task of guessing."""
    return Task.of(model, as_curve(curve.intensity, model.frame, curve.dtheta))


def from_truth(model: RockingCurveModel, curve: Measurement, rng: np.random.Generator) -> Parameters:
    """Return what the curve was made from."""
    params = model.make_params()
    own = model.space.defaults()
    return fill(model, params, own | {name: value for name, value in curve.values.items() if name in own})


def from_network(model: RockingCurveModel, curve: Measurement, rng: np.random.Generator) -> Parameters:
    """Return the guess of the bundled network."""
    return model.guess(curve.intensity, x=curve.dtheta, provider="network")


def from_landmarks(model: RockingCurveModel, curve: Measurement, rng: np.random.Generator) -> Parameters:
    """Return the classical guess."""
    return model.guess(curve.intensity, x=curve.dtheta, provider="classical")


def from_anywhere(model: RockingCurveModel, curve: Measurement, rng: np.random.Generator) -> Parameters:
    """Return a profile from the prior, everything else from what can be read off the curve."""
    task, space = task_of(model, curve), implanted_space()
    drawn = space.from_unit(rng.random((1, len(space))))
    profile = {name: float(column[0]) for name, column in drawn.items()}
    return fill(model, task.params, start_values(task.problem, task.marks) | profile)


def from_the_middle(model: RockingCurveModel, curve: Measurement, rng: np.random.Generator) -> Parameters:
    """Return the middle of the feasible set, everything else from what can be read off the curve."""
    task, space = task_of(model, curve), implanted_space()
    middle = {name: float(column[0]) for name, column in space.from_unit(np.full((1, len(space)), 0.5)).items()}
    return fill(model, task.params, start_values(task.problem, task.marks) | middle)


def by_evolution(model: RockingCurveModel, curve: Measurement, rng: np.random.Generator) -> Parameters:
    """Return where differential evolution ends, over all parameters within wide bounds."""
    params = from_anywhere(model, curve, rng)
    for par in params.values():
        if par.vary and not (np.isfinite(par.min) and np.isfinite(par.max)):
            size = max(abs(par.value), 1e-3)
            par.set(min=max(par.min, par.value - 10.0 * size), max=min(par.max, par.value + 10.0 * size))
    settings = {"seed": int(rng.integers(2**31)), "popsize": 5, "polish": False}
    found = model.fit(
        curve.intensity,
        params,
        x=curve.dtheta,
        method="differential_evolution",
        max_nfev=20_000,
        fit_kws=settings,
        calc_covar=False,
    )
    return fill(model, model.make_params(), found.params.valuesdict())


STARTS: dict[str, Start] = {
    "truth": from_truth,
    "network": from_network,
    "classical": from_landmarks,
    "random": from_anywhere,
    "middle": from_the_middle,
    "evolution": by_evolution,
}


def run(start: str, model: RockingCurveModel, curve: Measurement, rng: np.random.Generator) -> Row:
    """Fit one curve from one start."""
    row: Row = {"start": start}
    begin = time.perf_counter()
    try:
        params = STARTS[start](model, curve, rng)
        row["guess"] = time.perf_counter() - begin
        row["provider"] = guess_by(params)
        result = model.fit(curve.intensity, params, x=curve.dtheta)
    except HrxrdError as error:
        return row | {"seconds": time.perf_counter() - begin, "error": str(error)}
    row |= {"seconds": time.perf_counter() - begin, "nfev": int(result.nfev), "chisqr": float(result.chisqr)}
    row |= {"redchi": float(result.redchi), "excess": excess(result)}
    return row | {"found": {name: float(result.params[name].value) for name in implanted_space().names}}


def runs(number: int, curve: Measurement, starts: list[str]) -> list[Row]:
    """Fit one curve from several starts."""
    model, rng = model_of(curve), np.random.default_rng([1, number])
    about = {"curve": number, "crystal": curve.reflection.crystal.name, "hkl": list(curve.reflection.hkl)}
    about |= {"peak": float(curve.intensity.max()), "points": len(curve.dtheta), "truth": curve.values}
    with one_thread():
        return [about | run(start, model, curve, rng) for start in starts]


def excess(result: RockingCurveResult) -> float:
    """Return by how many standard deviations the sum of squares exceeds that of noise alone."""
    mean, deviation = result.observation.likelihood.expectation(result.best_fit)
    return float((result.chisqr - mean + result.nvarys) / deviation)


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--curves", type=int, default=500)
    parser.add_argument("--classical", type=int, default=100, help="curves for the classical guess")
    parser.add_argument("--random", type=int, default=100, help="curves for random starts and the middle of the ranges")
    parser.add_argument("--evolution", type=int, default=0, help="curves for differential evolution")
    parser.add_argument("--workers", type=int, default=1, help="processes, one core each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    limits = {"truth": arguments.curves, "network": arguments.curves, "classical": arguments.classical}
    limits |= {"random": arguments.random, "middle": arguments.random, "evolution": arguments.evolution}
    folder = DatasetFolder(arguments.dataset).complete()
    curves = (curve for number in range(folder.settings.shards) for curve in measurements(folder.shard(number)))
    tasks = [
        (i, curve, [start for start, limit in limits.items() if i < limit])
        for i, curve in enumerate(islice(curves, arguments.curves))
    ]
    with ProcessPoolExecutor(arguments.workers, initializer=begin_worker) as pool:
        done = tqdm(pool.map(runs, *zip(*tasks, strict=True)), total=len(tasks), unit="curve")
        rows = [row for found in done for row in found]
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "guess.json", json.dumps(rows, indent=1) + "\n")
    write_text(arguments.out / "guess.md", table(rows) + "\n" + failures(rows))
    print(table(rows))


def table(rows: list[Row]) -> str:
    """Return the result as a Markdown table."""
    lowest = {row["curve"]: row["chisqr"] for row in rows if row["start"] == "truth" and "chisqr" in row}
    lines = [
        "| start | curves | at the floor | as low as from the truth | chi2 below 1.15 | guess | fit | 95 % | longest |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for start in dict.fromkeys(row["start"] for row in rows):
        own = [row for row in rows if row["start"] == start]
        floor = [row.get("excess", np.inf) < FLOOR for row in own]
        low = [row.get("chisqr", np.inf) < lowest.get(row["curve"], -np.inf) + AS_LOW for row in own]
        chi = [row.get("redchi", np.inf) < REACHED for row in own]
        seconds = np.array([row["seconds"] for row in own])
        guess = np.array([row.get("guess", row["seconds"]) for row in own])
        shares = " | ".join(f"{100 * np.mean(share):.1f} %" for share in (floor, low, chi))
        lines.append(
            f"| {start} | {len(own)} | {shares} | {np.median(guess):.3f} s | {np.median(seconds - guess):.3f} s | "
            f"{np.quantile(seconds, 0.95):.2f} s | {seconds.max():.1f} s |"
        )
    return "\n".join(lines) + "\n"


def failures(rows: list[Row]) -> str:
    """Return the curves on which the network's guess did not lead to the floor."""
    lines = ["| curve | crystal | peak | excess | from the truth | Dmax1 | found | L1 | found |", "|" + "---|" * 9]
    best = {row["curve"]: row.get("excess", np.inf) for row in rows if row["start"] == "truth"}
    for row in rows:
        if row["start"] == "network" and not row.get("excess", np.inf) < FLOOR:
            found, true = row.get("found", {}), row["truth"]
            lines.append(
                f"| {row['curve']} | {row['crystal']} | {row['peak']:.0f} | {row.get('excess', np.inf):.1f} | "
                f"{best.get(row['curve'], np.nan):.1f} | {true['Dmax1']:.4f} | {found.get('Dmax1', np.nan):.4f} | "
                f"{true['L1']:.0f} | {found.get('L1', np.nan):.0f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
