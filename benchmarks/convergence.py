"""How accurate the lamellae are: graded ones, and the classic uniform sublayers, against a converged calculation.

Run by hand: ``python benchmarks/convergence.py [--profiles 500] [--angles 701]``; some minutes.

Random seven-parameter profiles, evenly distributed between the bounds of the parameter space, damage tied to
the strain. The error of a curve is its largest abs(R - R_exact)/(R_exact + 1e-6) over the scan. R_exact comes
from the exact recursion for uniform lamellae, cut at the kinks of the profile and extrapolated to zero
thickness (Richardson), that is from another kernel and another grid than the graded lamellae.

A second table has the error of a whole model, resolution included, for resolution functions of different
width: beside a direct sum over a grid with steps of 0.1 arcsec, without any of the code of the instrument.
"""

import argparse
import math
from dataclasses import dataclass

import _bench
import numpy as np
from numpy.typing import NDArray

from hrxrd_ml import ParameterSpace, Reflection, RockingCurve
from hrxrd_ml.diffraction.coherent import reflectivity
from hrxrd_ml.diffraction.lamellae import Lamellae
from hrxrd_ml.specimen.damage import TiedDamage
from hrxrd_ml.specimen.layers import discretise, sublayers
from hrxrd_ml.specimen.profile.base import extreme
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile, implanted_space
from hrxrd_ml.units import ARCSEC

FloatArray = NDArray[np.float64]
PROFILE, DAMAGE = ImplantedProfile(), TiedDamage()


def reflections() -> dict[str, Reflection]:
    """Symmetric and asymmetric, weak and strong, low and high order."""
    return {
        "GGG 444": Reflection("GGG", (4, 4, 4), "CuKa1"),
        "GGG 888": Reflection("GGG", (8, 8, 8), "CuKa1"),
        "Si 004": Reflection("Si", (0, 0, 4), "CuKa1"),
        "3C-SiC 400": Reflection("3C-SiC", (4, 0, 0), 1.5498),
        "GaAs 224, grazing incidence": Reflection("GaAs", (2, 2, 4), "CuKa1", surface=(0, 0, 1), exit="high"),
        "GaAs 224, grazing exit": Reflection("GaAs", (2, 2, 4), "CuKa1", surface=(0, 0, 1), exit="low"),
    }


def scan(reflection: Reflection, largest: float, count: int) -> FloatArray:
    """Angles that show the strained layer and the substrate peak [rad]."""
    shift = largest * math.tan(reflection.bragg_angle)
    if reflection.inclination:
        p = reflection.inclination
        shift = largest * (math.cos(p) ** 2 * math.tan(reflection.bragg_angle) - math.sin(p) * math.cos(p))
    margin = 0.3 * abs(shift) + 20.0 * reflection.darwin_width()
    return np.linspace(min(0.0, -shift) - margin, max(0.0, -shift) + margin, count)


def uniform(
    reflection: Reflection, values: dict[str, float], per_piece: NDArray[np.int64], dtheta: FloatArray
) -> FloatArray:
    """Curve of uniform lamellae, so many of equal thickness in each piece between two kinks."""
    edges = PROFILE.segments(values).edges
    cuts = [np.linspace(a, b, n + 1) for a, b, n in zip(edges[:-1], edges[1:], per_piece, strict=True) if b > a]
    thickness = np.concatenate([np.diff(cut) for cut in cuts])
    middle = np.concatenate([0.5 * (cut[1:] + cut[:-1]) for cut in cuts])
    strain = PROFILE.evaluate(middle, values)
    exponent = values["damage"] * strain / abs(extreme(PROFILE, values)[0])
    return reflectivity(reflection, Lamellae.of_one_crystal(reflection, thickness, strain, np.exp(-exponent)), dtheta)


def converged(
    reflection: Reflection, values: dict[str, float], dtheta: FloatArray, thickness: float
) -> tuple[FloatArray, float]:
    """Converged curve, and an estimate of its own error: what a second extrapolation changes."""
    lengths = np.diff(PROFILE.segments(values).edges)
    pieces = np.maximum(np.ceil(lengths / thickness), 8).astype(np.int64)
    coarse, middle, fine = (uniform(reflection, values, k * pieces, dtheta) for k in (1, 2, 4))
    first, second = middle + (middle - coarse) / 3.0, fine + (fine - middle) / 3.0
    exact = second + (second - first) / 15.0
    return exact, error(second, exact)


def error(curve: FloatArray, exact: FloatArray) -> float:
    """Largest error of a curve."""
    return float(np.max(np.abs(curve - exact) / (exact + 1e-6)))


@dataclass(frozen=True)
class Case:
    """Errors and numbers of lamellae for one profile."""

    values: dict[str, float]
    graded: float
    count: int
    classic: float
    classic_count: int
    doubt: float


def measure(reflection: Reflection, values: dict[str, float], angles: int, tolerance: float) -> Case:
    """Errors of one profile."""
    largest = abs(extreme(PROFILE, values)[0])
    dtheta = scan(reflection, largest, angles)
    exact, doubt = converged(reflection, values, dtheta, 2.0)
    made = discretise(
        PROFILE,
        DAMAGE,
        values,
        diffraction_vector=reflection.diffraction_vector,
        strain_range=RockingCurve.of(reflection).bind(dtheta).strain_range,
        tolerance=tolerance,
    )
    lamellae = Lamellae.of_one_crystal(reflection, made.thickness, made.strain, made.debye_waller)
    graded = error(reflectivity(reflection, lamellae, dtheta), exact)
    seen = reflection.diffraction_vector
    thickness, strain, exponent = sublayers(PROFILE, DAMAGE, values, 20.0, diffraction_vector=seen)
    lamellae = Lamellae.of_one_crystal(reflection, thickness, strain, np.exp(-exponent))
    classic = error(reflectivity(reflection, lamellae, dtheta), exact)
    return Case(values, graded, len(made.thickness), classic, len(thickness), doubt)


def folded(reflection: Reflection, values: dict[str, float], dtheta: FloatArray, fwhm: float) -> FloatArray:
    """Coherent curve under a Gaussian of ``fwhm`` [arcsec], summed directly."""
    sigma = fwhm * ARCSEC / math.sqrt(8.0 * math.log(2.0))
    step = 0.1 * ARCSEC
    fine = np.arange(dtheta[0] - 6.0 * sigma, dtheta[-1] + 6.0 * sigma, step)
    exact, _ = converged(reflection, values, fine, 8.0)
    at = np.searchsorted(fine, dtheta)
    reach = int(6.0 * sigma / step)
    out = np.empty(len(dtheta))
    for i, k in enumerate(at):
        near = slice(max(k - reach, 0), k + reach)
        weight = np.exp(-0.5 * ((fine[near] - dtheta[i]) / sigma) ** 2)
        out[i] = weight @ exact[near] * step / (sigma * math.sqrt(2.0 * math.pi))
    return out


def whole() -> None:
    """Errors of whole models."""
    rows = []
    for name, step in (("GGG 444", 4.0), ("GGG 444", 2.0), ("GGG 888", 4.0), ("Si 004", 3.0)):
        reflection = reflections()[name]
        model = RockingCurve.of(reflection, diffuse="none")
        dtheta = np.arange(-4200.0 if name == "GGG 888" else -1400.0, 500.0, step) * ARCSEC
        for ratio in (1.0, 1.5, 2.0, 3.0, 6.0):
            fwhm = ratio * step
            given = _bench.SEVEN | {"fwhm": fwhm, "scale": 1.0, "background": 0.0, "offset": 0.0}
            curve = model.bind(dtheta).curve(model.space.defaults() | given)
            exact = folded(reflection, _bench.SEVEN, dtheta, fwhm)
            noise = np.sqrt(1e6 * exact + 10.0) / 1e6
            rows.append(
                [
                    f"{name}, step {step:g}″, FWHM {fwhm:g}″",
                    f"{error(curve, exact):.1e}",
                    f"{np.max(np.abs(curve - exact) / noise):.2f}",
                ]
            )
    _bench.table(
        "Error of the whole coherent curve, resolution included",
        ["what", "relative to R + 1e-6", "in σ of a curve with 10⁶ counts at R = 1, background 10"],
        rows,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", type=int, default=500, help="random profiles for each reflection")
    parser.add_argument("--angles", type=int, default=701)
    parser.add_argument("--tolerance", type=float, default=1e-4, help="tolerance that the graded lamellae aim at")
    parser.add_argument("--only", help="one reflection: " + ", ".join(reflections()))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    space: ParameterSpace = implanted_space() + TiedDamage().space
    print(_bench.machine())
    print(
        f"{options.profiles} random profiles a reflection, {options.angles} angles, seed {options.seed}, "
        f"tolerance {options.tolerance:g}"
    )
    rows, worst = [], []
    for name, reflection in reflections().items():
        if options.only not in (None, name):
            continue
        rng = np.random.default_rng(options.seed)
        cases = [
            measure(reflection, _bench.draw(space, rng), options.angles, options.tolerance)
            for _ in range(options.profiles)
        ]
        for label, errors, counts in (
            ("graded", [c.graded for c in cases], [c.count for c in cases]),
            ("uniform, 20 Å", [c.classic for c in cases], [c.classic_count for c in cases]),
        ):
            middle, high, top = np.quantile(errors, [0.5, 0.95, 1.0])
            above = np.mean(np.array(errors) > options.tolerance)
            numbers = [f"{np.median(counts):.0f}", f"{max(counts)}"]
            rows.append([name, label, *numbers, *(f"{e:.1e}" for e in (middle, high, top)), f"{100 * above:.1f} %"])
        bad = max(cases, key=lambda c: c.graded)
        profile = ", ".join(f"{key} {value:.4g}" for key, value in bad.values.items())
        worst.append([name, f"{bad.graded:.1e}", f"{max(c.doubt for c in cases):.0e}", profile])
    above = f"above {options.tolerance:g}"
    _bench.table(
        "Error of the coherent reflectivity, relative to R + 1e-6",
        ["reflection", "lamellae", "number (median)", "(max)", "error (median)", "95 %", "max", above],
        rows,
    )
    header = ["reflection", "error", "doubt of exact", "profile"]
    _bench.table("The worst profiles of the graded lamellae", header, worst)
    whole()
    print(f"\nLoad average at the end {_bench.load()}.")


if __name__ == "__main__":
    main()
