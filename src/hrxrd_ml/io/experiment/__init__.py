"""Experiment files: the TOML beside a curve that says what no data file says.

Every section is one frozen dataclass; every unknown key, wrong type or impossible value is an
`hrxrd_ml.errors.ExperimentError` that names the file, the key and what was expected.
"""

from hrxrd_ml.io.experiment.read import experiment_from_mapping, find_experiment, read_experiment
from hrxrd_ml.io.experiment.settings import (
    DAMAGES,
    DATA_KINDS,
    DIFFUSES,
    EXITS,
    METHODS,
    PROFILES,
    RESOLUTIONS,
    AxisSettings,
    Experiment,
    FitSettings,
    IntensitySettings,
    LayerSettings,
    ModelSettings,
    ReflectionSettings,
    SampleSettings,
    SusceptibilitySettings,
)

__all__ = [
    "DAMAGES",
    "DATA_KINDS",
    "DIFFUSES",
    "EXITS",
    "METHODS",
    "PROFILES",
    "RESOLUTIONS",
    "AxisSettings",
    "Experiment",
    "FitSettings",
    "IntensitySettings",
    "LayerSettings",
    "ModelSettings",
    "ReflectionSettings",
    "SampleSettings",
    "SusceptibilitySettings",
    "experiment_from_mapping",
    "find_experiment",
    "read_experiment",
]
