"""How fast the package is, beside what a user would otherwise take; ratios are the headline.

Run by hand: ``python benchmarks/speed.py [layers] [smooth] [jacobian] [fit] [memory] [start]``; all of them take
a few minutes. Everything runs on one core, and what is compared runs in turn in one process, so that the
ratios mean something where the times do not.
"""

import argparse
import os
from collections.abc import Callable

import _bench  # first: one thread
import _footprint
import _peers
import numpy as np
from numpy.typing import NDArray

from hrxrd_ml import dynamical
from hrxrd_ml.dynamical import Lamellae, reflectivity, reflectivity_and_jacobian
from hrxrd_ml.dynamical._contract import Deviation
from hrxrd_ml.model import RockingCurveModel
from hrxrd_ml.profile import ImplantedProfile, extreme
from hrxrd_ml.reflection import Reflection
from hrxrd_ml.sample import Damage, discretise
from hrxrd_ml.simulate import RockingCurve

FloatArray = NDArray[np.float64]


def goal(value: float, limit: float, *, least: bool) -> str:
    """Whether a goal is met, in words."""
    met = value >= limit if least else value <= limit
    return f"{'≥' if least else '≤'} {limit:g}: {'met' if met else 'missed'}"


# --- (a) uniform lamellae ---


def layers() -> None:
    """58 uniform lamellae: this package beside xrayutilities."""
    case = _peers.Layers.make()
    if case is None:
        return
    simple = case.model("SimpleDynamicalCoplanarModel")
    general = case.model("DynamicalModel")
    fit_model = case.xu.simpack.FitModel(case.model("SimpleDynamicalCoplanarModel"))
    params = fit_model.make_params()
    theirs = case.model("SimpleDynamicalCoplanarModel", -1.0).simulate(case.degrees, idxref=0)
    same = np.max(np.abs(case.ours(linear=True) / theirs - 1.0))
    near = np.max(np.abs(case.ours() - general.simulate(case.degrees))) / theirs.max()

    model = RockingCurveModel(_bench.ggg())
    own = model.make_params(**_bench.SEVEN)
    x = model.frame.angles(_bench.ANGLES)
    calls: dict[str, Callable[[], object]] = {
        "reflectivity, uniform lamellae": case.ours,
        "xrayutilities SimpleDynamicalCoplanarModel": lambda: simple.simulate(case.degrees, idxref=0),
        "xrayutilities DynamicalModel": lambda: general.simulate(case.degrees),
        "xrayutilities FitModel(Simple…), one evaluation": lambda: fit_model.eval(params, x=case.degrees, hkl=None, idxref=0),
        "RockingCurveModel, one evaluation of everything": lambda: model.eval(own, x=x),
    }
    times = _bench.compare(calls)
    first = times["reflectivity, uniform lamellae"].median
    limits = {"xrayutilities SimpleDynamicalCoplanarModel": 40.0, "xrayutilities DynamicalModel": 800.0}
    rows = []
    for name, timing in times.items():
        ratio = timing.median / first
        aim = goal(ratio, limits[name], least=True) if name in limits else ""
        rows.append([name, _bench.ms(timing.median), _bench.ms(timing.shortest), f"{ratio:.3g}", aim])
    _bench.table(
        "58 uniform lamellae, 701 angles, 2 polarisations",
        ["what", "median (ms)", "shortest (ms)", "ratio", "goal"],
        rows,
    )
    print(
        f"\nSame numbers: this package and SimpleDynamicalCoplanarModel, the sign of whose phase is mended for this, differ "
        f"by {same:.0e}; from DynamicalModel it differs by {near:.0e} of the peak.\n"
        "The last line is GGG 444 with a graded seven-parameter profile, diffuse part, resolution, scale and background; "
        "FitModel is the coherent curve of the 58 layers alone."
    )


# --- (b) a smooth profile ---


def build(reflection: Reflection, strain_range: float, tolerance: float = 1e-4) -> Lamellae:
    """Graded lamellae of the typical profile, from its parameters."""
    made = discretise(
        ImplantedProfile(),
        Damage("tied"),
        _bench.SEVEN,
        diffraction_vector=reflection.diffraction_vector,
        strain_range=strain_range,
        tolerance=tolerance,
    )
    return Lamellae.of_one_crystal(reflection, made.thickness, made.strain, made.debye_waller)


def sliced(reflection: Reflection, count: int) -> Lamellae:
    """About ``count`` uniform lamellae of equal thickness between the kinks of the typical profile."""
    profile, values = ImplantedProfile(), _bench.SEVEN
    edges = profile.segments(values).edges
    pieces = np.maximum(np.round(count * np.diff(edges) / edges[-1]), 1).astype(int)
    cuts = [np.linspace(a, b, n + 1) for a, b, n in zip(edges[:-1], edges[1:], pieces, strict=True)]
    thickness = np.concatenate([np.diff(cut) for cut in cuts])
    strain = profile.evaluate(np.concatenate([0.5 * (cut[1:] + cut[:-1]) for cut in cuts]), values)
    exponent = values["damage"] * strain / extreme(profile, values)[0]
    return Lamellae.of_one_crystal(reflection, thickness, strain, np.exp(-exponent))


def error(curve: FloatArray, exact: FloatArray) -> float:
    """Largest error relative to R + 1e-6."""
    return float(np.max(np.abs(curve - exact) / (exact + 1e-6)))


def smooth() -> None:
    """The seven-parameter profile: graded lamellae beside a NumPy loop over uniform ones."""
    reflection, dtheta = _bench.ggg(), _bench.ANGLES
    reach = float(np.abs(dtheta).max()) / np.tan(reflection.bragg_angle)
    # Uniform lamellae, extrapolated to zero thickness: another kernel and another grid.
    coarse, fine = (reflectivity(reflection, sliced(reflection, n), dtheta) for n in (5800, 11600))
    exact = fine + (fine - coarse) / 3.0
    x, y = Deviation.of(reflection).axes(dtheta)
    weights = np.array(reflection.polarization_weights)

    def whole() -> FloatArray:
        return reflectivity(reflection, build(reflection, reach), dtheta)

    def prepared() -> FloatArray:
        r = dynamical.amplitude(dynamical.coefficients(reflection, build(reflection, reach)), x, y)
        return weights @ (r.real**2 + r.imag**2)

    own = error(whole(), exact)
    low, high = 290, 20000
    while high - low > 20:
        count = (low + high) // 2
        if error(reflectivity(reflection, sliced(reflection, count), dtheta), exact) > own:
            low = count
        else:
            high = count
    loops = {n: sliced(reflection, n) for n in (290, high)}
    count = len(build(reflection, reach).thickness)
    calls: dict[str, Callable[[], object]] = {
        f"graded lamellae ({count}), from the parameters": whole,
        f"graded lamellae ({count}), angles prepared before": prepared,
        "uniform lamellae (290), numba": lambda: reflectivity(reflection, loops[290], dtheta),
        "uniform lamellae (290), NumPy loop, tuned": lambda: _peers.numpy_loop(reflection, loops[290], dtheta),
        "uniform lamellae (290), NumPy loop, plain": lambda: reflectivity(reflection, loops[290], dtheta, backend="reference"),
        f"uniform lamellae ({len(loops[high].thickness)}), NumPy loop, tuned": lambda: _peers.numpy_loop(reflection, loops[high], dtheta),
        f"uniform lamellae ({len(loops[high].thickness)}), NumPy loop, plain": lambda: reflectivity(reflection, loops[high], dtheta, backend="reference"),
    }
    times = _bench.compare(calls)
    first = times[next(iter(calls))].median
    limits = dict(zip(list(calls)[3:], (40.0, 40.0, 300.0, 300.0), strict=True))
    rows = []
    for name, call in calls.items():
        t = times[name]
        aim = goal(t.median / first, limits[name], least=True) if name in limits else ""
        if call is whole:
            aim = f"{goal(1e3 * t.median, 0.6, least=False)} ms"
        rows.append([name, f"{error(np.asarray(call()), exact):.1e}", _bench.ms(t.median), _bench.ms(t.shortest), f"{t.median / first:.3g}", aim])
    _bench.table(
        "A seven-parameter profile of 5800 Å, GGG 444, 701 angles, 2 polarisations",
        ["what", "error", "median (ms)", "shortest (ms)", "ratio", "goal"],
        rows,
    )
    print(
        "\nError: largest abs(R - R_exact)/(R_exact + 1e-6), R_exact from 5800 and 11600 uniform lamellae by Richardson. "
        f"{len(loops[high].thickness)} lamellae are what the loop needs for the error of the graded ones, found by bisection; "
        "nothing is extrapolated. Building the lamellae is counted for the graded ones only."
    )


# --- (c) Jacobian ---


def jacobian() -> None:
    """Value and all derivatives, over the value alone."""
    reflection, dtheta = _bench.ggg(), _bench.ANGLES
    wave = {f"s{i}": 1e-3 * (4.0 + 3.0 * np.sin(0.3 * i)) * (1.0 - i / 26.0) for i in range(26)}
    damage = {f"w{i}": 0.3 * (1.0 - i / 14.0) for i in range(14)}
    kinds = {
        "seven parameters, tied damage": (RockingCurve.of(reflection), _bench.SEVEN),
        "B-splines, 26 + 14 coefficients": (
            RockingCurve.of(reflection, "bspline", "bspline", strain_knots=26, damage_knots=14),
            {**wave, **damage, "depth": 5800.0},
        ),
    }
    rows = []
    for name, (curve, given) in kinds.items():
        bound = curve.bind(dtheta)
        values = curve.space.defaults() | given
        layer = bound.layer(values, derivatives=True)
        lamellae = Lamellae.of_one_crystal(reflection, layer.thickness, layer.strain, layer.debye_waller)
        free = [spec.name for spec in curve.space if spec.vary]
        assert layer.chain is not None
        for level, parameters, plain, full in (
            (
                "kernel",
                len(layer.chain.names),
                lambda lamellae=lamellae: reflectivity(reflection, lamellae, dtheta),
                lambda lamellae=lamellae, layer=layer: reflectivity_and_jacobian(reflection, lamellae, dtheta, layer.chain),
            ),
            (
                "model",
                len(free),
                lambda bound=bound, values=values: bound.curve(values),
                lambda bound=bound, values=values, free=free: bound.jacobian(values, free),
            ),
        ):
            times = _bench.compare({"plain": plain, "full": full})
            ratio = times["full"].median / times["plain"].median
            rows.append(
                [f"{name}: {level}", f"{parameters}", f"{len(layer.thickness)}", _bench.ms(times["plain"].median), _bench.ms(times["full"].median), f"{ratio:.2f}", goal(ratio, 3.5, least=False)]
            )
    _bench.table(
        "Value and exact Jacobian over the value alone, 701 angles, 2 polarisations",
        ["what", "parameters", "lamellae", "value (ms)", "both (ms)", "ratio", "goal"],
        rows,
    )
    print("\nKernel: coherent reflectivity of given lamellae. Model: from the parameters to expected counts, diffuse part and instrument included.")


# --- (d) a fit ---

TRUTH = {
    **_bench.SEVEN,
    "scale": 2.0e5,
    "offset": 4.0,
    "fwhm": 12.0,
    "background": 3.0,
    "correlation_length": 80.0,
    "substrate_damage": 0.01,
}


def fit(starts: int = 15) -> None:
    """A fit from a start that is 1 % off, with the exact Jacobian and with finite differences."""
    rows = []
    reflection = _bench.ggg()
    for diffuse in ("none", "correlation"):
        rng = np.random.default_rng(5)
        models = {exact: RockingCurveModel(reflection, diffuse=diffuse, analytic_jacobian=exact) for exact in (True, False)}
        model = models[True]
        truth = {name: value for name, value in TRUTH.items() if name in model.space}
        params = model.make_params(**truth)
        x = model.frame.angles(_bench.ANGLES)
        counts = rng.poisson(model.eval(params, x=x)).astype(float)
        begin = []
        for _ in range(starts):
            start = {
                spec.name: min(max(params[spec.name].value * (1.0 + 0.01 * float(rng.choice([-1.0, 1.0]))), spec.min), spec.max)
                for spec in model.space
                if spec.vary
            }
            begin.append(model.make_params(**model.space.clip({**truth, **start})))
        spent: dict[bool, list[_bench.Timing]] = {True: [], False: []}
        evaluations: dict[bool, list[int]] = {True: [], False: []}
        chi: dict[bool, list[float]] = {True: [], False: []}
        for start_params in begin:
            results = {}
            calls = {
                str(exact): lambda exact=exact, p=start_params, results=results: results.__setitem__(exact, models[exact].fit(counts, p.copy(), x=x))
                for exact in (True, False)
            }
            times = _bench.compare(calls, seconds=0.3, rounds=3)
            for exact in (True, False):
                spent[exact].append(times[str(exact)])
                evaluations[exact].append(results[exact].nfev)
                chi[exact].append(results[exact].redchi)
        first = float(np.median([t.median for t in spent[True]]))
        for exact in (True, False):
            median = float(np.median([t.median for t in spent[exact]]))
            rows.append(
                [
                    f"{'exact Jacobian' if exact else 'finite differences'}, diffuse = {diffuse}",
                    f"{len(results[True].var_names)}",
                    f"{np.median(evaluations[exact]):.0f}",
                    _bench.ms(median),
                    _bench.ms(max(t.median for t in spent[exact])),
                    f"{median / first:.3g}",
                    f"{max(chi[exact]):.3f}",
                    f"{goal(1e3 * median, 50.0, least=False)} ms" if exact else "",
                ]
            )
    _bench.table(
        f"model.fit of a simulated curve, 701 points, {starts} starts with every parameter 1 % off",
        ["what", "free", "evaluations", "median (ms)", "slowest start (ms)", "ratio", "largest χ²/ν", "goal"],
        rows,
    )
    print("\nCounts with Poisson noise, 2·10⁵ at reflectivity 1; covariance and standard errors are part of the fit.")


def main() -> None:
    """Run the parts that are named."""
    parts: dict[str, Callable[[], None]] = {
        "layers": layers,
        "smooth": smooth,
        "jacobian": jacobian,
        "fit": fit,
        "memory": _footprint.memory,
        "start": _footprint.start,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="all of them if none is named")
    chosen = parser.parse_args().parts or list(parts)
    print(_bench.machine("xrayutilities"))
    for name in chosen:
        parts[name]()
    print(f"\nLoad average at the end {', '.join(f'{value:.1f}' for value in os.getloadavg())}.")


if __name__ == "__main__":
    main()
