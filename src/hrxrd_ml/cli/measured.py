"""A measured curve with what its experiment file says of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrxrd_ml.errors import ExperimentError

if TYPE_CHECKING:
    import xarray as xr

    from hrxrd_ml.io.experiment.settings import Experiment, Sample


def read_measured(curve: Path, experiment: Path | None = None) -> tuple[xr.DataArray, Experiment]:
    """Return curve and experiment, the latter by default from the file beside the curve.

    Raises
    ------
    HrxrdError
        If one of them cannot be read, or there is no experiment file.
    """
    from hrxrd_ml.io.experiment.read import find_experiment, read_experiment
    from hrxrd_ml.io.read import read_curve

    path = experiment or find_experiment(curve)
    if path is None:
        if not curve.is_file():
            read_curve(curve, experiment=False)  # says so
        raise ExperimentError(
            f"{curve}: no experiment file {curve.with_suffix('.toml').name} beside it, which says crystal "
            "and reflection; write one, or give its path after the curve"
        )
    settings = read_experiment(path)
    return read_curve(curve, experiment=settings), settings


def read_any(curve: Path, experiment: Path | None = None) -> tuple[Any, Experiment | Sample]:
    """Return curve and experiment, or all curves of a sample and its file; as `read_measured`."""
    from hrxrd_ml.io.experiment.read import describes_sample, read_sample
    from hrxrd_ml.io.read import read_curve

    if experiment is not None or not curve.is_file() or not describes_sample(curve):
        return read_measured(curve, experiment)
    sample = read_sample(curve)
    return [read_curve(own.file, experiment=own.experiment) for own in sample.curves], sample
