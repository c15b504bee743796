"""Loops and clusters: what they cost, how well their line is averaged, what reflections tell, another program's curves.

Run by hand: ``python benchmarks/defects.py [speed] [lamellae] [errors] [columns] [real] [DATA_DIR]``; DATA_DIR,
last, holds measured curves of GGG 444 and 888 and what a laboratory's program has calculated for them.
"""

import argparse
import math
import re
import time
from collections.abc import Callable
from pathlib import Path

import _bench
import numpy as np
from scipy.optimize import least_squares

from hrxrd_ml import (
    Crystal,
    Diffractometer,
    JointModel,
    Reflection,
    RockingCurve,
    RockingCurveModel,
    make_curve,
    read_curve,
)
from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.diffraction import diffuse
from hrxrd_ml.diffraction.defect_line import DefectLine, factors_of
from hrxrd_ml.specimen.defects import Clusters, Defects, Loops
from hrxrd_ml.units import ARCSEC

SEVEN = {name: value for name, value in _bench.SEVEN.items() if name != "damage"}
WAVELENGTH, LATTICE, K = 1.5405, 12.383, 0.884079
"""Of the reference calculations: wavelength and lattice constant [Å], intensity of pi over that of sigma."""


def ggg(order: int) -> Reflection:
    """444 or 888."""
    return Reflection("GGG", (order, order, order), WAVELENGTH, monochromator=("Si 111", "Ge 111"))


def seconds(calls: dict[str, Callable[[], object]], rounds: int = 60) -> dict[str, float]:
    """Median time of this thread for each, called in turn [s]."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 2):
        for name, call in calls.items():
            begin = time.thread_time()
            call()
            if number > 1:  # compiled, and in the cache
                times[name].append(time.thread_time() - begin)
    return {name: float(np.median(each)) for name, each in times.items()}


def speed() -> None:
    """A curve, and a curve with its Jacobian, with each diffuse model."""
    calls: dict[str, Callable[[], object]] = {}
    for kind in ("correlation", "loops", "clusters"):
        model = RockingCurve.of(_bench.ggg(), diffuse=kind)
        curve, values = model.bind(_bench.ANGLES), model.space.defaults() | SEVEN
        names = [spec.name for spec in model.space if spec.vary]
        calls[f"{kind}: curve"] = lambda c=curve, v=values: c.curve(v)
        calls[f"{kind}: curve and Jacobian"] = lambda c=curve, v=values, n=names: c.jacobian(v, n)
    times = seconds(calls)
    rows = []
    for name, own in times.items():
        ratio = own / times[f"correlation: {name.split(': ')[1]}"]
        rows.append([name, _bench.ms(own), f"{ratio:.2f}", _bench.goal(ratio, 1.5)])
    _bench.table("One curve of GGG 444, 701 angles", ["what", "ms", "ratio", "goal"], rows)


def lamellae() -> None:
    """Error of the whole curve against one with very many lamellae."""
    rows = []
    for order in (4, 8):
        angles = np.arange(-1150.0 if order == 4 else -3400.0, 301.0, 4.0) * ARCSEC
        for radius in (20.0, 40.0, 150.0, 500.0):
            usual, found = diffuse._LINE_LENGTH, []
            for length, tolerance in ((usual, 1e-4), (200.0, 1e-6)):
                diffuse._LINE_LENGTH = length
                model = RockingCurve.of(ggg(order), diffuse="loops", tolerance=tolerance)
                values = model.space.defaults() | SEVEN | {"background": 0.0, "defect_radius": radius}
                curve = model.bind(angles)
                found.append((curve.curve(values), len(curve.layer(values).thickness)))
            diffuse._LINE_LENGTH = usual
            (own, few), (exact, many) = found
            worst = float(np.max(np.abs(own / exact - 1.0)))
            rows.append([f"{order}{order}{order}, R = {radius:g} Å", f"{few}", f"{many}", f"{worst:.1e}"])
    _bench.table("Largest relative error of a curve with loops", ["what", "lamellae", "against", "error"], rows)


def drawn(rng: np.random.Generator) -> dict[str, float]:
    """Draw an implanted layer with defects, and a substrate with others."""
    depth, largest = rng.uniform(3000.0, 5600.0), rng.uniform(0.005, 0.009)
    shape = {"Dmax1": largest, "D01": 0.0012, "L1": depth, "Rp1": 0.66 * depth, "D02": 0.0022, "L2": 0.55 * depth}
    low, high = np.log([[0.006, 15.0, 3e-4, 150.0], [0.08, 120.0, 4e-3, 1500.0]])
    return shape | {"Rp2": -150.0} | dict(zip(DEFECTS, np.exp(rng.uniform(low, high)).tolist(), strict=True))


def errors(samples: int = 40) -> None:
    """Guess and fit of simulated samples by one reflection and by two: do the errors hold, and how large are they?"""
    rows = []
    axes = {4: np.arange(-1150.0, 250.0, 4.0), 8: np.arange(-3200.0, 600.0, 8.0)}
    for kind in ("loops", "clusters"):
        rng = np.random.default_rng(7)
        models = [
            RockingCurveModel(ggg(n), diffuse=kind, prefix=f"r{n}_", axis_kind="offset", unit="arcsec") for n in axes
        ]
        joint, off, smaller = JointModel(models), [], []
        for _ in range(samples):
            values, curves = drawn(rng), []
            truth = joint.make_params(**values, r4_scale=3e5, r8_scale=3e5, r4_background=3.0, r8_background=3.0)
            for model, x in zip(models, axes.values(), strict=True):
                own = {name: truth[joint.renamed(name)].value for name in model.make_params()}
                counts = rng.poisson(model.eval(x=x, **own))
                curves.append(make_curve(x, counts, kind="offset", unit="arcsec", data_kind="counts"))
            both, alone = joint.fit(curves, joint.guess(curves)), models[0].fit(curves[0], models[0].guess(curves[0]))
            if both.redchi > 1.2:
                continue  # not down at the noise
            found, single = [both.params[name] for name in DEFECTS], [alone.params[f"r4_{name}"] for name in DEFECTS]
            off.append([abs(p.value - values[p.name]) / p.stderr for p in found])
            smaller.append([p.stderr / q.stderr if q.stderr else np.nan for p, q in zip(found, single, strict=True)])
        for name, own, ratio in zip(DEFECTS, np.transpose(off), np.transpose(smaller), strict=True):
            shares = [f"{100.0 * np.mean(own < limit):.0f} %" for limit in (1.0, 2.0)]
            rows.append([f"{kind}: {name}", f"{len(off)} of {samples}", *shares, f"{np.nanmedian(ratio):.2f}"])
    header = ["what", "at the noise", "within 1 error", "within 2", "error over that of 444 alone"]
    _bench.table("Simulated samples, 444 and 888, 3·10⁵ counts of scale", header, rows)


DEFECTS = ("defect_fraction", "defect_radius", "substrate_defect_fraction", "substrate_defect_radius")


class Reference:
    """What a laboratory's program has calculated, and what the formulas of this package make of its lamellae."""

    def __init__(self, folder: Path, order: int) -> None:
        stem = f"ggg_he_2e15_{order}{order}{order}"
        head = "".join((folder / f"{stem}_layers.csv").read_text(encoding="utf-8").splitlines()[:2])
        known = {name: float(value) for name, value in re.findall(r"(\w+)=([-+.\de]+)", head)}
        names = ("chi_0i", "chi_hr", "chi_hi_sigma", "chi_hi_pi")
        substrate = [math.inf, 0.0, known["E"], *(known[name] for name in names)]
        self.rows = np.vstack([np.loadtxt(folder / f"{stem}_layers.csv", delimiter=",", skiprows=3), substrate])
        self.curve = np.loadtxt(folder / f"{stem}_reference.csv", delimiter=",", skiprows=2)
        self.h, self.k = 2.0 * math.pi * order * math.sqrt(3.0) / LATTICE, 2.0 * math.pi / WAVELENGTH
        self.bragg = math.asin(0.5 * self.h / self.k)

    def columns(self, line: Callable[[FloatArray], FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Return the diffuse parts of substrate and layer with one line (its integral pi) for both."""
        offset, sine = self.curve[:, 0] * ARCSEC, math.sin(self.bragg)
        width = self.k * math.sin(2.0 * self.bragg)
        strain, e, chi0 = self.rows[:, 1:2], self.rows[:, 2:3], self.rows[:, 3:4]
        seen = line(width * (offset + strain * math.tan(self.bragg)))
        layer, below = np.zeros_like(offset), np.zeros_like(offset)
        for weight, c, part in ((1.0, 1.0, 5), (K, abs(math.cos(2.0 * self.bragg)), 6)):
            chih = np.hypot(self.rows[:, 4:5], self.rows[:, part : part + 1])
            mu = 2.0 * (math.pi * c * chih / WAVELENGTH) ** 2 * (1.0 - e**2) * seen
            loss = (self.k * chi0[:-1] + mu[:-1]) * 2.0 / sine * 100.0
            above = np.exp(-np.vstack([0.0 * loss[:1], np.cumsum(loss, axis=0)]))
            layer += weight * (above[:-1] * mu[:-1] * 100.0 / sine * -np.expm1(-loss) / loss).sum(axis=0) / (1.0 + K)
            sigma = math.pi * c * e[-1] * (-self.rows[-1, 4] + 1j * self.rows[-1, part]) / (WAVELENGTH * sine)
            u = (1j * self.k * chi0[-1] + 2.0 * width * offset) / sine
            s = np.abs(np.imag(1j * np.sqrt(4.0 * sigma**2 - u**2)))
            depth = (self.k * chi0[-1] + mu[-1]) / sine + s
            below += weight * above[-1] * mu[-1] / sine / depth / (1.0 + K)
        return below, layer

    def line(self, defects: Defects, size: float) -> DefectLine:
        """Return a line with k_m = size/sqrt(H), as loops have, and absorption alone as its kappa."""
        kappa = self.k * self.rows[-1, 3] / math.sin(self.bragg)
        return DefectLine(size / math.sqrt(self.h), kappa, factors_of(defects.weights, self.bragg, 0.0))


def columns(folder: Path) -> None:
    """Fit sizes of defects, common to both reflections, and one factor each, to the diffuse parts."""
    both, rows = [Reference(folder, order) for order in (4, 8)], []
    cases: list[tuple[str, int, tuple[Defects, ...]]] = [
        ("layer, loops", 1, (Loops(),)),
        ("layer, clusters", 1, (Clusters(),)),
        ("substrate, loops", 0, (Loops(),)),
        ("substrate, loops of two sizes", 0, (Loops(), Loops())),
    ]
    for what, part, kinds in cases:

        def residual(v: FloatArray, part: int = part, kinds: tuple[Defects, ...] = kinds) -> FloatArray:
            parts = []
            for ref in both:
                used = np.abs(ref.curve[:, 0]) > (30.0 if part == 0 else 0.0)
                lines = [ref.line(kind, size) for kind, size in zip(kinds, np.exp(v[::2]), strict=True)]
                sum_of = lambda q, lines=lines: sum(a * each(q) for a, each in zip(np.exp(v[1::2]), lines, strict=True))  # noqa: E731
                off = np.log(ref.columns(sum_of)[part] / ref.curve[:, 2 + part])[used]
                parts.append(off - off.mean() if len(kinds) == 1 else off)
            return np.concatenate(parts)

        starts = [np.array([math.log(0.05), 0.0]), np.array([math.log(1e-3), 5.0, math.log(0.09), 1.0])]
        start = starts[len(kinds) - 1]
        found = least_squares(residual, start, bounds=(start - 4.0, start + 4.0))
        sizes = ", ".join(f"{2.963 / size:.3g}" for size in np.exp(found.x[::2]))
        off = residual(found.x)
        rows.append([what, sizes, f"{np.std(off):.4f}", f"{np.abs(off).max():.3f}"])
    _bench.table("Another program's diffuse part", ["what", "R √b (Å^3/2)", "rms of ln", "largest"], rows)
    offs = [np.log(ref.curve[:, 3] / ref.columns(ref.line(Loops(), 0.0679))[1]) for ref in both]
    factors = ", ".join(f"{np.exp(np.mean(off)):.1f}" for off in offs)
    print(f"\nLayer, 444 and 888: their intensity over that of the sum rule with their E: {factors}.")
    ratio = np.log(both[1].rows[:, 2]) / np.log(both[0].rows[:, 2])
    print(f"L of 888 over that of 444: {ratio.min():.5f} to {ratio.max():.5f}; 2^1.5 = {2.0**1.5:.5f}.")


def real(folder: Path) -> None:
    """Measured 444 and 888 of one sample, fitted together, with kinds of damage that both share."""
    curves = [read_curve(folder / f"ggg_he_2e15_{name}.csv") for name in ("444", "888")]
    instrument = Diffractometer("CuKa1", ("Si 111", "Ge 111"), beam_height=1.0)
    crystal = Crystal.named("GGG").with_lattice(a=LATTICE)
    kinds: tuple[tuple[dict[str, str], str], ...] = (
        ({"damage": "displacements"}, ""),
        ({"damage": "displacements"}, "msd_exponent"),
        ({"damage": "displacement_spline"}, "msd_exponent"),
        ({"diffuse": "loops"}, ""),
        ({"diffuse": "loops", "damage": "bspline"}, ""),
        ({"diffuse": "clusters"}, ""),
    )
    rows = []
    for parts, freed in kinds:
        models = [
            RockingCurveModel(
                Reflection(crystal, (n, n, n), WAVELENGTH), prefix=f"r{n}_", axis_kind="offset", unit="arcsec",
                diffractometer=instrument, **parts,
            )
            for n in (4, 8)
        ]  # fmt: skip
        for model in models:
            model.set_param_hint("bend", vary=True)
        joint = JointModel(models)
        start = joint.guess(curves)
        for name in filter(None, ("r8_step", freed)):
            start[name].vary = True
        fit = joint.fit(curves, start)
        each = [f"{np.mean(np.square(part.residual)):.2f}" for part in fit.parts]
        said = [f"{n} {fit.params[n].value:.4g} ± {fit.params[n].stderr:.2g}" for n in SHOWN if n in fit.params]
        what = ", ".join(f"{key}={value}" for key, value in parts.items())
        rows.append([what, f"{fit.nvarys}", *each, "; ".join(text for text in said if "± 0" not in text[-4:])])
    _bench.table("444 and 888 of one sample together", ["model", "free", "χ²/N 444", "χ²/N 888", "found"], rows)


SHOWN = ("msd", "msd_exponent", "defect_fraction", "defect_radius", "substrate_msd", "substrate_defect_radius")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["speed", "lamellae", "errors"])
    asked = parser.parse_args().parts
    print(_bench.machine())
    for name, part in (("speed", speed), ("lamellae", lamellae), ("errors", errors)):
        if name in asked:
            part()
    for name, of_data in (("columns", columns), ("real", real)):
        if name in asked:
            of_data(Path(asked[-1]))
