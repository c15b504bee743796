"""What the command line leaves behind: the files of a fit and of a posterior, tables for the terminal, and the texts of
start values and of simulated curves.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hrxrd_ml.cli.run import Fit
from hrxrd_ml.errors import InputFileError, in_short
from hrxrd_ml.guess.task import guess_by
from hrxrd_ml.io.files import write_text
from hrxrd_ml.reading import read_whole
from hrxrd_ml.results.dataset import curves_of, log10_rms, save_dataset

if TYPE_CHECKING:
    from lmfit import Parameters

FILES = ("fit.json", "fit.csv", "fit.nc", "fit.png")
CHAIN = "chain.h5"
POSTERIOR_FILES = ("posterior.nc", "posterior.png", "corner.png", "trace.png")
COLUMNS = ("data", "sigma", "guess", "best_fit")
PREDICTED = ("data", "sigma", "prediction", "prediction_sigma", "residual")
_TRUTH = "# parameters:"


def files_of(dataset: xr.Dataset | xr.DataTree) -> tuple[str, ...]:
    """Return the names of the files of a fit; each of several curves has a table of its own."""
    tables = [f"fit_{label}.csv" if label else "fit.csv" for label in curves_of(dataset)]
    return tuple(name for each in FILES for name in (tables if each == "fit.csv" else [each]))


def write_fit(fit: Fit, dataset: xr.Dataset | xr.DataTree, folder: str | os.PathLike[str]) -> list[str]:
    """Write all files of a fit into a folder that exists; return what could not be written, and why."""

    def draw(path: Path) -> None:
        from hrxrd_ml.results import plots

        plots.overview(dataset).savefig(path, dpi=300)

    text = json.dumps(record(fit), indent=1, ensure_ascii=False, allow_nan=False)

    def tabulate(curve: xr.Dataset) -> Writer:
        return lambda path: write_text(path, table(curve))

    writers: tuple[Writer, ...] = (
        lambda path: write_text(path, text + "\n"),
        *(tabulate(curve) for curve in curves_of(dataset).values()),
        lambda path: save_dataset(dataset, path),
        draw,
    )
    return write_each(dict(zip(files_of(dataset), writers, strict=True)), folder)


def write_predictions(predicted: Mapping[str, xr.Dataset], folder: str | os.PathLike[str]) -> list[str]:
    """Write a table and a figure of each curve that was predicted, by its label, as `write_fit`."""
    from hrxrd_ml.results import plots

    def draw(dataset: xr.Dataset) -> Writer:
        return lambda path: plots.prediction(dataset).savefig(path, dpi=300)

    def tabulate(dataset: xr.Dataset) -> Writer:
        return lambda path: write_text(path, table(dataset, PREDICTED))

    writers: dict[str, Writer] = {}
    for label, dataset in predicted.items():
        writers |= dict(zip(predictions_of([label]), (tabulate(dataset), draw(dataset)), strict=True))
    return write_each(writers, folder)


def predictions_of(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the files of curves that were predicted."""
    return tuple(f"predicted_{label}.{kind}" for label in labels for kind in ("csv", "png"))


def write_posterior(
    posterior: xr.DataTree, dataset: xr.Dataset | xr.DataTree, folder: str | os.PathLike[str]
) -> list[str]:
    """Write all files of a posterior, and of the fit that it belongs to, as `write_fit`."""
    from hrxrd_ml.results import plots

    writers: tuple[Writer, ...] = (
        lambda path: save_dataset(posterior, path),
        lambda path: plots.bands(posterior, dataset).savefig(path, dpi=300),
        lambda path: plots.corner(posterior).savefig(path, dpi=200),
        lambda path: plots.trace(posterior).savefig(path, dpi=150),
    )
    return write_each(dict(zip(POSTERIOR_FILES, writers, strict=True)), folder)


Writer = Callable[[Path], object]


def write_each(writers: Mapping[str, Writer], folder: str | os.PathLike[str]) -> list[str]:
    """Write files by name; return of those that could not be written name and reason, for the others are there."""
    failed = []
    for name, write in writers.items():
        path = Path(folder) / name
        try:
            write(path)
        except Exception as error:  # whatever it is, it must not cost the results of the work that was done
            path.unlink(missing_ok=True)
            reason = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
            failed.append(f"{name} could not be written: {in_short(reason)}")
    return failed


def record(fit: Fit) -> dict[str, Any]:
    """What ``fit.json`` holds; numbers that are unknown or infinite are None."""
    result = fit.result
    return {
        "success": bool(result.success),
        "message": str(getattr(result, "message", "")),
        "nfev": int(result.nfev),
        "seconds": {name: round(value, 4) for name, value in fit.seconds.items()},
        "chisqr": _finite(result.chisqr),
        "redchi": _finite(result.redchi),
        "log10_rms": _finite(log10_rms(result)),
        "parameters": {
            name: {
                "value": _finite(par.value),
                "stderr": _finite(par.stderr),
                "min": _finite(par.min),
                "max": _finite(par.max),
                "vary": bool(par.vary),
                "expr": par.expr,
            }
            for name, par in result.params.items()
        },
        "guess": {name: _finite(par.value) for name, par in fit.guess.items()},
        "guess_by": guess_by(fit.guess),
    }


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def table(dataset: xr.Dataset, names: Sequence[str] = COLUMNS) -> str:
    """Text of ``fit.csv``: x in the unit of the input, data, sigma, guess, best_fit; or other columns."""
    columns = [np.asarray(dataset[name].values) for name in ("x", *names)]
    lines = [",".join(f"{value:.10g}" for value in row) for row in zip(*columns, strict=True)]
    return "\n".join([",".join(("x", *names)), *lines, ""])


def parameters_toml(params: Parameters) -> str:
    """Parameters as a ``[parameters]`` section: what an experiment file holds to start from them."""
    lines = ["[parameters]"]
    for name, par in params.items():
        limits = [f"{key} = {limit!r}" for key, limit in (("min", par.min), ("max", par.max)) if math.isfinite(limit)]
        own = [f"expr = {json.dumps(par.expr)}"] if par.expr else [f"value = {float(par.value)!r}"]
        fixed = [] if par.vary or par.expr else ["vary = false"]
        lines.append(f"{name} = {{ {', '.join([*own, *limits, *fixed])} }}")
    return "\n".join([*lines, ""])


# --- simulated curves ---


def simulation_text(curve: xr.DataArray, values: Mapping[str, float], origin: str) -> str:
    """Text of a file for a simulated curve: a header that says so and gives all parameters, two columns.

    `hrxrd_ml.read_curve` reads it; `read_truth` gives the parameters back.
    """
    axis = curve["x"]
    lines = ["# SIMULATED, not measured", *(f"# {line}" for line in origin.splitlines()), _TRUTH]
    lines += [f"#   {name} = {float(value)!r}" for name, value in values.items()]
    lines.append(f"{axis.attrs['kind']}_{axis.attrs['units']},{curve.name}")
    form = "d" if curve.name == "counts" else ".8g"
    counts = curve.values.astype(int) if curve.name == "counts" else curve.values
    lines += [f"{x:.10g},{value:{form}}" for x, value in zip(axis.values, counts, strict=True)]
    return "\n".join([*lines, ""])


def read_truth(path: str | os.PathLike[str]) -> dict[str, float]:
    """Parameters in the header of a simulated curve.

    Raises
    ------
    InputFileError
        If the file has no such header.
    """
    text = read_whole(path, 50_000_000).decode("utf-8")
    header = [line for line in text.splitlines() if line.startswith("#")]
    if _TRUTH not in header:
        raise InputFileError(f"{path}: expected a simulated curve with its parameters in the header")
    lines = header[header.index(_TRUTH) + 1 :]
    return {name: float(value) for name, value in tomllib.loads("\n".join(line[1:].strip() for line in lines)).items()}
