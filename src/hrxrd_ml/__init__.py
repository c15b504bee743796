"""Fitting of high-resolution X-ray diffraction rocking curves with lmfit.

``import hrxrd_ml as hx`` gives every name below; what each needs is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrxrd_ml.cli.run import build_joint_model, build_model, fit_curve, fit_curves, simulate_curve
    from hrxrd_ml.crystal.reflection import Reflection
    from hrxrd_ml.crystal.structure import Crystal
    from hrxrd_ml.crystal.susceptibility import Susceptibility
    from hrxrd_ml.errors import HrxrdError
    from hrxrd_ml.instrument.diffractometer import Diffractometer
    from hrxrd_ml.io.curve import make_curve
    from hrxrd_ml.io.experiment.read import read_experiment, read_sample
    from hrxrd_ml.io.read import read_curve
    from hrxrd_ml.model.joint import JointModel
    from hrxrd_ml.model.loading import load_model, load_result
    from hrxrd_ml.model.result import RockingCurveResult
    from hrxrd_ml.model.rocking_curve import RockingCurveModel
    from hrxrd_ml.parameters import ParameterSpace, ParameterSpec
    from hrxrd_ml.results import plots as plot
    from hrxrd_ml.results.dataset import compare, save_dataset, to_dataset
    from hrxrd_ml.results.html import report
    from hrxrd_ml.results.plan import Measurement, plan
    from hrxrd_ml.results.posterior import sample
    from hrxrd_ml.results.predict import predict
    from hrxrd_ml.results.words import in_words
    from hrxrd_ml.simulate import RockingCurve
    from hrxrd_ml.specimen.film import Film
    from hrxrd_ml.specimen.superlattice import Superlattice

__all__ = [
    "Crystal",
    "Diffractometer",
    "Film",
    "HrxrdError",
    "JointModel",
    "Measurement",
    "ParameterSpace",
    "ParameterSpec",
    "Reflection",
    "RockingCurve",
    "RockingCurveModel",
    "RockingCurveResult",
    "Superlattice",
    "Susceptibility",
    "__version__",
    "build_joint_model",
    "build_model",
    "compare",
    "fit_curve",
    "fit_curves",
    "in_words",
    "load_model",
    "load_result",
    "make_curve",
    "plan",
    "plot",
    "predict",
    "read_curve",
    "read_experiment",
    "read_sample",
    "report",
    "sample",
    "save_dataset",
    "simulate_curve",
    "to_dataset",
]

_HOMES = {
    "Crystal": "crystal.structure",
    "Diffractometer": "instrument.diffractometer",
    "Film": "specimen.film",
    "HrxrdError": "errors",
    "JointModel": "model.joint",
    "Measurement": "results.plan",
    "ParameterSpace": "parameters",
    "ParameterSpec": "parameters",
    "Reflection": "crystal.reflection",
    "RockingCurve": "simulate",
    "RockingCurveModel": "model.rocking_curve",
    "RockingCurveResult": "model.result",
    "Superlattice": "specimen.superlattice",
    "Susceptibility": "crystal.susceptibility",
    "build_joint_model": "cli.run",
    "build_model": "cli.run",
    "compare": "results.dataset",
    "fit_curve": "cli.run",
    "fit_curves": "cli.run",
    "in_words": "results.words",
    "load_model": "model.loading",
    "load_result": "model.loading",
    "make_curve": "io.curve",
    "plan": "results.plan",
    "predict": "results.predict",
    "read_curve": "io.read",
    "read_experiment": "io.experiment.read",
    "read_sample": "io.experiment.read",
    "report": "results.html",
    "sample": "results.posterior",
    "save_dataset": "results.dataset",
    "simulate_curve": "cli.run",
    "to_dataset": "results.dataset",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name == "plot":
        value = importlib.import_module(f"{__name__}.results.plots")
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
