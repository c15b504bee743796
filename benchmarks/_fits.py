"""Speed of a fit from a start that is nearly right, with the exact Jacobian and with finite differences."""

from collections.abc import Callable

import _bench
import numpy as np
from lmfit import Parameters
from numpy.typing import NDArray

from hrxrd_ml import RockingCurveModel, RockingCurveResult

FloatArray = NDArray[np.float64]
TRUTH = {
    **_bench.SEVEN,
    "scale": 2.0e5,
    "offset": 4.0,
    "fwhm": 12.0,
    "background": 3.0,
    "correlation_length": 80.0,
    "substrate_damage": 0.01,
}
"""What the simulated curve is made from, beside the defaults."""


def nearby(model: RockingCurveModel, truth: Parameters, rng: np.random.Generator) -> Parameters:
    """Start values of which each is 1 % too large or too small."""
    values = {}
    for spec in model.space:
        value = float(truth[spec.name].value)
        if spec.vary:
            value *= 1.0 + 0.01 * float(rng.choice([-1.0, 1.0]))
        values[spec.name] = min(max(value, spec.min), spec.max)
    return model.make_params(**model.space.clip(values))


def fit(starts: int = 15) -> None:
    """Time fits from several starts."""
    rows = []
    for diffuse in ("none", "correlation"):
        rng = np.random.default_rng(5)
        exact = RockingCurveModel(_bench.ggg(), diffuse=diffuse)
        differences = RockingCurveModel(_bench.ggg(), diffuse=diffuse, analytic_jacobian=False)
        truth = exact.make_params(**{name: value for name, value in TRUTH.items() if name in exact.space})
        x = exact.frame.angles(_bench.ANGLES)
        counts = rng.poisson(exact.eval(truth, x=x)).astype(float)
        models = {"exact Jacobian": exact, "finite differences": differences}
        spent: dict[str, list[float]] = {name: [] for name in models}
        results: dict[str, list[RockingCurveResult]] = {name: [] for name in models}
        for _ in range(starts):
            start = nearby(exact, truth, rng)

            def call(name: str, models=models, counts=counts, start=start, x=x) -> Callable[[], RockingCurveResult]:  # type: ignore[no-untyped-def]
                return lambda: models[name].fit(counts, start.copy(), x=x)

            times = _bench.compare({name: call(name) for name in models}, seconds=0.3, rounds=3)
            for name in models:
                spent[name].append(times[name].median)
                results[name].append(call(name)())
        first = float(np.median(spent["exact Jacobian"]))
        for name, seconds in spent.items():
            median = float(np.median(seconds))
            rows.append(
                [
                    f"{name}, diffuse = {diffuse}",
                    f"{len(results[name][0].var_names)}",
                    f"{np.median([result.nfev for result in results[name]]):.0f}",
                    _bench.ms(median),
                    _bench.ms(max(seconds)),
                    f"{median / first:.3g}",
                    f"{max(result.redchi for result in results[name]):.3f}",
                    _bench.goal(1e3 * median, 50.0, unit=" ms") if name == "exact Jacobian" else "",
                ]
            )
    _bench.table(
        f"model.fit of a simulated curve, 701 points, {starts} starts with every parameter 1 % off",
        ["what", "free", "evaluations", "median (ms)", "slowest start (ms)", "ratio", "largest χ²/ν", "goal"],
        rows,
    )
    print("\nCounts with Poisson noise, 2·10⁵ at reflectivity 1; covariance and standard errors are part of the fit.")
