"""Whether error bars hold where the model is wrong: truths that no seven parameters describe, fitted with seven.

    python benchmarks/wrong_model.py --curves 300 --out /tmp/wrong

Truth: three Gaussians in depth, of which the sum is skewed as implantation profiles are (a slow rise, a steep end), a
weak strain that decays into the substrate, damage that follows a power of the strain, and a resolution with two unequal
tails.  Fit: the model as it comes, from its own guess.  What is asked is what users quote of a profile: largest strain,
its depth, thickness of the damaged layer, integrated strain.  ``deviation`` is the distance from the truth in stated
errors; the width of an interval is compared with the narrowest factor on it with which 95 % would be covered.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import hrxrd_ml as hx
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.inference.threads import begin_worker, one_thread
from hrxrd_ml.results.derived import profile_summary
from hrxrd_ml.specimen.damage import FunctionDamage
from hrxrd_ml.specimen.profile.function import FunctionProfile
from hrxrd_ml.units import ARCSEC

REFLECTIONS = {"GGG": (4, 4, 4), "Si": (0, 0, 4), "YIG": (8, 8, 8), "GaAs": (0, 0, 4), "UO2": (0, 0, 2)}
SHOWN = ("max_strain", "max_strain_depth", "damaged_thickness", "integrated_strain")
POINTS = 501

Row = dict[str, Any]


def spec(name: str, value: float) -> Any:
    """Return a parameter of the truth."""
    return hx.ParameterSpec(name, "", value, -np.inf, np.inf, True, name)


def truth(crystal: str, rng: np.random.Generator) -> tuple[hx.RockingCurveModel, dict[str, float]]:
    """Draw a sample and its measurement: the model that makes the curve, and its parameters."""
    largest, reach = float(np.exp(rng.uniform(np.log(2e-3), np.log(1.2e-2)))), rng.uniform(1500.0, 6000.0)
    centres, widths = np.sort(rng.uniform(0.0, 0.75, 3)), rng.uniform(0.12, 0.35, 3)
    heights, skew, skin = rng.uniform(0.2, 1.0, 3), rng.uniform(0.0, 0.6), rng.uniform(0.0, 0.03)

    def shape(z: Any) -> Any:
        t = z / reach
        return sum(
            h * np.exp(-0.5 * ((t - c) / (w * (1.0 - skew * np.tanh((t - c) / w)))) ** 2)
            for h, c, w in zip(heights, centres, widths, strict=True)
        ) + skin * np.exp(-0.8 * t)

    top = float(shape(np.linspace(0.0, 2.0 * reach, 2001)).max())
    power, level = rng.uniform(0.7, 1.8), float(np.exp(rng.uniform(np.log(0.03), np.log(0.5))))
    profile = FunctionProfile(lambda z, top, depth: top * shape(z), (spec("top", largest / top), spec("depth", 2.2 * reach)))
    damage = FunctionDamage(lambda z, worst: worst * (shape(z) / top) ** power, (spec("worst", level),))
    model = hx.RockingCurveModel(
        hx.Reflection(crystal, REFLECTIONS[crystal]), profile=profile, damage=damage, resolution="split_pseudo_voigt",
        axis_kind="offset", unit="arcsec",
    )  # fmt: skip
    values = {"scale": float(np.exp(rng.uniform(np.log(3e4), np.log(1e6)))), "background": rng.uniform(1.0, 10.0)}
    values |= {"fwhm": rng.uniform(8.0, 25.0), "eta": rng.uniform(0.1, 0.5), "asymmetry": rng.uniform(-0.3, 0.3)}
    values |= {"tail": rng.uniform(0.8, 1.5), "correlation_length": rng.uniform(40.0, 300.0)}
    return model, {name: float(value) for name, value in values.items()}


def derived(result: hx.RockingCurveResult, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return what users quote, for rows of the free parameters."""
    model, params, found = result.model, result.params.copy(), []
    for row in rows:
        for name, value in zip(result.var_names, row, strict=True):
            params[name].value = value
        found.append(profile_summary(model.simulation, model.space.clip(params.valuesdict(), bounds=False)))
    return {name: np.array([each[name] for each in found]) for name in SHOWN}
