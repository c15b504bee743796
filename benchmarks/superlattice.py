"""What repeats cost: a superlattice beside single layers, its Jacobian beside its curve, and xrayutilities beside both.

``python benchmarks/superlattice.py``; times are of the thread, of calls in turn, medians.
"""

import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import _bench
import numpy as np

from hrxrd_ml import Film, Reflection, RockingCurve, Superlattice
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.coherent import weighted_reflectivity, weighted_reflectivity_and_jacobian
from hrxrd_ml.diffraction.reflectivity import Diffracting
from hrxrd_ml.units import ARCSEC

ANGLES = np.linspace(-3000.0, 2000.0, 701) * ARCSEC
PERIOD = Film("well", "AlAs", 80.0), Film("barrier", "GaAs", 150.0, strain=0.0)
REFLECTION = Reflection("GaAs", (0, 0, 4), "CuKa1")


def calls(films: tuple[Any, ...]) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return what calculates the reflectivity at 701 angles, from the parameters on, and that with all derivatives."""
    model = RockingCurve.of(REFLECTION, films=films)
    values, beams = model.space.defaults(), Beams(model.conditions.deviation, ANGLES)
    names = [spec.name for spec in model.sample if spec.vary]
    substrate = model.conditions.substrate.waves(beams)
    weights = np.array([REFLECTION.polarization_weights])

    def value() -> object:
        seen = Diffracting.of(model.conditions, model.layer(values, 0.02))
        return weighted_reflectivity(seen.coefficients(beams, substrate, 1.0), weights)

    def jacobian() -> object:
        seen = Diffracting.of(model.conditions, model.layer(values, 0.02, names=names))
        assert seen.slopes is not None
        c = seen.coefficients(beams, substrate, 1.0)
        return weighted_reflectivity_and_jacobian(c, seen.slopes, weights, seen.media, beams)

    return value, jacobian


def peer(repeats: int) -> Callable[[], object] | None:
    """Return the same by xrayutilities' general model, both polarisations; None where it is not installed."""
    try:
        xu = importlib.import_module("xrayutilities")
    except ImportError:
        return None
    layers = [xu.simpack.Layer(xu.materials.GaAs, np.inf)]
    for _ in range(repeats):
        layers += [xu.simpack.Layer(getattr(xu.materials, str(film.crystal)), film.thickness) for film in PERIOD]
    stack = xu.simpack.PseudomorphicStack001("sample", *layers)
    model = xu.simpack.DynamicalModel(stack, energy="CuKa1", resolution_width=0, polarization="both", Cmono=0.5)
    degrees = np.degrees(REFLECTION.bragg_angle + ANGLES)
    return lambda: model.simulate(degrees, hkl=(0, 0, 4), geometry="hi_lo")


def medians(timed: dict[str, Callable[[], object]], rounds: int = 30) -> dict[str, float]:
    """Return milliseconds of the thread."""
    for call in timed.values():
        call()  # compiles
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, call in timed.items():
            call()  # brings its own data back into the cache
            begin = time.thread_time()
            call()
            times[name].append(1e3 * (time.thread_time() - begin))
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    """Print the tables."""
    print(_bench.machine("xrayutilities"))
    samples: dict[str, tuple[Any, ...]] = {"2 single layers": PERIOD}
    samples |= {f"{n} periods of 2": (Superlattice("sl", PERIOD, n),) for n in (5, 50, 1000)}
    samples["50 periods, soft interfaces"] = (Superlattice("sl", PERIOD, 50, interface=6.0),)
    samples["1000 Å, linear gradient"] = (Film("g", "AlGaAs", 1000.0, x=(0.1, 0.4)),)
    both = {name: calls(films) for name, films in samples.items()}
    timed = {f"{name}: {what}": call for name, pair in both.items() for what, call in zip("vj", pair, strict=True)}
    found = medians(timed)
    single = found["2 single layers: v"]
    rows = []
    for name in samples:
        value, jacobian = found[f"{name}: v"], found[f"{name}: j"]
        rows.append([name, f"{value:.3g}", f"{value / single:.2f}", f"{jacobian:.3g}", f"{jacobian / value:.2f}"])
    _bench.table("701 angles, both polarisations", ["", "value / ms", "over 2 layers", "Jacobian / ms", "ratio"], rows)
    value, jacobian = found["50 periods of 2: v"], found["50 periods of 2: j"]
    print(f"\n50 periods over 2 x 2 single layers + 0.2 ms: {_bench.goal(value / (2.0 * single + 0.2), 1.0)}")
    print(f"value and Jacobian over value: {jacobian / value:.2f}, {_bench.goal(jacobian / value, 3.5)}")
    if (other := peer(50)) is not None:
        beside = medians({"ours": both["50 periods of 2"][0], "theirs": other}, rounds=3)
        print(f"xrayutilities over this package, 50 periods: {beside['theirs'] / beside['ours']:.0f}")


if __name__ == "__main__":
    main()
