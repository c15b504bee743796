"""Draw how the peak of a bare substrate is made of the parts of a diffractometer, for docs/diffractometer.md.

Usage: python scripts/make_diffractometer_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hrxrd_ml import Diffractometer, Reflection, RockingCurveModel
from hrxrd_ml.io.files import atomic_path

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
CRYSTALS = ("Si 111", "Ge 111")
COLOURS = ("#999999", "#56b4e9", "#0072b2", "#e69f00", "#000000")
PANELS = {(4, 4, 4): (-80.0, 110.0), (8, 8, 8): (-260.0, 330.0)}
WINDOW, BEND, REST = 1.3e-3, 0.022, 8.0
"""Δλ/λ, 1/m, arcsec."""


def steps(hkl: tuple[int, int, int]) -> list[tuple[str, Diffractometer, dict[str, float]]]:
    """Return part after part: what is added, the diffractometer that has it, and values."""
    band = Diffractometer(1.5405929, bandwidth=1e-6)  # so narrow that only the crystal itself is seen
    line, whole = Diffractometer("CuKa1"), Diffractometer("CuKa1", CRYSTALS, beam_height=10.0, sample_length=10.0)
    crystals = Diffractometer("CuKa1", CRYSTALS)
    return [
        ("Darwin curve of the sample", band, {"fwhm": 0.5}),
        ("line of the tube, no crystal", line, {"fwhm": 0.5}),
        ("line behind the monochromator", crystals, {"fwhm": 0.5, "line_window": WINDOW}),
        ("and the sample bent", whole, {"fwhm": 0.5, "line_window": WINDOW, "bend": BEND}),
        ("and a Gaussian for the rest", whole, {"fwhm": REST, "line_window": WINDOW, "bend": BEND}),
    ]


def main() -> None:
    """Draw one panel for each reflection."""
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    for (hkl, (low, high)), axes in zip(PANELS.items(), figure.subplots(1, 2), strict=True):
        angles = np.arange(low, high, (high - low) / 800.0)
        for (label, diffractometer, values), colour in zip(steps(hkl), COLOURS, strict=True):
            model = RockingCurveModel(
                Reflection("GGG", hkl), profile="none", diffractometer=diffractometer, axis_kind="offset", unit="arcsec"
            )
            curve = model.eval(model.make_params(scale=1.0, background=0.0, **values), x=angles)
            style = "--" if colour == COLOURS[-1] else "-"
            axes.plot(angles, curve / curve.max(), style, color=colour, lw=1.2, label=label)
        axes.set(title=f"GGG {''.join(map(str, hkl))}", xlabel="Δθ (arcsec)", xlim=(low, high), ylim=(0.0, 1.05))
    figure.axes[0].set_ylabel("Intensity over the maximum")
    figure.axes[1].legend(frameon=False, fontsize=7, loc="upper right")
    with atomic_path(IMAGES / "diffractometer_parts.png") as temporary:
        figure.savefig(temporary, dpi=110)


if __name__ == "__main__":
    main()
