"""Make the bundled demo curve, src/hrxrd_ml/data/demo.csv, from the experiment file beside it.

Usage: python scripts/make_demo.py [FILE]
"""

import sys
from pathlib import Path

import numpy as np

from hrxrd_ml import read_experiment, simulate_curve
from hrxrd_ml.cli.outputs import simulation_text
from hrxrd_ml.io.files import write_text

DATA = Path(__file__).resolve().parents[1] / "src" / "hrxrd_ml" / "data"
SEED = 20_240_229
TRUTH = {
    "Dmax1": 0.0082,
    "D01": 0.0011,
    "L1": 5100.0,
    "Rp1": 3450.0,
    "D02": 0.0032,
    "L2": 2700.0,
    "Rp2": -150.0,
    "damage": 0.36,
    "correlation_length": 70.0,
    "substrate_damage": 0.006,
    "substrate_correlation_length": 2200.0,
    "scale": 2.5e5,
    "offset": -3.0,
    "fwhm": 13.0,
    "eta": 0.25,
    "background": 12.0,
}
"""An implanted garnet: strain up to 0.8 %, half a micrometre deep."""


def main(path: Path) -> None:
    """Simulate the curve and write it."""
    angles = np.arange(-1300.0, 302.0, 4.0)
    curve, values = simulate_curve(read_experiment(DATA / "demo.toml"), angles, TRUTH, noise=True, seed=SEED)
    origin = (
        "by scripts/make_demo.py of hrxrd_ml: GGG 444, Cu Ka1, implanted layer, "
        f"Poisson noise, seed {SEED}\noffset from the Bragg angle of the substrate [arcsec], raw counts"
    )
    write_text(path, simulation_text(curve, values, origin))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "demo.csv")
