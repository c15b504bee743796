"""Experiment files: finding, reading and checking them."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hrxrd_ml.errors import ExperimentError, InputFileError
from hrxrd_ml.io.experiment.settings import Experiment
from hrxrd_ml.io.experiment.table import Table
from hrxrd_ml.reading import read_whole

MAX_FILE_SIZE = 1_000_000
"""Largest experiment file read [bytes]; whatever is larger is no experiment file."""


def find_experiment(curve_path: str | os.PathLike[str]) -> Path | None:
    """Path of the experiment file beside a curve (same stem, suffix ``.toml``), or None if there is none."""
    path = Path(curve_path)
    beside = path.with_suffix(".toml") if path.name else path
    return beside if beside.is_file() else None


def read_experiment(path: str | os.PathLike[str]) -> Experiment:
    """Read and check an experiment file.

    Raises
    ------
    ExperimentError
        If the file cannot be read, is not TOML, or holds an unknown key, a wrong type or an impossible value.
    """
    path = Path(path)
    try:
        text = read_whole(path, MAX_FILE_SIZE).decode("utf-8-sig")
        data = tomllib.loads(text.replace("\r\n", "\n"))
    except FileNotFoundError:
        raise ExperimentError(f"{path}: no such experiment file; give the path of a TOML file") from None
    except OSError as error:
        raise ExperimentError(f"{path}: cannot read the experiment file: {error.strerror}") from error
    except InputFileError as error:
        raise ExperimentError(f"{path}: no experiment file, which is a small TOML text: {error}") from error
    except UnicodeDecodeError as error:
        raise ExperimentError(f"{path}: not a TOML text: byte {error.start} is not UTF-8") from error
    except (ValueError, RecursionError) as error:  # tomllib raises others than its own, for very long integers
        hint = "" if path.suffix.lower() == ".toml" else "; expected an experiment file (.toml)"
        raise ExperimentError(f"{path}: not valid TOML: {str(error) or 'nested too deeply'}{hint}") from error
    return experiment_from_mapping(data, source=str(path), folder=path.parent, path=path)


def experiment_from_mapping(
    data: Mapping[str, Any],
    *,
    source: str = "experiment",
    folder: Path | None = None,
    path: Path | None = None,
) -> Experiment:
    """Check what a TOML file would hold and make an `Experiment` of it.

    Parameters
    ----------
    data
        Sections, as ``tomllib`` would return them.
    source
        Name that messages begin with.
    folder
        Folder that paths of CIF files are relative to; the working directory if None.
    path
        The file this came from, if any.

    Raises
    ------
    ExperimentError
        For every unknown key, wrong type or impossible value.
    """
    sections = ("reflection", "axis", "intensity", "sample", "diffractometer", "model", "parameters", "fit")
    top = Table(data, source, "", sections, folder or Path())
    # What is not written of a model follows from the sample, so that there always is one to read.
    experiment = replace(top, data={"model": {}, **top.data}).fill(Experiment, path=path)
    if experiment.diffractometer is not None and "resolution" in top.data.get("model", {}):
        raise ExperimentError(
            f"{source}: [model] resolution is a line shape that is fitted, and [diffractometer] declares the parts "
            "that make it; leave one of them out"
        )
    if experiment.model.resolution == "double_crystal" and not experiment.reflection.monochromator:
        raise ExperimentError(
            f'{source}: [model] resolution = "double_crystal" needs the crystals of the monochromator; '
            'give [reflection] monochromator, such as ["Si 111", "Ge 111"]'
        )
    return experiment
