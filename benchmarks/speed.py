"""How fast the package is, beside what a user would otherwise take; ratios are the headline.

Run by hand: ``python benchmarks/speed.py [layers] [smooth] [jacobian] [diffractometer] [fit] [memory] [start]``; all of
them take a few minutes. Everything runs on one core, and what is compared runs in turn in one process, so that the
ratios mean something where the times do not.
"""

import argparse
from collections.abc import Callable

import _bench
import _fits
import _footprint
import _peers
import _smooth
import numpy as np

from hrxrd_ml import Diffractometer, Reflection, RockingCurve, RockingCurveModel
from hrxrd_ml.diffraction.coherent import reflectivity, reflectivity_and_jacobian
from hrxrd_ml.diffraction.lamellae import Lamellae


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
    lines: list[tuple[str, Callable[[], object], float]] = [
        ("reflectivity, uniform lamellae", case.ours, 0.0),
        ("xrayutilities SimpleDynamicalCoplanarModel", lambda: simple.simulate(case.degrees, idxref=0), 40.0),
        ("xrayutilities DynamicalModel", lambda: general.simulate(case.degrees), 800.0),
        (
            "xrayutilities FitModel(Simple…), one evaluation",
            lambda: fit_model.eval(params, x=case.degrees, hkl=None, idxref=0),
            0.0,
        ),
        ("RockingCurveModel, one evaluation of everything", lambda: model.eval(own, x=x), 0.0),
    ]
    times = _bench.compare({name: call for name, call, _ in lines})
    first = times[lines[0][0]].median
    rows = []
    for name, _, limit in lines:
        ratio = times[name].median / first
        aim = _bench.goal(ratio, limit, least=True) if limit else ""
        rows.append([name, _bench.ms(times[name].median), _bench.ms(times[name].shortest), f"{ratio:.3g}", aim])
    _bench.table(
        "58 uniform lamellae, 701 angles, 2 polarisations",
        ["what", "median (ms)", "shortest (ms)", "ratio", "goal"],
        rows,
    )
    print(
        "\nSame numbers: this package and SimpleDynamicalCoplanarModel, the sign of whose phase is mended for it,\n"
        f"differ by {same:.0e}; from DynamicalModel it differs by {near:.0e} of the peak. The last line is GGG 444\n"
        "with a graded seven-parameter profile, diffuse part, resolution, scale and background; FitModel is the\n"
        "coherent curve of the 58 layers alone."
    )


def jacobian() -> None:
    """Value and all derivatives, over the value alone."""
    reflection, dtheta = _bench.ggg(), _bench.ANGLES
    strain = {f"s{i}": 1e-3 * (4.0 + 3.0 * np.sin(0.3 * i)) * (1.0 - i / 26.0) for i in range(26)}
    damage = {f"w{i}": 0.3 * (1.0 - i / 14.0) for i in range(14)}
    splines = RockingCurve.of(reflection, "bspline", "bspline", strain_knots=26, damage_knots=14)
    cases: dict[str, tuple[RockingCurve, dict[str, float]]] = {
        "seven parameters, tied damage": (RockingCurve.of(reflection), _bench.SEVEN),
        "the same, strain spread 1 %": (RockingCurve.of(reflection), {**_bench.SEVEN, "strain_spread": 0.01}),
        "B-splines, 26 + 14 coefficients": (splines, {**strain, **damage, "depth": 5800.0}),
    }
    rows = []
    for name, (curve, given) in cases.items():
        bound = curve.bind(dtheta)
        values = curve.space.defaults() | given
        layer = bound.layer(values, names=curve.sample.names)
        lamellae = Lamellae.of_one_crystal(reflection, layer.thickness, layer.strain, layer.debye_waller)
        free = [spec.name for spec in curve.space if spec.vary]
        assert layer.slopes is not None
        changes = (layer.slopes.strain, -layer.debye_waller * layer.slopes.damage, layer.slopes.thickness)
        times = _bench.compare(
            {
                "kernel": lambda lamellae=lamellae: reflectivity(reflection, lamellae, dtheta),
                "kernel'": lambda lamellae=lamellae, changes=changes: reflectivity_and_jacobian(
                    reflection, lamellae, dtheta, *changes
                ),
                "model": lambda bound=bound, values=values: bound.curve(values),
                "model'": lambda bound=bound, values=values, free=free: bound.jacobian(values, free),
            }
        )
        for level, parameters in (("kernel", len(layer.slopes.names)), ("model", len(free))):
            value, both = times[level].median, times[f"{level}'"].median
            numbers = [f"{parameters}", f"{len(layer.thickness)}", _bench.ms(value), _bench.ms(both)]
            rows.append([f"{name}: {level}", *numbers, f"{both / value:.2f}", _bench.goal(both / value, 3.5)])
    _bench.table(
        "Value and exact Jacobian over the value alone, 701 angles, 2 polarisations",
        ["what", "parameters", "lamellae", "value (ms)", "both (ms)", "ratio", "goal"],
        rows,
    )
    print(
        "\nKernel: coherent reflectivity of given lamellae. Model: from the parameters to expected counts, diffuse\n"
        "part and instrument included."
    )


def diffractometer() -> None:
    """A declared diffractometer beside a pseudo-Voigt function as wide, both with a bent sample."""
    crystals = ("Si 111", "Ge 111")
    rows = []
    for hkl in ((4, 4, 4), (8, 8, 8)):
        reflection = Reflection("GGG", hkl)
        fitted = RockingCurve.of(reflection.replace(monochromator=crystals), resolution="pseudo_voigt")
        declared = RockingCurve.of(reflection, diffractometer=Diffractometer("CuKa1", crystals, beam_height=0.2))
        calls = {}
        width = declared.response.width(declared.space.defaults())
        shapes = {"curvature": 45.0, "fwhm": width}, {"bend": 0.45}
        for name, curve, bend in zip(("fitted", "declared"), (fitted, declared), shapes, strict=True):
            bound, values = curve.bind(_bench.ANGLES), curve.space.defaults() | _bench.SEVEN | bend
            free = [spec.name for spec in curve.space if spec.vary or spec.name in bend]
            calls[name] = lambda bound=bound, values=values: bound.curve(values)
            calls[f"{name}'"] = lambda bound=bound, values=values, free=free: bound.jacobian(values, free)
        times = _bench.compare(calls)
        for what, mark, limit in (("curve", "", 1.3), ("curve and Jacobian", "'", 0.0)):
            one, other = times[f"fitted{mark}"].median, times[f"declared{mark}"].median
            numbers = [_bench.ms(one), _bench.ms(other), f"{other / one:.2f}"]
            aim = _bench.goal(other / one, limit) if limit else ""
            rows.append([f"GGG {''.join(map(str, hkl))}, {what}", *numbers, aim])
    _bench.table(
        "Si 111 and Ge 111 declared, beside a pseudo-Voigt function, 701 angles",
        ["what", "pseudo-Voigt (ms)", "declared (ms)", "ratio", "goal"],
        rows,
    )


def main() -> None:
    """Run the parts that are named."""
    parts: dict[str, Callable[[], None]] = {
        "layers": layers,
        "smooth": _smooth.smooth,
        "jacobian": jacobian,
        "diffractometer": diffractometer,
        "fit": _fits.fit,
        "memory": _footprint.memory,
        "start": _footprint.start,
    }
    parser = argparse.ArgumentParser(description="Speed of the package beside its peers, one core.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; all of them if none is named")
    chosen = parser.parse_args().parts or list(parts)
    if unknown := [name for name in chosen if name not in parts]:
        parser.error(f"unknown part {unknown[0]!r}: expected {', '.join(parts)}")
    print(_bench.machine("xrayutilities"))
    for name in chosen:
        parts[name]()
    print(f"\nLoad average at the end {_bench.load()}.")


if __name__ == "__main__":
    main()
