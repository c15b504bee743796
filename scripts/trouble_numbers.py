"""Fit what is wrong without an error: the numbers of docs/troubleshooting.md.

Usage: python scripts/trouble_numbers.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from hrxrd_ml import fit_curve, read_curve, read_experiment
from hrxrd_ml.cli import main as cli
from hrxrd_ml.guess.strategy import REFINEMENTS
from hrxrd_ml.io.experiment.settings import Experiment

SAMPLE = """[reflection]
crystal = "GGG"
hkl = [4, 4, 4]
wavelength = "CuKa1"

[axis]
kind = "omega"
unit = "deg"
"""

Change = Callable[[xr.DataArray, Experiment], tuple[xr.DataArray, Experiment]]


def shifted(degrees: float) -> Change:
    """Move the axis."""

    def change(curve: xr.DataArray, experiment: Experiment) -> tuple[xr.DataArray, Experiment]:
        return curve.assign_coords(x=("x", curve["x"].values + degrees, curve["x"].attrs)), experiment

    return change


def reflected(**changes: object) -> Change:
    """Say another crystal or wavelength."""
    return lambda curve, experiment: (curve, replace(experiment, reflection=replace(experiment.reflection, **changes)))


def cut(below: float) -> Change:
    """Leave out what lies above a distance below the peak."""
    return lambda curve, experiment: (curve[curve["x"].values < peak(curve) - below], experiment)


def peak(curve: xr.DataArray) -> float:
    """Return the angle of the highest point."""
    return float(curve["x"][int(curve.argmax())])


def mirrored(curve: xr.DataArray, experiment: Experiment) -> tuple[xr.DataArray, Experiment]:
    """Mirror the curve about its peak."""
    x = (2.0 * peak(curve) - curve["x"].values)[::-1]
    return curve.copy(data=curve.values[::-1]).assign_coords(x=("x", x, curve["x"].attrs)), experiment


def normalised(curve: xr.DataArray, experiment: Experiment) -> tuple[xr.DataArray, Experiment]:
    """Divide by the highest point."""
    values = np.round(curve / curve.max(), 6)
    return values.assign_attrs(kind="intensity").assign_coords(x=curve["x"]), experiment


CASES: dict[str, Change] = {
    "as it is": lambda curve, experiment: (curve, experiment),
    "0.4° added": shifted(0.4),
    "1° added": shifted(1.0),
    "1.5443 Å": reflected(wavelength=1.5443),
    "YIG": reflected(crystal="YIG"),
    "without what lies above 0.02° below the peak": cut(0.02),
    "without what lies above 0.14° below the peak": cut(0.14),
    "normalised": normalised,
    "mirrored": mirrored,
}


def main() -> None:
    """Simulate the curve and fit it in every wrong way."""
    with tempfile.TemporaryDirectory() as folder:
        settings, data = Path(folder) / "sample.toml", Path(folder) / "sample.csv"
        settings.write_text(SAMPLE, encoding="utf-8")
        cli.main(["simulate", str(settings), "--points", "301", "--noise", "--seed", "1", "--out", str(data)])
        experiment = read_experiment(settings)
        curve = read_curve(data, experiment=experiment)
    fit_curve(curve, experiment)  # compiles
    for name, change in CASES.items():
        begun = time.perf_counter()
        try:
            fit = fit_curve(*change(curve, experiment))
        except ValueError as error:
            print(f"{name}: {error}")
            continue
        result, wrong = fit.result, fit.result.params
        shown = ", ".join(
            f"{n} = {wrong[n].value:.5g} ± {wrong[n].stderr or 0.0:.2g}" for n in ("Dmax1", "offset", "scale")
        )
        free = [n for n in REFINEMENTS if n in wrong and wrong[n].vary]
        ends = sum("bound: its" in note for note in result.bound_notes)
        print(
            f"{name}: χ²/N = {result.pearson_chi2():.3g}, {shown}; freed {', '.join(free) or 'nothing'}; "
            f"{ends} at bounds; {time.perf_counter() - begun:.1f} s; "
            f"guess {dict(fit.guess['Dmax1'].user_data['guess'])}"
        )


if __name__ == "__main__":
    main()
