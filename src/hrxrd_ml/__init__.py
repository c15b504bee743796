"""Fitting of high-resolution X-ray diffraction rocking curves with lmfit.

``import hrxrd_ml as hx`` gives every name below; what each needs is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrxrd_ml import plot
    from hrxrd_ml._saving import load_model, load_result
    from hrxrd_ml.crystal import Crystal
    from hrxrd_ml.errors import HrxrdError
    from hrxrd_ml.experiment import read_experiment
    from hrxrd_ml.html_report import report
    from hrxrd_ml.io import make_curve, read_curve
    from hrxrd_ml.model import RockingCurveModel, RockingCurveResult
    from hrxrd_ml.parameters import ParameterSpace, ParameterSpec
    from hrxrd_ml.posterior import sample
    from hrxrd_ml.reflection import Reflection, Susceptibility
    from hrxrd_ml.results import compare, save_dataset, to_dataset
    from hrxrd_ml.run import build_model, fit_curve, simulate_curve
    from hrxrd_ml.sample.film import Film
    from hrxrd_ml.simulate import RockingCurve

__all__ = [
    "Crystal",
    "Film",
    "HrxrdError",
    "ParameterSpace",
    "ParameterSpec",
    "Reflection",
    "RockingCurve",
    "RockingCurveModel",
    "RockingCurveResult",
    "Susceptibility",
    "__version__",
    "build_model",
    "compare",
    "fit_curve",
    "load_model",
    "load_result",
    "make_curve",
    "plot",
    "read_curve",
    "read_experiment",
    "report",
    "sample",
    "save_dataset",
    "simulate_curve",
    "to_dataset",
]

_HOMES = {
    "Crystal": "crystal",
    "Film": "sample.film",
    "HrxrdError": "errors",
    "ParameterSpace": "parameters",
    "ParameterSpec": "parameters",
    "Reflection": "reflection",
    "RockingCurve": "simulate",
    "RockingCurveModel": "model",
    "RockingCurveResult": "model",
    "Susceptibility": "reflection",
    "build_model": "run",
    "compare": "results",
    "fit_curve": "run",
    "load_model": "_saving",
    "load_result": "_saving",
    "make_curve": "io",
    "read_curve": "io",
    "read_experiment": "experiment",
    "report": "html_report",
    "sample": "posterior",
    "save_dataset": "results",
    "simulate_curve": "run",
    "to_dataset": "results",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name == "plot":
        value = importlib.import_module(f"{__name__}.plot")
    elif name == "__version__":
        value = _version()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version(__name__)
    except metadata.PackageNotFoundError:  # run from a source tree that was not installed
        return "0+unknown"
