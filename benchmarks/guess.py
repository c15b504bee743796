"""Which share of fits reaches the noise floor from which start.

    hrxrd-ml dataset make fit-test --out /tmp/fit-test
    python benchmarks/guess.py /tmp/fit-test --out /tmp/guess

All starts go into the same least-squares fit of the same curves in the same run; times are of one core.  The reduced
chi-square of the noise floor is 1; 1.15 counts as reached.  Differential evolution is run on the first few curves only.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from hrxrd_ml._threads import one_thread
from hrxrd_ml.errors import HrxrdError
from hrxrd_ml.files import write_text
from hrxrd_ml.ml.dataset import DatasetFolder, Measurement, measurements
from hrxrd_ml.model import RockingCurveModel

REACHED = 1.15


def model_of(curve: Measurement) -> RockingCurveModel:
    """Return the model that a user would choose for the curve."""
    return RockingCurveModel(curve.reflection, resolution="pseudo_voigt", axis_kind="offset", unit="rad")


def random_start(model: RockingCurveModel, curve: Measurement, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    """Return a profile from the prior, everything else from the classical start values."""
    from hrxrd_ml.guess import fill, start_values
    from hrxrd_ml.parameters import implanted_space

    task = task_of(model, curve)
    values = start_values(task.problem, task.marks)
    space = implanted_space()
    drawn = space.from_unit(rng.random((1, len(space))))
    return fill(model, task.params, values | {name: float(column[0]) for name, column in drawn.items()})


def task_of(model: RockingCurveModel, curve: Measurement):  # type: ignore[no-untyped-def]
    """Return the task of guessing."""
    from hrxrd_ml._observation import as_curve
    from hrxrd_ml.guess import Task

    return Task.of(model, as_curve(curve.intensity, model.frame, curve.dtheta))


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--curves", type=int, default=500)
    parser.add_argument("--classical", type=int, default=100, help="curves for the classical guess")
    parser.add_argument("--evolution", type=int, default=0, help="curves for differential evolution")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    limits = {"network": arguments.curves, "random": arguments.curves, "classical": arguments.classical}
    limits["differential evolution"] = arguments.evolution
    folder = DatasetFolder(arguments.dataset).complete()
    rows: list[dict[str, object]] = []
    curves = (curve for number in range(folder.settings.shards) for curve in measurements(folder.shard(number)))
    with one_thread():
        for i, curve in enumerate(curves):
            if i >= arguments.curves:
                break
            model = model_of(curve)
            x, counts = curve.dtheta, curve.intensity
            about = {"curve": i, "crystal": curve.reflection.crystal.name, "peak": float(counts.max())}
            about |= {"Dmax1": curve.values["Dmax1"], "L1": curve.values["L1"], "damage": curve.values["damage"]}
            for start, limit in limits.items():
                if i >= limit:
                    continue
                row: dict[str, object] = about | {"start": start}
                begin = time.perf_counter()
                try:
                    if start == "differential evolution":
                        params = random_start(model, curve, rng)
                        result = model.fit(
                            counts, params, x=x, method="differential_evolution",
                            fit_kws={"seed": 1, "popsize": 6, "maxiter": 150},
                        )  # fmt: skip
                        result = model.fit(counts, result.params, x=x)
                        row["guess"] = 0.0
                    else:
                        if start == "random":
                            params = random_start(model, curve, rng)
                        else:
                            params = model.guess(counts, x=x, provider=start)
                            row["score"] = params["Dmax1"].user_data["guess"].get("domain_score")
                            row["provider"] = params["Dmax1"].user_data["guess"]["provider"]
                        row["guess"] = time.perf_counter() - begin
                        result = model.fit(counts, params, x=x)
                    row |= {"redchi": float(result.redchi), "seconds": time.perf_counter() - begin}
                    row |= {
                        "nfev": int(result.nfev),
                        "found": {n: float(result.params[n].value) for n in ("Dmax1", "L1")},
                    }
                except HrxrdError as error:
                    row |= {"redchi": float("inf"), "seconds": time.perf_counter() - begin, "error": str(error)}
                rows.append(row)
            if i % 20 == 19:
                print(f"{i + 1} curves", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "guess.json", json.dumps(rows, indent=1) + "\n")
    write_text(arguments.out / "guess.md", table(rows))
    print(table(rows))


def table(rows: list[dict[str, object]]) -> str:
    """Return the result as a Markdown table."""
    lines = ["| start | curves | reached | 95 % below | guess, median | with fit, median | with fit, 95 % |"]
    lines.append("|---|---|---|---|---|---|---|")
    for start in dict.fromkeys(str(row["start"]) for row in rows):
        own = [row for row in rows if row["start"] == start]
        chi = np.array([float(row["redchi"]) for row in own])  # type: ignore[arg-type]
        seconds = np.array([float(row["seconds"]) for row in own])  # type: ignore[arg-type]
        guess = np.array([float(row.get("guess", 0.0)) for row in own])  # type: ignore[arg-type]
        lines.append(
            f"| {start} | {len(own)} | {100 * np.mean(chi < REACHED):.1f} % | {np.quantile(chi, 0.95):.2f} | "
            f"{np.median(guess):.3f} s | {np.median(seconds):.3f} s | {np.quantile(seconds, 0.95):.3f} s |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
