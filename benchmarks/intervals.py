"""Whether stated intervals hold: coverage and ranks over simulated curves whose truth is drawn from the prior.

    python benchmarks/intervals.py --curves 500 --out OUT                 # covariance
    python benchmarks/intervals.py --curves 500 --profiled 500 --out OUT  # conf_interval
    python benchmarks/intervals.py --curves 500 --emcee 1000 --out OUT    # chains
    python benchmarks/intervals.py --curves 500 --page                    # writes docs/coverage.md with its picture

GGG 444, 320 points, some 1e5 counts at the peak. Truth: uniform between the bounds that the fit has too, and inside its
nested constraints, so that the prior of the posterior is exactly what the curves are drawn from. Fits start from the
truth: what is measured is whether intervals are right, not whether the minimum is found (that: benchmarks/guess.py).
What is done for a curve is a line of OUT/intervals.jsonl; the same command goes on where it was stopped, and adds what
another one has not asked for. Lines of the same curve, from several machines perhaps, are joined. Without --out it is
the file beside this script, from which the page in the documentation is made.

A parameter counts as well identified in a curve where its standard error is below a tenth of the width of its prior and
no bound is near (two standard errors).
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

from hrxrd_ml import Reflection, RockingCurveModel, sample
from hrxrd_ml.inference.threads import one_thread
from hrxrd_ml.io.files import atomic_path, write_text

SEED = 77
ANGLES = np.linspace(-1400.0, 150.0, 320)
RANGES = {
    "Dmax1": (0.004, 0.010), "D01": (0.0005, 0.008), "L1": (2000.0, 6000.0), "Rp1": (500.0, 5000.0),
    "D02": (0.001, 0.006), "L2": (500.0, 5000.0), "Rp2": (-4000.0, 0.0), "damage": (0.05, 1.0),
    "correlation_length": (20.0, 300.0), "scale": (0.8e5, 3e5), "offset": (-10.0, 10.0), "fwhm": (12.0, 40.0),
    "background": (0.5, 5.0),
}  # fmt: skip
LEVELS = (0.68, 0.95)
AS_STATED = (1.6, 2.5)
"""Roots of the rise of chi-square two standard errors away that confirm the error; 2.5 was chosen on the first 183
curves."""

PICTURE = "coverage.png"
DOCS = Path(__file__).resolve().parents[1] / "docs"


def model_with_prior() -> RockingCurveModel:
    """Return the model, its bounds those of the prior."""
    model = RockingCurveModel(Reflection("GGG", (4, 4, 4), "CuKa1"), axis_kind="offset", unit="arcsec")
    for spec in model.space:
        if spec.name in RANGES:
            low, high = RANGES[spec.name]
            model.set_param_hint(spec.name, min=low, max=high, value=0.5 * (low + high), vary=True)
        else:
            model.set_param_hint(spec.name, vary=False)
    return model


def truth_of(number: int, model: RockingCurveModel) -> dict[str, float]:
    """Return values from the prior: uniform in the box, drawn again until they are inside the nested constraints."""
    rng = np.random.default_rng([SEED, number])
    while True:
        drawn = {name: float(rng.uniform(*limits)) for name, limits in RANGES.items()}
        if not model.space.violations(model.space.defaults() | drawn):
            return drawn


def one(number: int, parts: tuple[str, ...], steps: int) -> dict[str, Any]:
    """Return what one curve says about the intervals: its "fit", and of "profile" and "rank" what is asked for."""
    model = model_with_prior()
    truth = truth_of(number, model)
    params = model.make_params(**truth)
    rng = np.random.default_rng([SEED, number, 1])
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bounds that are reached and chains that are short: the rows say so
        counts = rng.poisson(model.eval(params, x=ANGLES)).astype(float)
        result = model.fit(counts, params, x=ANGLES)
        row: dict[str, Any] = {"curve": number, "redchi": float(result.redchi), "truth": truth, "fit": {}}
        for name in result.var_names:
            par = result.params[name]
            row["fit"][name] = [float(par.value), float(par.stderr)]
        row["rises"] = {name: list(sides) for name, sides in result.check_errors().items()}
        row["warned"] = [name for name in result.var_names if warns(result.bound_notes, name)]
        if "profile" in parts:
            row["profile"] = _profiled(result)
        if "rank" in parts:
            posterior = sample(result, steps, seed=number, workers=1, progress=False)
            row["chain"] = {key: posterior.attrs[key] for key in ("converged", "effective_samples", "rhat")}
            samples = posterior["posterior"]
            row["rank"] = {name: float(np.mean(samples[name].values < truth[name])) for name in result.var_names}
    return row


def warns(notes: tuple[str, ...], name: str) -> bool:
    """Tell whether a fit says that the standard error of a parameter is too small."""
    return any(note.startswith(f"the standard error of {name} is too small") for note in notes)


def _profiled(result: Any) -> dict[str, list[float]]:
    """Return limits of the intervals of 68 and 95 % by `conf_interval`; NaN where it finds none."""
    found: dict[str, list[float]] = {}
    for name in result.var_names:
        try:
            intervals = result.conf_interval(p_names=[name], sigmas=list(LEVELS))[name]
        except (ValueError, RuntimeError, ArithmeticError):
            continue
        values = [value for _, value in intervals]
        found[name] = [values[0], values[1], values[-2], values[-1]]
    return found


def well_identified(row: dict[str, Any], name: str) -> bool:
    """Tell whether a parameter is well identified in a curve."""
    value, error = row["fit"][name]
    low, high = RANGES[name]
    return bool(0.0 < error < 0.1 * (high - low) and low + 2.0 * error < value < high - 2.0 * error)


Inside = dict[str, list[tuple[bool, bool, bool]]]


def by_covariance(rows: list[dict[str, Any]]) -> Inside:
    """Return for each parameter and curve: inside 68 %, inside 95 %, well identified."""
    found: Inside = {name: [] for name in RANGES}
    z = [stats.norm.ppf(0.5 + 0.5 * level) for level in LEVELS]
    for row in rows:
        for name, (value, error) in row["fit"].items():
            off = abs(value - row["truth"][name])
            found[name].append((off <= z[0] * error, off <= z[1] * error, well_identified(row, name)))
    return found


def by_rise(rows: list[dict[str, Any]]) -> str:
    """Return how the covariance of well identified parameters does, by what `check_errors` says of the errors."""
    z = [stats.norm.ppf(0.5 + 0.5 * level) for level in LEVELS]
    titles = {
        "as stated": f"as stated: the root is {AS_STATED[0]:g} to {AS_STATED[1]:g} on both sides",
        "steeper": "the root is more on one side, or a bound is nearer than two standard errors",
        "warning": "warning: the root is less",
    }
    inside: dict[str, list[tuple[bool, bool]]] = {kind: [] for kind in titles}
    for row in rows:
        for name, (value, error) in row["fit"].items():
            if "rises" in row and well_identified(row, name):
                off = abs(value - row["truth"][name])
                sides = np.array(row["rises"][name])
                stated = bool(((sides >= AS_STATED[0]) & (sides <= AS_STATED[1])).all())
                kind = "warning" if name in row["warned"] else "as stated" if stated else "steeper"
                inside[kind].append((off <= z[0] * error, off <= z[1] * error))
    lines = [
        "### Covariance, well identified, by the check of standard errors",
        "",
        "`result.check_errors()`, which `hx.report` calls, holds each parameter two standard errors away and returns "
        "the root of the rise of chi-square, 2 where the error is right. It warns where the root is clearly less.",
        "",
        "| rise of chi-square | 68 % | 95 % | cases |",
        "|---|---|---|---|",
    ]
    for kind, title in titles.items():
        share = 100.0 * np.mean(inside[kind], axis=0) if inside[kind] else [np.nan, np.nan]
        lines.append(f"| {title} | {share[0]:.1f} | {share[1]:.1f} | {len(inside[kind])} |")
    return "\n".join([*lines, ""])


def by_profile(rows: list[dict[str, Any]]) -> Inside:
    """Return the same for `conf_interval`."""
    found: Inside = {name: [] for name in RANGES}
    for row in rows:
        for name, (low2, low, high, high2) in row.get("profile", {}).items():
            true = row["truth"][name]
            inside = not true < low and not true > high, not true < low2 and not true > high2
            found[name].append((*inside, well_identified(row, name)))
    return found


def by_chain(rows: list[dict[str, Any]]) -> Inside:
    """Return the same for the central intervals of emcee."""
    found: Inside = {name: [] for name in RANGES}
    for row in rows:
        for name, rank in row.get("rank", {}).items():
            inside = [abs(rank - 0.5) <= 0.5 * level for level in LEVELS]
            found[name].append((inside[0], inside[1], well_identified(row, name)))
    return found


def _shares(entries: list[tuple[bool, bool, bool]], well: bool | None) -> str:
    chosen = np.array([e[:2] for e in entries if well is None or e[2] == well])
    if not len(chosen):
        return "– | – | 0"
    return " | ".join(f"{100 * share:.1f}" for share in chosen.mean(axis=0)) + f" | {len(chosen)}"


def report(rows: list[dict[str, Any]]) -> str:
    """Return all tables as Markdown."""
    lines = [f"{len(rows)} curves; reduced chi-square {np.mean([row['redchi'] for row in rows]):.3f} in the mean.", ""]
    for title, found in (
        ("Covariance: value ± stderr", by_covariance(rows)),
        ("`conf_interval`", by_profile(rows)),
        ("`hx.sample` (emcee)", by_chain(rows)),
    ):
        if not any(found.values()):
            continue
        lines += [
            f"### {title}",
            "",
            "| parameter | well identified: 68 % | 95 % | cases | badly: 68 % | 95 % | cases |",
        ]
        lines.append("|---|---|---|---|---|---|---|")
        for name, entries in found.items():
            lines.append(f"| {name} | {_shares(entries, True)} | {_shares(entries, False)} |")
        together = [entry for entries in found.values() for entry in entries]
        lines += [f"| **all** | {_shares(together, True)} | {_shares(together, False)} |", ""]
        if title.startswith("Covariance") and any("rises" in row for row in rows):
            lines.append(by_rise(rows))
    ranked = [row for row in rows if "rank" in row]
    if ranked:
        converged = np.mean([row["chain"]["converged"] for row in ranked])
        spread = [row["chain"]["rhat"] for row in ranked]
        effective = [row["chain"]["effective_samples"] for row in ranked]
        lines += [
            f"Ranks of the truth in {len(ranked)} chains (median R-hat {np.median(spread):.3f}, at least "
            f"{min(effective):.0f} effective samples; {100 * converged:.0f} % reached 50 autocorrelation times with an "
            "R-hat of at most 1.01):"
        ]
        lines += ["", "| parameter | p of uniformity (Kolmogorov–Smirnov) |", "|---|---|"]
        for name in RANGES:
            lines.append(f"| {name} | {stats.kstest(_ranks(ranked, name), 'uniform').pvalue:.3f} |")
    return "\n".join(lines) + "\n"


def _ranks(rows: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([row["rank"][name] for row in rows])


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the distributions of pulls, and of ranks where there are chains."""
    from matplotlib.figure import Figure

    ranked = [row for row in rows if "rank" in row]
    figure = Figure(figsize=(9.0, 5.5 if ranked else 3.0), layout="constrained")
    panels = np.atleast_2d(figure.subplots(2 if ranked else 1, 7, sharey="row"))
    for ax, name in zip(panels[0], RANGES, strict=False):
        pulls = [(r["fit"][name][0] - r["truth"][name]) / r["fit"][name][1] for r in rows if r["fit"][name][1] > 0.0]
        ax.hist(np.clip(pulls, -4.0, 4.0), bins=25, range=(-4.0, 4.0), density=True, color="#0072b2", alpha=0.6)
        x = np.linspace(-4.0, 4.0, 100)
        ax.plot(x, stats.norm.pdf(x), color="black", lw=0.8)
        ax.set_title(name, fontsize=8)
        ax.set_xlabel("pull (σ)", fontsize=7)
        if ranked:
            below = panels[1][list(RANGES).index(name)]
            below.hist(_ranks(ranked, name), bins=10, range=(0.0, 1.0), density=True, color="#d55e00", alpha=0.6)
            width = 2.0 * np.sqrt(10.0 / len(ranked))
            below.axhspan(1.0 - width, 1.0 + width, color="#cccccc", zorder=0)
            below.set_xlabel("rank of the truth", fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def read(path: Path) -> list[dict[str, Any]]:
    """Return what is known of each curve, in order; a line that was cut off by a kill is left out."""
    rows: dict[int, dict[str, Any]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            rows[row["curve"]] = rows.get(row["curve"], {}) | row
    return [rows[number] for number in sorted(rows)]


def short(found: Any) -> Any:
    """Return what is to be written, its numbers to seven digits."""
    if isinstance(found, dict):
        return {key: short(value) for key, value in found.items()}
    if isinstance(found, list):
        return [short(value) for value in found]
    return float(f"{found:.7g}") if isinstance(found, float) else found


def main() -> None:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=int, default=500)
    parser.add_argument("--emcee", type=int, default=0, help="most steps of a chain; 0 for none")
    parser.add_argument("--profiled", type=int, default=0, help="curves for conf_interval")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--page", action="store_true", help="write docs/coverage.md")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "intervals.jsonl"
    known = {row["curve"]: row for row in read(file)}
    todo = {}
    for number in range(arguments.curves):
        wanted = {"rises": True, "profile": number < arguments.profiled, "rank": arguments.emcee > 0}
        if missing := tuple(part for part, asked in wanted.items() if asked and part not in known.get(number, {})):
            todo[number] = missing
    with ProcessPoolExecutor(arguments.workers or os.cpu_count()) as pool, file.open("a", encoding="utf-8") as out:
        futures = [pool.submit(one, number, parts, arguments.emcee) for number, parts in todo.items()]
        for future in tqdm(as_completed(futures), total=len(todo), unit="curve"):
            out.write(json.dumps(short(future.result())) + "\n")
            out.flush()
    rows = read(file)
    print(report(rows))
    if arguments.page:
        intro = (
            "# Whether the error bars hold\n\nSimulated curves of GGG 444 whose true parameters are known, drawn from "
            "the prior and fitted with it. Columns 68 % and 95 %: how often, in per cent, the truth lies inside the "
            "interval of that name; cases: how many intervals. A parameter is well identified in a curve where its "
            "standard error is below a tenth of the range that it was drawn from and no bound is within two standard "
            "errors, badly otherwise. Pull: (found − true)/stderr, which should follow the curve drawn. Rank: the "
            "share of the samples below the truth, which should be uniform (grey: two standard deviations). Made by "
            "`benchmarks/intervals.py --page`, whose head says more.\n\n![Pulls and ranks](images/coverage.png)\n\n"
        )
        write_text(DOCS / "coverage.md", intro + report(rows))
        picture(rows, DOCS / "images" / PICTURE)


if __name__ == "__main__":
    main()
