"""Draw what each parameter of the implanted profile does to the strain and to the curve, for docs/profile.md.

Usage: python scripts/make_profile_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hrxrd_ml import Reflection, RockingCurveModel
from hrxrd_ml.io.files import atomic_path

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
MIDDLE = {
    "Dmax1": 0.008, "D01": 0.003, "L1": 5000.0, "Rp1": 3300.0, "D02": 0.002, "L2": 3000.0, "Rp2": -500.0,
    "damage": 0.4,
}  # fmt: skip
VARIED = {
    "Dmax1": (0.007, 0.009), "D01": (0.0015, 0.0045), "L1": (4500.0, 5500.0), "Rp1": (2700.0, 3900.0),
    "D02": (0.0012, 0.0032), "L2": (1500.0, 4500.0), "Rp2": (-5000.0, 0.0), "damage": (0.1, 1.2),
}  # fmt: skip
UNITS = {"L1": " Å", "Rp1": " Å", "L2": " Å", "Rp2": " Å"}
COLOURS = ("#0072b2", "#555555", "#d55e00")


def main() -> None:
    """Draw one row for each parameter: the strain (of damage: L) on the left, the curve on the right."""
    model = RockingCurveModel(Reflection("GGG", (4, 4, 4), "CuKa1"), axis_kind="offset", unit="arcsec")
    angles = np.arange(-1100.0, 200.0, 2.0)
    figure = Figure(figsize=(8.0, 14.0), layout="constrained")
    rows = figure.subplots(len(VARIED), 2, gridspec_kw={"width_ratios": (1.0, 1.6)})
    for (name, (low, high)), (left, right) in zip(VARIED.items(), rows, strict=True):
        for value, colour in zip((low, MIDDLE[name], high), COLOURS, strict=True):
            params = model.make_params(**{**MIDDLE, name: value}, scale=1e5, fwhm=15.0, background=3.0)
            values = {key: float(par.value) for key, par in params.items()}
            layer = model.simulation.layer(values, 0.03)
            drawn = layer.damage if name == "damage" else 100.0 * layer.strain
            left.plot(layer.depth.ravel(), drawn.ravel(), color=colour, label=f"{value:g}{UNITS.get(name, '')}")
            right.semilogy(angles, model.eval(params, x=angles), color=colour, lw=0.9)
        left.set(ylabel="Damage $L$" if name == "damage" else "Strain (%)", xlim=(0.0, 5600.0))
        left.legend(title=name, frameon=False, fontsize=7, title_fontsize=8)
        right.set(ylabel="Counts", xlim=(angles[0], angles[-1]))
    rows[-1][0].set_xlabel("Depth (Å)")
    rows[-1][1].set_xlabel("Δθ (arcsec)")
    with atomic_path(IMAGES / "profile_parameters.png") as temporary:
        figure.savefig(temporary, dpi=110)


if __name__ == "__main__":
    main()
