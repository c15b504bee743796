"""Stacks of films from descriptions that are far off: how many fits reach the noise, and how long they take.

``python benchmarks/stacks.py [number] [seed]``; thicknesses are described up to 40 %, compositions up to 0.15 off.
"""

import statistics
import sys
import time

import _one_core  # noqa: F401 (before numpy)
import numpy as np

from hrxrd_ml import Film, Reflection, RockingCurveModel, Superlattice
from hrxrd_ml.guess.classical import ClassicalGuess

_THICKNESS, _COMPOSITION = 0.4, 0.15
"""By how much a description is off."""

_NOISE = 5.0
"""Standard deviations of chi-square above the noise up to which a fit has reached it."""

_ALLOYS = (
    ("GaAs", "AlGaAs", 0.15, 0.85, 900.0),
    ("GaAs", "InGaAs", 0.05, 0.25, 2200.0),
    ("Si", "SiGe", 0.1, 0.4, 2600.0),
)
"""Substrate, alloy, compositions, and how far a scan reaches around the peak of the substrate [arcsec] at the least."""

KINDS = ("one film", "two films", "film and cap", "superlattice", "superlattice and cap")


def sample(kind: str, values: dict[str, float], substrate: str, alloy: str) -> list[Film | Superlattice]:
    """Return the films of a kind of sample at thicknesses and compositions."""
    first = Film("first", alloy, values["first"], x=values["first_x"])
    if kind == "one film":
        return [first]
    if kind == "two films":
        return [first, Film("second", alloy, values["second"], x=values["second_x"])]
    cap = Film("cap", substrate, values["second"], strain=0.0)
    if kind == "film and cap":
        return [first, cap]
    well = Film("well", alloy, values["well"], x=values["first_x"])
    lattice = Superlattice("mqw", [well, Film("barrier", substrate, values["barrier"], strain=0.0)], repeats=10)
    return (
        [lattice] if kind == "superlattice" else [lattice, Film("top", alloy, values["second"], x=values["second_x"])]
    )


def case(number: int, rng: np.random.Generator) -> tuple[str, RockingCurveModel, np.ndarray, np.ndarray, float]:
    """Return kind, model as described, angles, counts, and chi-square over the points at the truth."""
    kind, (substrate, alloy, low, high, span) = KINDS[number % len(KINDS)], _ALLOYS[number // len(KINDS) % len(_ALLOYS)]
    sizes = {"first": (800.0, 5000.0), "second": (300.0, 2000.0), "well": (50.0, 120.0), "barrier": (80.0, 250.0)}
    truth = {name: float(np.exp(rng.uniform(*np.log(ends)))) for name, ends in sizes.items()}
    truth |= {name: float(rng.uniform(low, high)) for name in ("first_x", "second_x")}
    described = {name: truth[name] * (1.0 + rng.uniform(-_THICKNESS, _THICKNESS)) for name in sizes}
    for name in ("first_x", "second_x"):
        described[name] = float(np.clip(truth[name] + rng.uniform(-_COMPOSITION, _COMPOSITION), 0.02, 0.98))

    def model(values: dict[str, float]) -> RockingCurveModel:
        films = sample(kind, values, substrate, alloy)
        return RockingCurveModel(Reflection(substrate, (0, 0, 4)), films=films, axis_kind="offset", unit="arcsec")

    right = model(truth)
    setting = {"scale": 3e5, "background": 2.0, "fwhm": 12.0, "offset": float(rng.uniform(-60.0, 60.0))}
    wide = np.arange(-14_000.0, 3000.0, 4.0)
    curve = right.eval(right.make_params(**setting), x=wide)
    seen = wide[curve > 60.0]  # as somebody would scan who looks where the intensity ends
    step = 4.0 if seen[-1] - seen[0] > 3000.0 else 2.0
    x = np.arange(min(seen[0] - 300.0, -span), max(seen[-1] + 300.0, 0.5 * span), step)
    expected = right.eval(right.make_params(**setting), x=x)
    counts = rng.poisson(expected).astype(float)
    return kind, model(described), x, counts, _deviance(counts, expected)


def _deviance(counts: np.ndarray, expected: np.ndarray) -> float:
    ratio = np.where(counts > 0.0, counts / expected, 1.0)
    return float(2.0 * np.sum(expected - counts + counts * np.log(ratio)))


def main(count: int = 30, seed: int = 1) -> None:
    """Print a table, and what failed."""
    found: dict[str, list[tuple[bool, float]]] = {kind: [] for kind in KINDS}
    for number in range(count):
        kind, model, x, counts, floor = case(number, np.random.default_rng((seed, number)))
        begin = time.thread_time()
        params = model.guess(counts, x=x, provider=ClassicalGuess())
        guessed = time.thread_time() - begin
        result = model.fit(counts, params, x=x)
        seconds = time.thread_time() - begin
        curve = result.best_fit
        excess = (_deviance(counts, curve) - floor) / np.sqrt(2.0 * len(x))
        found[kind].append((excess < _NOISE, seconds))
        if excess >= _NOISE:
            print(f"{number}: {kind}, {len(x)} points: {excess:.1f} standard deviations above the truth", flush=True)
        if "-v" in sys.argv:
            print(f"   {number} {kind} {len(x)} guess {guessed:.2f} s, all {seconds:.2f} s {excess:.1f}", flush=True)
    print("| sample | at the noise | median [s] | longest [s] |\n|---|---|---|---|")
    for kind, rows in found.items():
        if rows:
            times = [seconds for _, seconds in rows]
            reached = sum(good for good, _ in rows)
            print(f"| {kind} | {reached} of {len(rows)} | {statistics.median(times):.2f} | {max(times):.2f} |")
    every = [row for rows in found.values() for row in rows]
    print(
        f"all: {sum(good for good, _ in every)} of {len(every)}, median {statistics.median(t for _, t in every):.2f} s"
    )


if __name__ == "__main__":
    main(*[int(word) for word in sys.argv[1:] if word.isdigit()])
