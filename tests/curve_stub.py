"""A stand-in for a simulated rocking curve: a few Gaussians, quick, with the names and rules of the real parameters.

Derivatives are by complex step, so exact to rounding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hrxrd_ml import ParameterSpace
from hrxrd_ml.instrument.background import make_background
from hrxrd_ml.instrument.counting import base_space
from hrxrd_ml.instrument.resolution import Response, make_resolution
from hrxrd_ml.specimen.damage import TiedDamage
from hrxrd_ml.specimen.profile.implanted import implanted_space

ARCSEC = np.pi / 648_000.0


def stub_space() -> ParameterSpace:
    return (
        implanted_space()
        + TiedDamage().space
        + Response(make_resolution("gaussian")).space
        + make_background("constant").space
        + base_space()
    )


@dataclass
class StubBound:
    """Sum of a substrate peak and three layer peaks on a fixed axis; records the values that it is asked for."""

    dtheta: np.ndarray
    asked: list

    def _curve(self, v):
        u = (self.dtheta / ARCSEC - v["offset"]) * v["step"]

        def peak(position, height, width):
            return height * np.exp(-0.5 * ((u - position) / width) ** 2)

        damping = np.exp(-v["damage"])
        sum_ = peak(0.0, 1.0, v["fwhm"] / 2.3548)
        sum_ = sum_ + peak(-1.0e5 * v["Dmax1"], 1.0e-5 * v["L1"] * damping, 40.0 + 0.02 * v["Rp1"])
        sum_ = sum_ + peak(-1.0e5 * v["D01"], 0.03 * damping**0.5, 30.0)
        sum_ = sum_ + peak(-0.6e5 * v["D02"], 1.0e-5 * v["L2"], 30.0 - 0.02 * v["Rp2"])
        true = v["scale"] * sum_ + v["background"]
        return true / (1.0 + v["dead_time"] * true)

    def curve(self, values: Mapping[str, float]) -> np.ndarray:
        self.asked.append(dict(values))
        return self._curve(values)

    def jacobian(self, values: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(dict(values))
        columns = [np.imag(self._curve({**values, name: values[name] + 1.0e-30j})) / 1.0e-30 for name in names]
        return self._curve(values), np.stack(columns, axis=1) if columns else np.empty((len(self.dtheta), 0))


class StubCurve:
    """Has what `RockingCurveModel` needs of a simulation: ``space`` and ``bind``."""

    def __init__(self, space: ParameterSpace | None = None) -> None:
        self.space = stub_space() if space is None else space
        self.asked: list[dict[str, float]] = []

    def bind(self, dtheta: np.ndarray) -> StubBound:
        return StubBound(np.array(dtheta), self.asked)


TRUTH = {
    "Dmax1": 0.0082, "D01": 0.0043, "L1": 5200.0, "Rp1": 3500.0, "D02": 0.0026, "L2": 3000.0, "Rp2": -600.0,
    "damage": 0.3, "fwhm": 40.0, "background": 3.0, "scale": 2.0e4, "offset": 5.0,
}  # fmt: skip
"""Values that the tests simulate with."""
