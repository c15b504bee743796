"""Tables of parameters and posteriors as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr


def posterior_rows(posterior: xr.DataTree) -> list[tuple[str, ...]]:
    """Median and intervals of 68 and 95 % of what was sampled and of what follows from it, under a head."""
    rows: list[tuple[str, ...]] = [("parameter", "median", "68 %", "95 %", "unit")]
    for name, samples in posterior["posterior"].data_vars.items():
        quantiles = np.quantile(samples.values, (0.025, 0.16, 0.5, 0.84, 0.975))
        spread = 0.5 * float(quantiles[3] - quantiles[1])
        lowest, low, middle, high, highest = (with_error(float(value), spread)[0] for value in quantiles)
        unit = samples.attrs["units"]
        rows.append((str(name), middle, f"{low} … {high}", f"{lowest} … {highest}", "" if unit == "1" else unit))
    return rows


def posterior_table(posterior: xr.DataTree) -> str:
    """Table of `posterior_rows`."""
    return _aligned(posterior_rows(posterior))


def summary(dataset: xr.Dataset, seconds: Mapping[str, float]) -> str:
    """One line about the quality and the price of a fit."""
    attrs = dataset.attrs
    return (
        f"chi2/N = {attrs['pearson_chi2']:.3g} ({attrs['statistics']} statistics), "
        f"rms of log10 = {attrs['log10_rms']:.3g}, {attrs['ndata']} points, {attrs['nvarys']} parameters, "
        f"{attrs['nfev']} evaluations; guess {seconds['guess']:.1f} s, fit {seconds['fit']:.1f} s"
    )


def parameter_table(dataset: xr.Dataset, truth: Mapping[str, float] | None = None) -> str:
    """Table of the parameters that were fitted or tied, with errors; beside the truth if it is known."""
    rows = [
        ("parameter", "value", "stderr", "unit") if truth is None else ("parameter", "true", "found", "±", "σ", "unit")
    ]
    for name in dataset["parameter"].values.tolist():
        row = dataset.sel(parameter=name)
        if not (bool(row["vary"]) or str(row["expr"].item())):
            continue
        value, stderr, unit = float(row["value"]), float(row["stderr"]), str(row["unit"].item())
        found, error = with_error(value, stderr)
        if truth is None:
            rows.append((name, found, error, unit))
        else:
            true = truth.get(name, math.nan)
            off = f"{(value - true) / stderr:+.1f}" if stderr > 0.0 else "?"
            rows.append((name, f"{true:.6g}", found, error, off, unit))
    return _aligned(rows)


def layer_rows(dataset: xr.Dataset) -> list[tuple[str, ...]]:
    """What a fit has found of each layer, the uppermost first and the substrate left out, under a head."""
    rows: list[tuple[str, ...]] = [("layer", "of", "thickness", "composition", "strain", "relaxation", "interface")]

    def shown(row: xr.Dataset, name: str, factor: float = 1.0) -> str:
        values, sigma = (factor * np.atleast_1d(row[f"layer_{name}{end}"].values) for end in ("", "_sigma"))
        if not np.isfinite(values).all():
            return "–"
        ends = [0] if np.ptp(values) < 1e-9 * max(abs(values).max(), 1e-300) else [0, -1]  # from below
        pairs = [with_error(float(values[k]), float(sigma[k])) for k in ends]
        return " → ".join(value if error == "?" else f"{value} ± {error}" for value, error in pairs)

    for name in dataset["layer"].values.tolist()[::-1]:
        row = dataset.sel(layer=name)
        element, part, material = (str(row[f"layer_{key}"].item()) for key in ("element", "part", "material"))
        composition = shown(row, "composition")
        rows.append(
            (
                f"{name} ({part}, ×{int(row['layer_repeats'])})" if part else name,
                material,
                f"{shown(row, 'thickness')} Å",
                f"{element} {composition}" if element else composition,
                "–" if (strain := shown(row, "strain", 100.0)) == "–" else f"{strain} %",
                shown(row, "relaxation"),
                "sharp" if (width := shown(row, "interface")) == "–" else f"{width} Å",
            )
        )
    return rows


def layer_table(dataset: xr.Dataset) -> str:
    """Table of `layer_rows`."""
    return _aligned(layer_rows(dataset))


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns under each other: the first and the last to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    aligned = [
        "  ".join(
            cell.ljust(w) if i in (0, len(row) - 1) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in aligned)


def with_error(value: float, stderr: float) -> tuple[str, str]:
    """Value and standard error in decimals, both to the second digit of the error."""
    if not (math.isfinite(stderr) and stderr > 0.0):
        return f"{value:.6g}", "?"
    exponent = math.floor(math.log10(stderr))
    largest = math.floor(math.log10(abs(value))) if value else exponent
    if exponent > 6 or max(exponent, largest) < -5:
        return f"{value:.{max(largest - exponent, 0) + 1}e}", f"{stderr:.1e}"
    digits = max(1 - exponent, 0)
    value = round(value, digits) + 0.0  # no -0.000
    return f"{value:.{digits}f}", f"{stderr:.{digits}f}"


def plan_table(dataset: xr.Dataset) -> str:
    """Table of what `hrxrd_ml.plan` has found: standard errors today and with each measurement, and bits gained."""
    labels = dataset["candidate"].values.tolist()
    rows: list[tuple[str, ...]] = [("stderr of", "today", *labels, "unit")]
    for name in dataset["parameter"].values.tolist():
        row = dataset.sel(parameter=name)
        each = (f"{float(s):.2g} (×{float(r):.2f})" for s, r in zip(row["stderr"], row["ratio"], strict=True))
        rows.append((name, f"{float(row['today']):.2g}", *each, str(row["unit"].item())))
    rows.append(("information", "", *(f"{float(bits):.1f} bits" for bits in dataset["bits"]), ""))
    rows.append(("highest count", "", *(f"{float(count):.2g}" for count in dataset["counts"]), ""))
    return _aligned(rows)
