"""How good a network is: on curves that no training has seen, in the users' parameters, with its spread put to test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.guess.network.predict import Prediction, Predictor
from hrxrd_ml.guess.network.targets import PROFILE, RANGES, Frame
from hrxrd_ml.guess.starts import implanted_strain
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile
from hrxrd_ml.training import features
from hrxrd_ml.training.dataset import DatasetFolder
from hrxrd_ml.training.describe import parameters_of
from hrxrd_ml.training.features import Features

LEVELS = (0.5, 0.68, 0.9)
"""Central intervals whose coverage is measured."""

SHARES = ("largest strain", "strained depth", "shape")
"""Of which the share of curves within 10 % is told."""


@dataclass(frozen=True)
class Evaluation:
    """Answers of a network for a set of curves, beside the truth.

    Attributes
    ----------
    truth, answer : dict of ndarray, shape (n,)
        The seven parameters.
    prediction : Prediction
    placed : ndarray, shape (n, p)
        The truth in the network's coordinates.
    names : tuple of str
        Of these coordinates.
    table : Dataset
        What is known of each curve: crystal, height of its peak.
    """

    truth: dict[str, FloatArray]
    answer: dict[str, FloatArray]
    prediction: Prediction
    placed: NDArray[np.floating]
    names: tuple[str, ...]
    table: xr.Dataset

    @classmethod
    def of(cls, network: Predictor, folder: DatasetFolder, *, workers: int = 0, progress: bool = True) -> Evaluation:
        """Return the answers of a network for all curves of a data set.

        Raises
        ------
        InputFileError
            If the network has been trained on this very set.
        """
        trained = network.about.get("data")
        own = folder.settings.as_dict()
        if isinstance(trained, dict) and trained.get("seed") == own["seed"]:
            raise InputFileError(
                f"{folder.path} has the seed of the training curves, {own['seed']}; evaluate with others"
            )
        plan = network.plan
        data = features.load(folder, plan.preprocessing, plan.targets, workers=workers, progress=progress)
        seen, answer = answers(network, data)
        table = _table(folder, data)
        truth = {name: table[name].values for name in PROFILE}
        return cls(truth, {name: answer[name] for name in PROFILE}, seen, data.answers, plan.targets.names, table)

    def __len__(self) -> int:
        return len(self.truth["L1"])

    def part(self, rows: NDArray[np.int64]) -> Evaluation:
        """Return some of the curves, which may come more than once."""
        seen = Prediction(*(getattr(self.prediction, f)[rows] for f in Prediction.__dataclass_fields__))
        truth, answer = ({name: own[name][rows] for name in PROFILE} for own in (self.truth, self.answer))
        return Evaluation(truth, answer, seen, self.placed[rows], self.names, self.table.isel(curve=rows))

    def errors(self, chosen: NDArray[np.bool_] | None = None) -> dict[str, dict[str, float]]:
        """Return mean and quantiles of the absolute error of each parameter, and its mean in % of the range."""
        rows: dict[str, dict[str, float]] = {}
        for name in PROFILE:
            error = np.abs(self.answer[name] - self.truth[name])
            error = error if chosen is None else error[chosen]
            low, middle, high = np.quantile(error, [0.1, 0.5, 0.9])
            rows[name] = {"mae": float(error.mean()), "percent": float(100.0 * error.mean() / RANGES[name])}
            rows[name] |= {"q10": float(low), "q50": float(middle), "q90": float(high)}
        return rows

    def derived(self) -> dict[str, FloatArray]:
        """Return relative errors of largest strain and depth, and the RMS error of the profile over its maximum."""
        shape = ImplantedProfile()
        out = {name: np.empty(len(self)) for name in ("largest strain", "strained depth", "shape", "strain")}
        for i in range(len(self)):
            true = {name: float(self.truth[name][i]) for name in PROFILE}
            mine = {name: float(self.answer[name][i]) for name in PROFILE}
            top, guessed = shape.maximum(true)[0], shape.maximum(mine)[0]
            z = np.linspace(0.0, max(true["L1"], mine["L1"]), 200)
            difference = implanted_strain(z, true) - implanted_strain(z, mine)
            out["largest strain"][i] = abs(guessed / top - 1.0)
            out["strained depth"][i] = abs(mine["L1"] / true["L1"] - 1.0)
            out["shape"][i] = float(np.sqrt(np.mean(difference**2))) / top
            out["strain"][i] = top
        return out

    def coverage(self) -> dict[str, list[float]]:
        """Return the share of curves whose truth lies in the central intervals `LEVELS` of the prediction."""
        place = np.abs(self.prediction.cumulative(self.placed) - 0.5) * 2.0
        return {name: [float(np.mean(place[:, i] <= p)) for p in LEVELS] for i, name in enumerate(self.names)}

    def report(self) -> dict[str, Any]:
        """Return all metrics as JSON holds them."""
        derived = self.derived()

        def within(chosen: NDArray[np.bool_]) -> dict[str, float]:
            own = {key: derived[key][chosen] for key in SHARES}
            shares = {key: float(100.0 * np.mean(value <= 0.1)) for key, value in own.items()}
            return shares | {"curves": int(chosen.sum())}

        everything = np.ones(len(self), dtype=bool)
        strong = derived["strain"] >= 0.02
        report: dict[str, Any] = {
            "curves": len(self),
            "errors": self.errors(),
            "within 10 %": {
                "all": within(everything), "strain below 2 %": within(~strong), "strain from 2 %": within(strong),
            },
            "coverage": {"levels": list(LEVELS)} | self.coverage(),
            "outside": float(np.mean(self.prediction.score > 1.0)),
        }  # fmt: skip
        for what, groups in self.groups().items():
            report[f"by {what}"] = {
                key: within(rows) | {name: row["percent"] for name, row in self.errors(rows).items()}
                for key, rows in groups.items()
            }
        return report

    def groups(self) -> dict[str, dict[str, NDArray[np.bool_]]]:
        """Return which curves belong together by counts of the peak, and by crystal."""
        crystals = self.table["crystal"].values
        counts = {name: rows for name, rows in _decades(self.table["height"].values).items() if rows.any()}
        return {"counts": counts, "crystal": {name: crystals == name for name in sorted(set(crystals))}}


def answers(network: Predictor, data: Features) -> tuple[Prediction, dict[str, FloatArray]]:
    """Return what a network says of curves, and the parameters with the smallest expected error, shape (n,) each."""
    parts = [network.predict(data.image[k : k + 1000], data.constants[k : k + 1000]) for k in range(0, len(data), 1000)]
    seen = Prediction(*(np.concatenate([getattr(p, f) for p in parts]) for f in Prediction.__dataclass_fields__))
    return seen, network.plan.targets.decode(seen.middle(), Frame.stack(*data.frame.T))


def _decades(height: FloatArray) -> dict[str, NDArray[np.bool_]]:
    edges = [1e3, 1e4, 1e5, 1e6]
    names = ["below 1e3", "1e3 to 1e4", "1e4 to 1e5", "1e5 to 1e6", "from 1e6"]
    which = np.searchsorted(edges, height)
    return {name: which == i for i, name in enumerate(names)}


def _table(folder: DatasetFolder, data: Features) -> xr.Dataset:
    """Return parameters (as they show), crystal, peak and number in the set of the curves that have features."""
    values, crystals, heights = parameters_of(folder)
    columns: dict[str, NDArray[Any]] = {**features.apparent(values), "crystal": np.array(crystals), "height": heights}
    return xr.Dataset(
        {name: ("curve", column[data.rows]) for name, column in columns.items()} | {"row": ("curve", data.rows)}
    )


def text(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown tables."""
    lines = ["| parameter | MAE | MAE, % of range | 10 % | 50 % | 90 % |", "|---|---|---|---|---|---|"]
    for name, row in report["errors"].items():
        numbers = " | ".join(f"{row[key]:.3g}" for key in ("mae", "percent", "q10", "q50", "q90"))
        lines.append(f"| {name} | {numbers} |")
    lines += ["", "| within 10 % | curves | largest strain | strained depth | shape |", "|---|---|---|---|---|"]
    blocks = [report["within 10 %"], *(report[key] for key in report if key.startswith("by "))]
    for block in blocks:
        for name, row in block.items():
            shares = " | ".join(f"{row[key]:.1f}" for key in SHARES)
            lines.append(f"| {name} | {row['curves']} | {shares} |")
    levels = report["coverage"]["levels"]
    lines += ["", "| coverage of | " + " | ".join(f"{100 * p:.0f} %" for p in levels) + " |", "|---|---|---|---|"]
    for name, shares in report["coverage"].items():
        if name != "levels":
            lines.append(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |")
    return "\n".join(lines) + "\n"
