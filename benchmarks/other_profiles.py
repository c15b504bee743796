"""Spline fits of profiles outside the seven-parameter family, from the guess: how many come down to the noise.

Run by hand: ``python benchmarks/other_profiles.py [--curves 40] [--seed 1]``. Profiles skewed as implantation codes
give them, two Gaussians, boxes and decays in turn, of random crystals, with counting noise.
"""

import argparse

import _bench
import _shapes
import numpy as np

FloatArray = _shapes.FloatArray


def skewed(rng: np.random.Generator, depth: float) -> tuple[FloatArray, FloatArray]:
    """A peak with a long front and a short back, on a front that declines."""
    z = np.linspace(0.0, depth, 400)
    peak, back = rng.uniform(0.5, 0.75) * depth, rng.uniform(0.08, 0.16) * depth
    front = rng.uniform(1.5, 3.5) * back
    surface = rng.uniform(0.05, 0.4)
    strain = np.exp(-0.5 * ((z - peak) / np.where(z < peak, front, back)) ** 2)
    strain += surface / (1.0 + np.exp((z - peak) / (0.5 * back)))
    return _ended(z, strain)


def two_gaussians(rng: np.random.Generator, depth: float) -> tuple[FloatArray, FloatArray]:
    """Two peaks of different height, as two energies make them."""
    z = np.linspace(0.0, depth, 400)
    first, second = rng.uniform(0.1, 0.35) * depth, rng.uniform(0.5, 0.75) * depth
    narrow, wide = rng.uniform(0.1, 0.18, size=2) * depth
    strain = rng.uniform(0.4, 1.2) * np.exp(-0.5 * ((z - first) / narrow) ** 2)
    return _ended(z, strain + np.exp(-0.5 * ((z - second) / wide) ** 2))


def box(rng: np.random.Generator, depth: float) -> tuple[FloatArray, FloatArray]:
    """A plateau with soft edges."""
    z = np.linspace(0.0, depth, 400)
    edge, soft = rng.uniform(0.5, 0.75) * depth, rng.uniform(0.06, 0.12) * depth
    slope = rng.uniform(-0.3, 0.3)
    return _ended(z, (1.0 + slope * z / edge) / (1.0 + np.exp((z - edge) / soft)))


def decay(rng: np.random.Generator, depth: float) -> tuple[FloatArray, FloatArray]:
    """A strain that is largest at the surface."""
    z = np.linspace(0.0, depth, 400)
    return _ended(z, np.exp(-((z / (rng.uniform(0.2, 0.45) * depth)) ** rng.uniform(1.0, 2.0))))


def _ended(z: FloatArray, strain: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Let a profile end at zero, its largest strain 1."""
    strain = strain * np.clip((z[-1] - z) / (0.15 * z[-1]), 0.0, 1.0) ** 2
    return z, strain / strain.max()


SHAPES = {"skewed": skewed, "two Gaussians": two_gaussians, "box": box, "decay": decay}


def main() -> None:
    """Draw, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the curves")
    options = parser.parse_args()
    print(_bench.machine())
    choice = _shapes.reflections(_shapes.crystals())

    def cases():  # type: ignore[no-untyped-def]
        for number in range(options.curves) if options.only is None else options.only:
            rng = np.random.default_rng([options.seed, number])
            name = list(SHAPES)[number % len(SHAPES)]
            reflection = choice[int(rng.integers(len(choice)))]
            yield _shapes.draw(name, SHAPES[name], reflection, float(rng.uniform(800.0, 6000.0)), rng)

    rows = []
    for number, row in enumerate(_shapes.fits(cases())):
        rows.append(row)
        print(
            number, row.case.name, row.case.reflection.crystal.name, f"{row.excess:.1f} {row.seconds:.1f} s", flush=True
        )
    _shapes.report(f"Other profiles, seed {options.seed}", rows)


if __name__ == "__main__":
    main()
