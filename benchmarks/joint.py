"""What a second and a third reflection of a sample tell that one does not, and what fitting them together costs.

    python benchmarks/joint.py --samples 20 --out /tmp/joint

Samples are simulated: strain profiles from the prior that the network learned from, below 2 % and as far as scans of
501 points show all fringes, with damage, defects and optics drawn beside them, crystals and their reflections in turn.
Every curve is fitted by itself, and the first two and all three together, each from its own guess, with errors that
know of places beside the minimum (`explore_errors`).  "At the floor" is a sum of squares at most three standard
deviations above what counting noise alone makes of these expected counts.  Times are those of one core
(`time.thread_time`), guess and fit.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import _bench
import numpy as np
from tqdm import tqdm

import hrxrd_ml as hx
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.inference.threads import begin_worker, one_thread
from hrxrd_ml.io.files import write_text
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile, implanted_space
from hrxrd_ml.units import ARCSEC

FLOOR = 3.0
POINTS = 501
LARGEST = 0.02
"""Largest strain of a sample."""

INSIDE = {"68 %": 1.0, "95 %": 1.959964}

REFLECTIONS = {
    "GGG": ((1, 1, 1), (4, 4, 4), (8, 8, 8), (8, 8, 0)),
    "Si": ((0, 0, 1), (0, 0, 4), (3, 3, 5), (2, 2, 4)),
    "YIG": ((1, 1, 1), (4, 4, 4), (8, 8, 8), (8, 8, 0)),
    "GaAs": ((0, 0, 1), (0, 0, 4), (3, 3, 5), (1, 1, 5)),
    "UO2": ((0, 0, 1), (0, 0, 2), (0, 0, 6), (0, 0, 4)),
    "InP": ((0, 0, 1), (0, 0, 4), (3, 3, 5), (1, 1, 5)),
}
"""Of each crystal the surface, and the reflections in the order in which they are measured."""

SAMPLE = (*implanted_space().names, "damage", "correlation_length", "substrate_damage", "substrate_correlation_length")
"""What belongs to the sample; damage as the first reflection sees it."""

SHOWN = ("L1", "damage", "correlation_length", "substrate_damage")
"""Parameters whose errors are shown crystal by crystal."""

Row = dict[str, Any]


def models(crystal: str, **options: Any) -> list[hx.RockingCurveModel]:
    """Return the models of the curves of a sample."""
    surface, *reflections = REFLECTIONS[crystal]
    seen = [hx.Reflection(crystal, hkl, "CuKa1", surface=surface) for hkl in reflections]
    common: Any = {"axis_kind": "offset", "unit": "arcsec", **options}
    return [hx.RockingCurveModel(reflection, prefix=f"r{k}_", **common) for k, reflection in enumerate(seen)]


def drawn(joint: hx.JointModel, rng: np.random.Generator) -> dict[str, float]:
    """Draw a sample and what is particular to its measurements."""

    def within(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(math.log(low), math.log(high))))

    space = implanted_space()
    finest = min(model.reflection.d_spacing for model in joint.rocking_curves)
    while True:
        values = {name: float(v[0]) for name, v in space.from_unit(rng.random((1, len(space)))).items()}
        strain, _ = ImplantedProfile().maximum(values)
        # Nobody measures a layer in steps that its fringes go through.
        if strain < LARGEST and strain * values["L1"] / finest < POINTS / 8:
            break
    vectors = [model.reflection.diffraction_vector for model in joint.rocking_curves]
    # A curve by itself has damage up to 5.
    values |= {
        "r0_damage": within(0.03, min(0.6, 4.0 * (vectors[0] / max(vectors)) ** 2)),
        "r0_substrate_damage": within(0.003, 0.03),
    }
    values |= {"correlation_length": within(40.0, 500.0), "substrate_correlation_length": within(1e3, 1e4)}
    for k in range(len(joint.members)):
        own = {"scale": within(3e4, 1e6), "background": within(1.0, 20.0), "offset": rng.uniform(-30.0, 30.0)}
        own["fwhm"] = within(8.0, 25.0)
        values |= {f"r{k}_{name}": float(value) for name, value in own.items()}
    return values


def angles(model: hx.RockingCurveModel, values: dict[str, float], points: int = POINTS) -> np.ndarray:
    """Return a scan that shows all of the strained layer [arcsec]."""
    strain, _ = ImplantedProfile().maximum({name: values[name] for name in implanted_space().names})
    shift = strain / StrainAxis.of(model.reflection).per_radian / ARCSEC
    beside = 150.0 + 10.0 * model.reflection.darwin_width() / ARCSEC
    return np.linspace(-1.15 * shift - beside, beside, points)


def excess(result: hx.RockingCurveResult) -> float:
    """Return by how many standard deviations the sum of squares exceeds that of noise alone."""
    over = variance = 0.0
    for part in result.parts:
        mean, deviation = part.observation.likelihood.expectation(part.best_fit)
        over, variance = over + float(part.chisqr) - mean, variance + deviation**2
    return (over + result.nvarys) / math.sqrt(variance)


def fitted(model: Any, counts: Any, x: Any, truth: Any) -> Row:
    """Guess and fit; where noise is not reached, also from the truth."""
    begin = time.thread_time()
    guess = model.guess(counts, x=x)
    guessed = time.thread_time()
    result = model.fit(counts, guess, x=x)
    result.explore_errors()
    row: Row = {"guess": guessed - begin, "fit": time.thread_time() - guessed, "excess": excess(result)}
    row |= {"chisqr": float(result.chisqr), "nfev": int(result.nfev)}
    if row["excess"] > FLOOR:
        row["lowest"] = float(model.fit(counts, truth, x=x).chisqr)
    row["found"] = {
        name: [float(par.value), float(par.stderr or 0.0)]
        for name, par in result.params.items()
        if name.removeprefix(first(result)) in SAMPLE
    }
    return row


def first(result: hx.RockingCurveResult) -> str:
    """Return the prefix of the first curve of a fit."""
    return str(result.model.rocking_curves[0].prefix)


def study(number: int) -> list[Row]:
    """Fit one sample in all ways."""
    rng = np.random.default_rng([23, number])
    crystal = list(REFLECTIONS)[number % len(REFLECTIONS)]
    singles = models(crystal)
    joints = {count: hx.JointModel(models(crystal)[:count]) for count in (2, 3)}
    values = drawn(joints[3], rng)
    truth = joints[3].make_params(**values)
    x = [angles(model, values) for model in singles]
    expected = joints[3].eval(truth, x=x)
    counts = [c.astype(float) for c in np.split(rng.poisson(expected), np.cumsum([len(a) for a in x])[:-1])]
    about = {"sample": number, "crystal": crystal}
    rows = []
    with one_thread():
        for k, model in enumerate(singles):
            own = joints[3].of_member(joints[3].members[k], truth)
            start = model.make_params(**{name: float(par.value) for name, par in own.items()})
            rows.append(about | {"what": f"curve {k + 1}"} | fitted(model, counts[k], x[k], start))
        for count, joint in joints.items():
            start = joint.make_params(**{n: float(truth[n].value) for n in joint.param_names if truth[n].expr is None})
            rows.append(about | {"what": f"{count} together"} | fitted(joint, counts[:count], x[:count], start))
    for row in rows:
        row["truth"] = {name: float(truth[name].value) for name in truth}
    return rows


def errors(rows: list[Row], what: str) -> dict[str, np.ndarray]:
    """Return found - true and standard error of each parameter of the sample, shape (samples, 2)."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SAMPLE}
    for row in rows:
        if row["what"] != what:
            continue
        for name, (value, stderr) in row["found"].items():
            bare = name.removeprefix(f"r{int(what[-1]) - 1}_" if what.startswith("curve") else "r0_")
            # A curve by itself names what it shares with a prefix, too.
            known = name if name in row["truth"] else bare
            found[bare].append((value - row["truth"][known], stderr))
    return {name: np.array(pairs) for name, pairs in found.items()}


def report(rows: list[Row]) -> None:
    """Print the tables."""
    whats = list(dict.fromkeys(row["what"] for row in rows))
    count = len({row["sample"] for row in rows})
    each = {what: errors(rows, what) for what in whats}
    ways = ["curve 1", "2 together", "3 together"]
    lines = []
    for name in SAMPLE:
        off = [float(np.median(np.abs(each[way][name][:, 0]))) for way in ways]
        ratios = [f"{off[k] / off[0]:.2f}" for k in (1, 2)]
        ratios += [f"{np.median(_smaller(each[way][name], each[ways[0]][name])):.2f}" for way in ways[1:]]
        wanted = _bench.goal(off[1] / off[0], 0.333) if name in ("damage", "correlation_length") else ""
        lines.append([name, *(f"{value:.3g}" for value in off), *ratios, wanted])
    _bench.table(
        f"Median error |found - true| of {count} samples, and those of 2 and 3 reflections over those of the first",
        [
            "parameter",
            "one",
            "two",
            "three",
            "two/one",
            "three/one",
            "stderr two/one",
            "stderr three/one",
            "goal (two)",
        ],
        lines,
    )
    crystals = [row["crystal"] for row in rows if row["what"] == ways[0]]
    lines = []
    for crystal in dict.fromkeys(crystals):
        mine = np.array(crystals) == crystal
        shown = [str(mine.sum())]
        for name in SHOWN:
            for way in ways[1:]:
                shown.append(f"{np.median(_smaller(each[way][name], each[ways[0]][name])[mine]):.2f}")
        seen = ", ".join("".join(map(str, hkl)) for hkl in REFLECTIONS[crystal][1:])
        lines.append([f"{crystal} {seen}", *shown])
    header = [f"{name}, {count}" for name in SHOWN for count in (2, 3)]
    _bench.table("Standard errors over those of the first reflection, medians", ["curves", "samples", *header], lines)
    lines = []
    for what in whats:
        own = [row for row in rows if row["what"] == what]
        pulls = np.concatenate([np.abs(pairs[:, 0]) / np.maximum(pairs[:, 1], 1e-300) for pairs in each[what].values()])
        floor = np.array([row["excess"] < FLOOR for row in own])
        low = np.array([row["chisqr"] < row.get("lowest", math.inf) + 2.0 for row in own])
        together = int(what[0]) if what[0].isdigit() else 0
        cost = [row["guess"] + row["fit"] for row in own]
        ratio = [c / _alone(rows, row["sample"], together) for c, row in zip(cost, own, strict=True) if together]
        ratios = [f"{np.median(ratio):.2f}", f"{np.max(ratio):.2f}"] if together else ["", ""]
        lines.append(
            [
                what,
                *(f"{100.0 * np.mean(pulls < sigmas):.1f} %" for sigmas in INSIDE.values()),
                f"{100.0 * floor.mean():.0f} %",
                f"{100.0 * low.mean():.0f} %",
                f"{np.median([row['guess'] for row in own]):.2f} s",
                f"{np.median([row['fit'] for row in own]):.2f} s",
                *ratios,
            ]
        )
    _bench.table(
        "Intervals that hold the truth, and fits that come down to the noise",
        ["what", *INSIDE, "at the floor", "or as low as from the truth", "guess", "fit", "over singles", "worst"],
        lines,
    )
    for row in rows:
        if row["excess"] > FLOOR and row["chisqr"] > row["lowest"] + 2.0:
            above = row["chisqr"] - row["lowest"]
            print(f"\nsample {row['sample']} ({row['crystal']}), {row['what']}: χ² {above:.3g} above that of the truth")


IMPLANTED = {
    **{"Dmax1": 0.006, "D01": 0.0015, "L1": 4600.0, "Rp1": 3200.0, "D02": 0.003, "L2": 2600.0, "Rp2": -800.0},
    **{"r0_damage": 0.15, "r0_substrate_damage": 0.008, "correlation_length": 120.0},
    **{"r0_scale": 1e5, "r0_fwhm": 12.0, "r0_background": 4.0, "r0_offset": 5.0},
    **{"r1_scale": 1e5, "r1_fwhm": 18.0, "r1_background": 3.0, "r1_offset": -20.0},
}
"""A sample and its curves, GGG 444 and 888."""


def troubles() -> None:
    """Print what becomes of two curves whose steps contradict each other, and of one that drowns the other."""
    x = [np.linspace(-900.0, 250.0, 400), np.linspace(-3400.0, 700.0, 500)]
    gaussian = hx.JointModel(models("GGG")[:2])
    lines = []

    def fit(what: str, model: hx.JointModel, truth: Any, start: dict[str, Any]) -> None:
        mu = np.split(truth[0].eval(truth[1], x=x), [len(x[0])])
        counts = [np.random.default_rng(7 + k).poisson(each).astype(float) for k, each in enumerate(mu)]
        result = model.fit(counts, model.make_params(**start), x=x)
        shown = [result.params[name] for name in ("L1", "r0_damage", "correlation_length", "r1_step")]
        chi2 = [f"{part.pearson_chi2():.2f}" for part in result.parts]
        lines.append([what, *chi2, *(f"{par.value:.5g} ± {par.stderr:.2g}" for par in shown)])

    stretched = gaussian, gaussian.make_params(**IMPLANTED, r1_step=1.01)
    fit("steps differ by 1 %, held", gaussian, stretched, IMPLANTED)
    fit("the step of 888 is free", gaussian, stretched, IMPLANTED | {"r1_step": {"value": 1.0, "vary": True}})
    tails = hx.JointModel(models("GGG", resolution="pseudo_voigt")[:2])
    strong = IMPLANTED | {"r0_scale": 1e7}
    tailed = tails, tails.make_params(**strong, r0_eta=0.3)
    fit("444 has 10⁷ counts and tails, Gaussian", gaussian, tailed, strong)
    first, second = models("GGG", statistics="relative", relative_error=0.05)[0], models("GGG")[1]
    fit("444 weighed as if 5 % off", hx.JointModel([first, second]), tailed, strong)
    fit("pseudo-Voigt", tails, tailed, strong)
    header = ["what", "χ²/N 444", "χ²/N 888", "L1", "damage", "correlation length", "step of 888"]
    _bench.table("Two curves that do not go together (true: 4600, 0.15, 120)", header, lines)


def _smaller(pairs: np.ndarray, than: np.ndarray) -> np.ndarray:
    """Return ratios of standard errors, sample by sample."""
    return pairs[:, 1] / np.maximum(than[:, 1], 1e-300)


def _alone(rows: list[Row], sample: int, count: int) -> float:
    """Return the seconds of the single fits of the first curves of a sample."""
    names = [f"curve {k + 1}" for k in range(count)]
    return sum(row["guess"] + row["fit"] for row in rows if row["sample"] == sample and row["what"] in names)


def main() -> None:
    """Run, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first sample")
    parser.add_argument("--workers", type=int, default=1, help="processes, one core each")
    parser.add_argument("--out", type=Path, help="folder for joint.json, which is written sample by sample")
    parser.add_argument("--troubles", action="store_true", help="only what is said of curves that do not go together")
    arguments = parser.parse_args()
    if arguments.troubles:
        troubles()
        return
    numbers = range(arguments.first, arguments.first + arguments.samples)
    rows: list[Row] = []
    with ProcessPoolExecutor(arguments.workers, initializer=begin_worker) as pool:
        for found in tqdm(pool.map(study, numbers), total=len(numbers), unit="sample"):
            rows += found
            if arguments.out:
                arguments.out.mkdir(parents=True, exist_ok=True)
                write_text(arguments.out / "joint.json", json.dumps(rows, indent=1) + "\n")
    report(rows)
    print(f"\n{_bench.machine()}")


if __name__ == "__main__":
    main()
