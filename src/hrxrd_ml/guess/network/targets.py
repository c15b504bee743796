"""From the users' parameters to the coordinates in which the network answers, and back.

The coordinates are dimensionless: strains over the span of the window, depths times H and the span, and ratios between
0 and 1 where one parameter limits another.  Whatever the network answers, what comes back is inside all bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import ExperimentError, in_short
from hrxrd_ml.specimen.profile.implanted import implanted_space

PROFILE = implanted_space().names
"""Dmax1, D01, L1, Rp1, D02, L2, Rp2."""

NUISANCE = (
    "offset", "fwhm", "scale", "background", "damage", "correlation_length", "substrate_damage",
    "substrate_correlation_length",
)  # fmt: skip
"""What else the network starts; the rest begins at its default."""

RANGES = {"Dmax1": 0.030, "D01": 0.030, "L1": 6500.0, "Rp1": 5000.0, "D02": 0.030, "L2": 4500.0, "Rp2": 6500.0}
"""What an error is a percentage of."""


@dataclass(frozen=True)
class Frame:
    """Windows of a batch of curves, shape (n,) each, arrays or tensors: what makes parameters dimensionless.

    Attributes
    ----------
    span, peak, height
        Of the `window.Window`.
    normal : ndarray
        H cos(phi) [1/Å].
    per_arcsec : ndarray
        A second of arc on the strain axis.
    """

    span: Any
    peak: Any
    height: Any
    normal: Any
    per_arcsec: Any

    @classmethod
    def stack(cls, *columns: ArrayLike) -> Frame:
        """Return a frame of the five columns in order."""
        return cls(*(np.atleast_1d(np.asarray(column, dtype=float)) for column in columns))


@dataclass(frozen=True)
class Targets:
    """The coordinates of the answer.

    Attributes
    ----------
    kind : {"scaled", "linear"}
        "scaled": dimensionless, with nuisance parameters; for any experiment.  "linear": the seven parameters of the
        profile over their ranges; for one experiment.
    """

    kind: str = "scaled"

    def __post_init__(self) -> None:
        """Check the kind."""
        if self.kind not in ("scaled", "linear"):
            raise ExperimentError(f"unknown kind of answers {in_short(repr(self.kind))}; known: scaled, linear")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of the coordinates."""
        return PROFILE + NUISANCE if self.kind == "scaled" else PROFILE

    def encode(self, values: Mapping[str, Any], frame: Frame | None = None, arrays: Any = np) -> Any:
        """Return coordinates, shape (n, len(names)), of parameter values of shape (n,).

        ``arrays`` is the module whose arrays these are: numpy or torch.
        """
        v, log = values, arrays.log
        if self.kind == "linear":
            return arrays.column_stack([v[name] / RANGES[name] for name in PROFILE])
        assert frame is not None
        span, reach = frame.span, frame.normal * frame.span
        bow = -2.0 * v["Rp2"]
        columns = [
            log(v["Dmax1"] / span),
            v["D01"] / v["Dmax1"],
            log(v["L1"] * reach),
            v["Rp1"] / v["L1"],
            log(v["D02"] / span),
            v["L2"] / v["L1"],
            bow / (v["L2"] + bow),
            (v["offset"] * frame.per_arcsec + frame.peak) / (v["fwhm"] * frame.per_arcsec),
            log(v["fwhm"] * frame.per_arcsec / span),
            log(v["scale"] / frame.height),
            log((v["background"] + 0.03) / frame.height),
            log(v["damage"] + 0.02),
            log(v["correlation_length"] * reach),
            log(v["substrate_damage"] + 1e-4),
            log(v["substrate_correlation_length"] * reach),
        ]
        return arrays.column_stack(columns)

    def decode(self, y: FloatArray, frame: Frame | None = None) -> dict[str, FloatArray]:
        """Return feasible parameter values, shape (...), of coordinates of shape (..., len(names))."""
        c = np.moveaxis(np.asarray(y, dtype=float), -1, 0)
        if self.kind == "linear":
            return feasible({name: c[i] * RANGES[name] for i, name in enumerate(PROFILE)})
        assert frame is not None

        def spread(column: FloatArray) -> FloatArray:
            return column.reshape(column.shape + (1,) * (c[0].ndim - column.ndim))

        span, reach, height = spread(frame.span), spread(frame.normal * frame.span), spread(frame.height)
        arc, peak = spread(frame.per_arcsec), spread(frame.peak)

        def exp(column: FloatArray) -> FloatArray:
            return np.exp(np.clip(column, -40.0, 40.0))

        d_max, end = exp(c[0]) * span, exp(c[2]) / reach
        end2, bow = c[5] * end, np.clip(c[6], 0.0, 0.99)
        fwhm = exp(c[8]) * span / arc
        values = {
            "Dmax1": d_max,
            "D01": c[1] * d_max,
            "L1": end,
            "Rp1": c[3] * end,
            "D02": exp(c[4]) * span,
            "L2": end2,
            "Rp2": -0.5 * end2 * bow / (1.0 - bow),
        }
        return feasible(values) | {
            "offset": c[7] * fwhm - peak / arc,
            "fwhm": fwhm,
            "scale": exp(c[9]) * height,
            "background": np.maximum(exp(c[10]) * height - 0.03, 0.0),
            "damage": np.maximum(exp(c[11]) - 0.02, 0.0),
            "correlation_length": exp(c[12]) / reach,
            "substrate_damage": np.maximum(exp(c[13]) - 1e-4, 0.0),
            "substrate_correlation_length": exp(c[14]) / reach,
        }


def feasible(values: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the seven parameters, moved inside bounds and nested constraints: `ParameterSpace.clip` for arrays."""
    space = implanted_space()
    low, high = space.limits()
    moved = {name: np.clip(values[name], low[name], high[name]) for name in space.names}
    for rule in space.nested:
        moved[rule.low] = np.minimum(moved[rule.low], rule.cap(moved[rule.high]))
    return moved
