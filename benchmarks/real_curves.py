"""Fits of measured curves by the path of ``hrxrd-ml fit``: time, quality, parameters, pictures.

Run by hand: ``python benchmarks/real_curves.py DATA_DIR [--out DIR]``; DATA_DIR holds curves with an experiment
file of the same stem beside each. GGG 444 curves are fitted a second time with B-splines (20 strain and 10
damage coefficients) instead of the profile that their file names.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import _bench
import numpy as np
import xarray as xr

from hrxrd_ml import HrxrdError, build_model, fit_curve, read_curve, read_experiment
from hrxrd_ml.cli import outputs
from hrxrd_ml.cli.run import Fit
from hrxrd_ml.io.experiment.settings import Experiment
from hrxrd_ml.results import tables
from hrxrd_ml.results.dataset import to_dataset

PEAK = 100.0
"""Half width of the region of the substrate peak [arcsec]."""


@dataclass(frozen=True)
class Case:
    """A curve and how to fit it."""

    name: str
    curve: xr.DataArray
    experiment: Experiment


def cases(folder: Path, only: str | None) -> Iterator[Case]:
    """Every curve of a folder, with its variants."""
    for path in sorted(folder.glob("*.toml")):
        data = [p for p in sorted(folder.glob(f"{path.stem}.*")) if p.suffix != ".toml"]
        if not data or (only and only not in path.stem):
            continue
        experiment = read_experiment(path)
        curve = read_curve(data[0], experiment=experiment)
        yield Case(path.stem, curve, experiment)
        settings = experiment.reflection
        if settings.crystal == "GGG" and settings.hkl == (4, 4, 4):
            model = replace(experiment.model, profile="bspline", damage="bspline", strain_knots=20, damage_knots=10)
            yield Case(f"{path.stem}, B-splines 20 + 10", curve, replace(experiment, model=model))


def quality(ds: xr.Dataset) -> tuple[str, str, str]:
    """Pearson's χ²/N of all points, of those off the substrate peak, and of those on it.

    Counts have the Poisson variance max(μ, 1); other data the standard errors of the dataset.
    """
    data, fit, used = (np.asarray(ds[name]) for name in ("data", "best_fit", "used"))
    if ds.attrs["statistics"] == "poisson":
        squares = (data - fit) ** 2 / np.maximum(fit, 1.0)
    else:
        squares = ((data - fit) / np.asarray(ds["sigma"])) ** 2
    angle = np.asarray(ds["dtheta"])
    peak = np.abs(angle - angle[np.argmax(data)]) <= PEAK
    return tuple(f"{squares[used & region].mean():.2f}" for region in (used, ~peak, peak))  # type: ignore[return-value]


def report(case: Case, fit: Fit, ds: xr.Dataset) -> None:
    """Print start, result and standard error of every parameter that varied."""
    rows = []
    for name, par in fit.result.params.items():
        if not par.vary:
            continue
        value, stderr = tables.with_error(par.value, par.stderr or 0.0)
        rows.append([name, f"{fit.guess[name].value:.6g}", value, stderr, str(ds["unit"].sel(parameter=name).item())])
    _bench.table(f"{case.name}: parameters", ["name", "start", "fit", "±", "unit"], rows)
    for note in fit.result.bound_notes:
        print(f"- {note}")


def main() -> None:
    """Fit all curves and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="DATA_DIR", type=Path)
    parser.add_argument("--out", type=Path, help="folder for a picture and the files of each fit")
    parser.add_argument("--only", help="part of the names of the curves to fit")
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp(prefix="real-curves-"))
    print(_bench.machine())
    rows, failed = [], []
    for case in cases(options.folder, options.only):
        try:
            build_model(case.experiment, case.curve)
            if not rows:
                fit_curve(case.curve, case.experiment)  # compiles
            fit = fit_curve(case.curve, case.experiment)
        except HrxrdError as error:
            failed.append([case.name, str(error)])
            continue
        folder = out / case.name.replace(", ", "_").replace(" ", "_").replace("+", "and")
        folder.mkdir(parents=True, exist_ok=True)
        ds = to_dataset(fit.result, fit.guess)
        failed += [[case.name, reason] for reason in outputs.write_fit(fit, ds, folder)]
        report(case, fit, ds)
        rows.append(
            [
                case.name,
                f"{ds.sizes['x']}",
                f"{len(fit.result.var_names)}",
                f"{fit.seconds['guess']:.2f}",
                f"{fit.seconds['fit']:.2f}",
                f"{fit.result.nfev}",
                *quality(ds),
                f"{ds.attrs['log10_rms']:.3f}",
                "yes" if fit.result.success else "no",
            ]
        )
    header = ["curve", "points", "free", "guess (s)", "fit (s)", "evaluations", "χ²/N", "off the peak", "on it"]
    header += ["rms log₁₀", "converged"]
    _bench.table("Measured curves", header, rows)
    if failed:
        _bench.table("Not fitted", ["curve", "why"], failed)
    print(f"\nOff the peak: more than {PEAK:g}″ from the highest point. Pictures in {out}.")
    print(f"Load average at the end {_bench.load()}.")


if __name__ == "__main__":
    main()
