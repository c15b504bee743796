"""A fit as one HTML file that needs nothing else: table, figures, notes and where everything comes from."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr
from matplotlib.figure import Figure

from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.files import write_text
from hrxrd_ml.reading import read_whole
from hrxrd_ml.results import plots
from hrxrd_ml.results.dataset import curves_of, root_of, to_dataset
from hrxrd_ml.results.derived import UNITS
from hrxrd_ml.results.tables import layer_rows, posterior_rows, with_error
from hrxrd_ml.results.words import in_words

if TYPE_CHECKING:
    from lmfit import Parameters

    from hrxrd_ml.model.result import RockingCurveResult

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0.2rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } caption { text-align: left; color: #555; }
th, td { padding: 0.15rem 0.8rem 0.15rem 0; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
img { max-width: 100%; height: auto; } li { margin: 0.2rem 0; } .quiet { color: #555; }
@media (prefers-color-scheme: dark) { body { background: #fff; } }
"""


def report(
    result: RockingCurveResult,
    path: str | os.PathLike[str],
    *,
    posterior: xr.DataTree | None = None,
    guess: Parameters | None = None,
) -> Path:
    """Write a fit, and its posterior if there is one, as a self-contained HTML file.

    The notes name standard errors that are wrong where `RockingCurveResult.check_errors` has looked for them before.

    Parameters
    ----------
    result : RockingCurveResult
    path : path
        The file; written whole or not at all.
    posterior : xarray.DataTree, optional
        Of `hrxrd_ml.sample`.
    guess : lmfit.Parameters, optional
        Start values to show; those of the result if None.

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    InputFileError
        If the folder does not exist.
    """
    write_text(path, page(to_dataset(result, guess), posterior, in_words(result)))
    return Path(path)


def page(dataset: xr.Dataset | xr.DataTree, posterior: xr.DataTree | None = None, words: str = "") -> str:
    """Return the HTML of a dataset of `hrxrd_ml.to_dataset`, of a posterior, and of a paragraph in words."""
    attrs = dataset.attrs
    name = Path(str(attrs.get("source", "") or "rocking curve")).name
    parts = [f"<h1>{_text(name)}</h1>", f'<p class="quiet">{_text(attrs["reflection"])}</p>']
    parts += [f"<p>{_text(words)}</p>"] if words else []
    parts += [_section("Fit"), _image(plots.overview(dataset), "Data, start, fit and residual; strain and damage")]
    root, curves = root_of(dataset), curves_of(dataset)
    parts += [_quality(root)]
    if len(curves) > 1:
        parts += [f"<h3>{_text(label)}</h3>{_quality(curve)}" for label, curve in curves.items()]
    parts += [_notes("Notes", attrs["notes"])]
    parts += [_section("Parameters"), _parameters(root)]
    if "max_strain" in root:
        parts += [_section("Profile"), _profile(root)]
    if "layer" in root.dims:
        head, *rows = layer_rows(root)
        parts += [_section("Layers"), _table(head, rows)]
        parts += [_image(plots.stack(dataset), "Assigned peaks; composition and strain against depth")]
    if "correlation" in root and root.sizes["varied"] > 1:
        parts += [_section("Correlations"), _image(plots.correlations(root), "Correlations of the free parameters")]
    if posterior is not None:
        parts += [_section("Posterior"), _image(plots.bands(posterior, dataset), "Credible bands of 68 and 95 %")]
        head, *rows = posterior_rows(posterior)
        parts += [_table(head, rows), _chain(posterior), _notes("Notes on the chain", posterior.attrs["notes"])]
        parts += [_image(plots.corner(posterior), "Marginal distributions"), _image(plots.trace(posterior), "Chains")]
    parts += [_section("Provenance"), _provenance(root)]
    body = "\n".join(part for part in parts if part)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_text(name)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _text(value: Any) -> str:
    return html.escape(str(value))


def _section(title: str) -> str:
    return f"<h2>{_text(title)}</h2>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<table>\n<thead>{line(head, 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _image(figure: Figure, caption: str) -> str:
    """Return a figure as an image inside the page."""
    with io.BytesIO() as stream:
        figure.savefig(stream, format="png", dpi=160, bbox_inches="tight")
        data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<p><img alt="{_text(caption)}" src="data:image/png;base64,{data}"></p>'


def _notes(title: str, notes: str) -> str:
    items = "".join(f"<li>{_text(note)}</li>" for note in notes.split("\n") if note)
    return f"<h3>{_text(title)}</h3>\n<ul>{items}</ul>" if items else ""


def _quality(dataset: xr.Dataset) -> str:
    attrs = dataset.attrs
    rows = [
        ("χ²/N", f"{attrs['pearson_chi2']:.4g}"),
        ("reduced χ²", f"{attrs['redchi']:.4g}"),
        ("rms of log10(data/fit)", f"{attrs['log10_rms']:.3g}"),
        ("points, free parameters", f"{attrs['ndata']}, {attrs['nvarys']}"),
        ("statistics, method", f"{attrs['statistics']}, {attrs['method']}"),
        ("ended", attrs["message"] or "by itself"),
    ]
    return _table(("quality", ""), rows)


def _parameters(dataset: xr.Dataset) -> str:
    rows = []
    for name in dataset["parameter"].values.tolist():
        row = dataset.sel(parameter=name)
        value, stderr, vary = float(row["value"]), float(row["stderr"]), bool(row["vary"])
        expr = str(row["expr"].item())
        found, error = with_error(value, stderr) if vary or expr else (f"{value:.6g}", "fixed")
        limits = f"{float(row['min']):.4g} … {float(row['max']):.4g}" if vary else expr
        rows.append((name, found, error, str(row["unit"].item()), f"{float(row['init']):.5g}", limits))
    return _table(("parameter", "value", "standard error", "unit", "start", "bounds or expression"), rows)


def _profile(dataset: xr.Dataset) -> str:
    rows = []
    for name, unit in UNITS.items():
        value, error = with_error(float(dataset[name]), float(dataset[f"{name}_sigma"]))
        rows.append((name.replace("_", " "), value, error, "" if unit == "1" else unit))
    return _table(("of the strain profile", "value", "standard error", "unit"), rows)


def _chain(posterior: xr.DataTree) -> str:
    attrs = posterior.attrs
    return (
        f'<p class="quiet">{attrs["steps"]} steps of {attrs["walkers"]} walkers, acceptance {attrs["acceptance"]:.2f}, '
        f"at least {attrs['effective_samples']:.0f} effective samples, R-hat at most {attrs['rhat']:.3f}.</p>"
    )


def _provenance(dataset: xr.Dataset) -> str:
    attrs = dataset.attrs
    rows = [("made", attrs["created"]), ("model", attrs["model"]), ("settings", attrs["settings"])]
    for key in ("source", "experiment"):
        if attrs.get(key):
            rows.append((key, f"{attrs[key]} {_hash(str(attrs[key]))}"))
    rows += [(key.removeprefix("version_"), str(attrs[key])) for key in attrs if key.startswith("version_")]
    return _table(("", ""), rows)


def _hash(path: str) -> str:
    """Return the SHA-256 of a file, as far as it is still there."""
    try:
        return f"(SHA-256 {hashlib.sha256(read_whole(path, 200_000_000)).hexdigest()[:16]}…)"
    except (OSError, InputFileError):
        return "(not there any more)"
