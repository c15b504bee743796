"""Experiment files: finding, reading and checking them."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from hrxrd_ml.errors import ExperimentError, InputFileError
from hrxrd_ml.io.experiment.parameters import read_parameters
from hrxrd_ml.io.experiment.settings import (
    Candidate,
    CandidateSettings,
    CurveOfSample,
    Experiment,
    FitSettings,
    Sample,
)
from hrxrd_ml.io.experiment.table import Table, shown
from hrxrd_ml.io.experiment.values import text
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
    data = _toml(path)
    if "curve" in data:
        raise ExperimentError(
            f"{path}: this file describes several curves of one sample: fit them with hrxrd-ml fit {path.name}, or "
            "read it with hrxrd_ml.read_sample"
        )
    return experiment_from_mapping(data, source=str(path), folder=path.parent, path=path)


def describes_sample(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an experiment file with several ``[[curve]]`` tables."""
    return Path(path).suffix.lower() == ".toml" and "curve" in _toml(Path(path))


def read_sample(path: str | os.PathLike[str]) -> Sample:
    """Read and check an experiment file that describes several curves of one sample.

    Each ``[[curve]]`` names a ``file``, relative to this one, and has sections ``reflection``, ``axis``, ``intensity``
    and ``fit`` of its own, which add to those of the whole file and go before them. ``name`` begins the names of its
    own parameters; by default it is made of the indices, as in r444. One with ``predict = true`` is not fitted, but
    predicted from the others.

    Raises
    ------
    ExperimentError
        As for `read_experiment`.
    """
    path = Path(path)
    data = _toml(path)
    tables = data.get("curve")
    if not isinstance(tables, list) or not tables or not all(isinstance(each, Mapping) for each in tables):
        raise ExperimentError(f"{path}: expected tables [[curve]], each with a file, got {shown(tables)}")
    common = {name: value for name, value in data.items() if name not in _OF_FILE}
    curves: list[CurveOfSample] = []
    predicted: list[CurveOfSample] = []
    for place, own in enumerate(tables, start=1):
        table = Table(own, str(path), f"curve #{place}", ("file", "name", "predict", *_OF_CURVE), path.parent)
        table.require("file", "the path of a data file, relative to this one")
        merged = {**common, **({"fit": data["fit"]} if "fit" in data else {})}
        for section in _OF_CURVE:
            parts = [part.get(section, {}) for part in (data, own)]
            if not all(isinstance(part, Mapping) for part in parts):
                table.fail(section, "a table")
            if parts[0] or parts[1]:
                merged[section] = {**parts[0], **parts[1]}
        where = f"{path}: [[curve]] #{place}"
        experiment = experiment_from_mapping(merged, source=where, folder=path.parent, path=path)
        label = _label(table, experiment, [*curves, *predicted])
        if not isinstance(own.get("predict", False), bool):
            table.fail("predict", "true or false")
        chosen = predicted if own.get("predict") else curves
        chosen.append(CurveOfSample(label, path.parent / text(table, "file"), experiment))
    if not curves:
        raise ExperimentError(f"{path}: every [[curve]] is to be predicted; expected at least one that is fitted")
    top = Table(data, str(path), "", ("curve", "joint", "candidate", *_SECTIONS), path.parent)
    joint = Table(data.get("joint", {}), str(path), "joint", ("shared", "own"), path.parent)
    scopes = {key: _names(joint, key) for key in ("shared", "own") if key in joint}
    parameters = read_parameters(top, "parameters") if "parameters" in data else {}
    fit = top.inner(FitSettings, "fit", data.get("fit", {})).fill(FitSettings)
    found = _candidates(data, common, str(path), path.parent)
    return Sample(tuple(curves), parameters, fit, path=path, predicted=tuple(predicted), candidates=found, **scopes)


_SECTIONS = ("reflection", "axis", "intensity", "sample", "diffractometer", "model", "parameters", "fit")
_OF_CURVE = ("reflection", "axis", "intensity", "fit")
_OF_FILE = ("curve", "parameters", "joint", "fit", "candidate")


def _candidates(data: Mapping[str, Any], common: Mapping[str, Any], source: str, folder: Path) -> tuple[Candidate, ...]:
    """Return the curves that could be measured, each with a reflection of its own, which adds to that of the file."""
    tables = data.get("candidate", [])
    if not isinstance(tables, list) or not all(isinstance(each, Mapping) for each in tables):
        raise ExperimentError(f"{source}: expected tables [[candidate]], each with a range, got {shown(tables)}")
    found: list[Candidate] = []
    for place, own in enumerate(tables, start=1):
        section = f"candidate #{place}"
        Table(own, source, section, ("name", "reflection", *CandidateSettings.__dataclass_fields__), folder)
        scan = {name: value for name, value in own.items() if name not in ("name", "reflection")}
        settings = Table(scan, source, section, tuple(CandidateSettings.__dataclass_fields__), folder)
        parts = [part.get("reflection", {}) for part in (common, own)]
        if not all(isinstance(part, Mapping) for part in parts):
            raise ExperimentError(f"{source}: [{section}] reflection: expected a table, got {shown(parts[1])}")
        # Where another instrument's axis has its zero does not matter to a curve that nobody has measured.
        merged = {**common, "reflection": {**parts[0], **parts[1]}, "axis": {"kind": "offset", "unit": "arcsec"}}
        experiment = experiment_from_mapping(merged, source=f"{source}: [[candidate]] #{place}", folder=folder)
        names = Table(own, source, section, tuple(own), folder)
        found.append(Candidate(_label(names, experiment, found), experiment, settings.fill(CandidateSettings)))
    return tuple(found)


def _label(table: Table, experiment: Experiment, before: Sequence[CurveOfSample | Candidate]) -> str:
    """Return the label of a curve: what was given, or r and the indices, and a letter where that is taken."""
    taken = [curve.label for curve in before]
    if "name" in table:
        label = text(table, "name")
        if not label.isidentifier() or label in taken:
            table.fail("name", "a name of letters, digits and _ that no other curve has")
        return label
    plain = "r" + "".join(str(index).replace("-", "m") for index in experiment.reflection.hkl)
    return next(name for name in (plain, *(f"{plain}{letter}" for letter in ascii_lowercase)) if name not in taken)


def _names(table: Table, key: str) -> tuple[str, ...]:
    names = table.data[key]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        table.fail(key, 'a list of names of parameters, such as ["background"]')
    return tuple(names)


def _toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds."""
    try:
        content = read_whole(path, MAX_FILE_SIZE).decode("utf-8-sig")
        return tomllib.loads(content.replace("\r\n", "\n"))
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
    top = Table(data, source, "", (*_SECTIONS, "candidate"), folder or Path())
    # What is not written of a model follows from the sample, so that there always is one to read.
    given = {name: value for name, value in top.data.items() if name != "candidate"}
    candidates = _candidates(data, given, source, folder or Path()) if "candidate" in data else ()
    experiment = replace(top, data={"model": {}, **given}).fill(Experiment, path=path, candidates=candidates)
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
