"""Spline fits of implants 0.7 to 5 µm deep, from the guess: how many come down to the noise.

Run by hand: ``python benchmarks/deep_implants.py [--curves 60] [--seed 1]``. Ions of some MeV lose their energy almost
without damage before they stop: a weak strain from the surface on, and a peak at the end of their range. Of several
crystals, with counting noise; the fringes of the whole depth are finer than the points of most scans.
"""

import argparse

import _bench
import _shapes
import numpy as np

CRYSTALS = ("GGG", "Si", "6H-SiC", "3C-SiC", "diamond", "GaN", "SrTiO3", "LiNbO3", "YSZ", "UO2", "Ge", "GaAs")


def implant(rng: np.random.Generator, depth: float) -> tuple[_shapes.FloatArray, _shapes.FloatArray]:
    """Strain of electronic stopping, weak and declining or rising, and a peak with a longer front than back."""
    back = rng.uniform(0.02, 0.06) * depth
    front, middle = rng.uniform(1.0, 3.0) * back, depth - 4.0 * back
    z = np.linspace(0.0, depth, 2000)
    weak = rng.uniform(0.01, 0.15) * (1.0 + rng.uniform(-0.5, 1.0) * z / depth)
    strain = weak / (1.0 + np.exp((z - middle) / (0.7 * back)))
    strain += np.exp(-0.5 * ((z - middle) / np.where(z < middle, front, back)) ** 2)
    return z, strain / strain.max() * np.clip((depth - z) / back, 0.0, 1.0) ** 2


def main() -> None:
    """Draw, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the curves")
    options = parser.parse_args()
    print(_bench.machine())
    choice = _shapes.reflections(CRYSTALS)

    def cases():  # type: ignore[no-untyped-def]
        for number in range(options.curves) if options.only is None else options.only:
            rng = np.random.default_rng([options.seed, number])
            reflection = choice[int(rng.integers(len(choice)))]
            depth = float(np.exp(rng.uniform(np.log(7000.0), np.log(50_000.0))))
            yield _shapes.draw("implant", implant, reflection, depth, rng)

    rows = []
    for number, row in enumerate(_shapes.fits(cases())):
        rows.append(row)
        print(f"{number} {row.case.reflection.crystal.name} {row.excess:.1f} {row.seconds:.1f} s", flush=True)
    _shapes.report(f"Deep implants, seed {options.seed}", rows)


if __name__ == "__main__":
    main()
