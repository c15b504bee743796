"""Whether error bars hold where the model is wrong: truths that no seven parameters describe, fitted with seven.

    python benchmarks/wrong_model.py --curves 300 --out /tmp/wrong

Truth: three Gaussians in depth, each skewed as implantation profiles are (a slow rise, a steep end), a weak strain that
decays into the substrate, damage that follows a power of the strain, and a resolution with two unequal tails.  Fit: the
model as it comes, from its own guess.  What is asked is what users quote of a profile, from the dataset of the fit.
"Needed" is the factor on the stated errors with which 95 % of the intervals would hold; the median width is compared
with what that makes of it.  Times are those of one core (`time.thread_time`).
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import hrxrd_ml as hx
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.inference.threads import begin_worker, one_thread
from hrxrd_ml.io.files import write_text
from hrxrd_ml.results.derived import profile_quantities, profile_summary
from hrxrd_ml.specimen.damage import FunctionDamage
from hrxrd_ml.specimen.profile.function import FunctionProfile
from hrxrd_ml.units import ARCSEC

LEVELS = {"68 %": 1.0, "95 %": 1.959964}
REFLECTIONS = {"GGG": (4, 4, 4), "Si": (0, 0, 4), "YIG": (8, 8, 8), "GaAs": (0, 0, 4), "UO2": (0, 0, 2)}
SHOWN = ("max_strain", "max_strain_depth", "surface_strain", "damaged_thickness", "integrated_strain")
POINTS = 501

Row = dict[str, Any]


def spec(name: str, value: float) -> Any:
    """Return a parameter of the truth."""
    return hx.ParameterSpec(name, "", value, -np.inf, np.inf, True, name)


def truth(crystal: str, rng: np.random.Generator) -> tuple[hx.RockingCurveModel, dict[str, float]]:
    """Draw a sample and its measurement: the model that makes the curve, and its parameters."""
    largest, reach = float(np.exp(rng.uniform(np.log(2e-3), np.log(1.2e-2)))), rng.uniform(1500.0, 6000.0)
    centres, widths = np.sort(rng.uniform(0.0, 0.75, 3)), rng.uniform(0.12, 0.35, 3)
    heights, skew, skin = rng.uniform(0.2, 1.0, 3), rng.uniform(0.0, 0.6), rng.uniform(0.0, 0.03)

    def shape(z: Any) -> Any:
        t = z / reach
        return sum(
            h * np.exp(-0.5 * ((t - c) / (w * (1.0 - skew * np.tanh((t - c) / w)))) ** 2)
            for h, c, w in zip(heights, centres, widths, strict=True)
        ) + skin * np.exp(-0.8 * t)

    top = float(shape(np.linspace(0.0, 2.0 * reach, 2001)).max())
    power, level = rng.uniform(0.7, 1.8), float(np.exp(rng.uniform(np.log(0.03), np.log(0.5))))
    profile = FunctionProfile(
        lambda z, top, depth: top * shape(z), (spec("top", largest / top), spec("depth", 2.2 * reach))
    )
    damage = FunctionDamage(lambda z, worst: worst * (shape(z) / top) ** power, (spec("worst", level),))
    model = hx.RockingCurveModel(
        hx.Reflection(crystal, REFLECTIONS[crystal]), profile=profile, damage=damage, resolution="split_pseudo_voigt",
        axis_kind="offset", unit="arcsec",
    )  # fmt: skip
    values = {"scale": float(np.exp(rng.uniform(np.log(3e4), np.log(1e6)))), "background": rng.uniform(1.0, 10.0)}
    values |= {"fwhm": rng.uniform(8.0, 25.0), "eta": rng.uniform(0.1, 0.5), "asymmetry": rng.uniform(-0.3, 0.3)}
    values |= {"tail": rng.uniform(0.8, 1.5), "correlation_length": rng.uniform(40.0, 300.0)}
    return model, {name: float(value) for name, value in values.items()}


def study(number: int) -> Row:
    """Make a curve, fit it and compare."""
    rng = np.random.default_rng([29, number])
    crystal = list(REFLECTIONS)[number % len(REFLECTIONS)]
    real, own = truth(crystal, rng)
    params = real.make_params(**own)
    right = profile_summary(real.simulation, {name: float(par.value) for name, par in params.items()})
    shift = right["max_strain"] / StrainAxis.of(real.reflection).per_radian / ARCSEC
    beside = 150.0 + 10.0 * real.reflection.darwin_width() / ARCSEC
    x = np.linspace(-1.15 * shift - beside, beside, POINTS)
    counts = rng.poisson(real.eval(params, x=x)).astype(float)
    model = hx.RockingCurveModel(real.reflection, axis_kind="offset", unit="arcsec")
    with one_thread():
        begin = time.thread_time()
        result = model.fit(counts, model.guess(counts, x=x), x=x)
        row: Row = {"number": number, "crystal": crystal, "redchi": float(result.redchi)}
        row["fit"], begin = time.thread_time() - begin, time.thread_time()
        row["found"] = profile_quantities(model, result)
        row["errors"] = time.thread_time() - begin
        plain = model.fit(counts, result.params, x=x, errors="noise")
        row["noise"] = profile_quantities(model, plain)
    return row | {"truth": right}


def table(rows: list[Row], found: str) -> str:
    """Return how many intervals hold, and whether they are wider than they need be."""
    lines = [f"{'':20s}" + "".join(f"{level:>8s}" for level in LEVELS) + "  needed   error   stated   beyond 5"]
    for name in SHOWN:
        off = np.array([row[found][name][0] - row["truth"][name] for row in rows])
        stated = np.array([max(row[found][name][1], 1e-300) for row in rows])
        size = np.array([abs(row["truth"][name]) for row in rows])
        far = np.abs(off) / stated
        held = "".join(f"{100.0 * np.mean(far < k):8.1f}" for k in LEVELS.values())
        needed = float(np.quantile(far, 0.95)) / LEVELS["95 %"]
        relative = f"{np.median(np.abs(off) / size):8.3f} {np.median(stated / size):8.3f}"
        lines.append(f"{name:20s}{held} {needed:7.2f} {relative} {100.0 * np.mean(far > 5.0):8.1f} %")
    return "\n".join(lines)


def main() -> None:
    """Run, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for wrong_model.json")
    args = parser.parse_args()
    with ProcessPoolExecutor(args.workers, initializer=begin_worker) as pool:
        rows = list(tqdm(pool.map(study, range(args.curves)), total=args.curves, unit="curve"))
    chi2 = np.quantile([row["redchi"] for row in rows], [0.1, 0.5, 0.9])
    print(f"{len(rows)} curves, reduced chi-square {chi2[0]:.2f}, {chi2[1]:.2f}, {chi2[2]:.2f} (10, 50, 90 %)")
    parts = [row["errors"] / row["fit"] for row in rows]
    print(f"guess and fit {np.median([row['fit'] for row in rows]):.2f} s, the errors {np.median(parts):.3f} of that")
    print("\nerrors as they come\n" + table(rows, "found"))
    print("\nerrors by the noise alone\n" + table(rows, "noise"))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        write_text(args.out / "wrong_model.json", json.dumps(rows))


if __name__ == "__main__":
    main()
