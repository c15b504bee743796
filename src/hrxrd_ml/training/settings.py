"""Settings of data sets and trainings: TOML files, also the bundled ones."""

from __future__ import annotations

import os
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from hrxrd_ml.errors import ExperimentError, InputFileError, in_short
from hrxrd_ml.reading import read_whole


def read_toml(path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """Return the tables of a TOML file, or of a bundled one that is named without folder and suffix; and its name.

    Raises
    ------
    ExperimentError
        If there is no such file, or it is not TOML.
    """
    own = Path(path)
    bundled = files("hrxrd_ml.training") / "configs" / f"{own.name}.toml"
    if not own.is_file() and own.parent == Path(".") and not own.suffix and bundled.is_file():
        text, source = bundled.read_text(encoding="utf-8"), f"{own.name} (bundled)"
    else:
        try:
            text, source = read_whole(own, 1_000_000).decode("utf-8"), str(own)
        except (OSError, UnicodeDecodeError, InputFileError) as error:
            folder = files("hrxrd_ml.training") / "configs"
            names = ", ".join(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir()))
            raise ExperimentError(
                f"{own}: cannot be read as a TOML file ({error}); bundled settings: {names}"
            ) from error
    try:
        return tomllib.loads(text), source
    except (ValueError, RecursionError) as error:  # tomllib raises others than its own, for very long integers
        raise ExperimentError(f"{source}: not a TOML file: {in_short(error)}") from error
