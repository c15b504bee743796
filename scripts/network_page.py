"""Write docs/network-results.md: the network of the package, measured on held-out curves.

hrxrd-ml dataset make universal-test --curves 4000 --out SETS/universal-test
hrxrd-ml dataset make unseen-test --curves 2000 --out SETS/unseen-test
python scripts/network_page.py SETS

With --thesis, the table is of a network trained in the setting of a published thesis (settings "thesis"); with --fits,
the last one is that of benchmarks/guess.py. Without, these sections stay as they are on the page.

hrxrd-ml dataset make thesis-test --out SETS/thesis-test
python scripts/network_page.py SETS --thesis RUN/network.safetensors --fits OUT/guess.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hrxrd_ml.guess.network.predict import Predictor, bundled_path
from hrxrd_ml.io.files import write_text
from hrxrd_ml.training import evaluate
from hrxrd_ml.training.dataset import DatasetFolder

PAGE = Path(__file__).resolve().parents[1] / "docs" / "network-results.md"
TITLES = {
    "universal-test": "Held-out curves of the training's crystals",
    "unseen-test": "Crystals that no training curve has: 3C-SiC, InP, MgO, ZnO, AlN",
}
HEAD = """# How good the network is

Figures of the network in the package alone, before any least squares. Made by the commands in
`scripts/network_page.py`; the curves have seeds that no training used, and `hrxrd-ml evaluate` refuses the set that a
network was trained on.

MAE is the mean absolute error, in the unit of the parameter and in % of its range (0.030 for strains, 6500 Å for L1
and Rp2, 5000 Å for Rp1, 4500 Å for L2); then follow three quantiles of the absolute error. "Within 10 %": largest
strain and L1, relative; shape, the root mean square difference of the strain profiles over the largest strain. The
rows below tell by counts of the substrate peak and by crystal. The last table tells how often the truth lies in the
central interval that the network states.
"""

PUBLISHED = (2.40, 3.92, 2.02, 2.00, 4.85, 6.31, 14.98)
"""Errors of a published thesis (convolutional network, GGG 444); training curves are among its test curves."""

RUNNING_ANGLES = 3
"""Format of the data sets since which the angles run along a scan."""

THESIS = """## One experiment without noise

GGG 444 on a fixed axis of 701 points, noise-free, as in a published thesis whose test set holds training curves.
{trained} {curves} held-out curves (SHA-256 `{digest}…`), simulated by
the library itself and not by the faster code that training curves come from.

"""

FITS = """## Guess and fit

Fits of held-out noisy curves across crystals, from different starts in one run (`benchmarks/guess.py`). At the floor:
the sum of squares is within three standard deviations of what counting noise alone makes; excess is its distance from
that in standard deviations. As low: at most 2 above what a fit from the truth reaches. Guess and fit are median times;
95 % and longest are of both together. Below, the curves on which guess and fit did not come down to the noise, and how
far the fit from the truth came.

"""


def main() -> None:
    """Evaluate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, help="folder of the data sets")
    parser.add_argument("--thesis", type=Path, help="checkpoint of the thesis setting")
    parser.add_argument("--fits", type=Path, help="guess.md of benchmarks/guess.py")
    arguments = parser.parse_args()
    path = bundled_path()
    assert path is not None, "there is no network in the package"
    network = Predictor.load(path)
    before = PAGE.read_text(encoding="utf-8")
    parts = [HEAD, trained(network) + "\n"]
    for name, title in TITLES.items():
        folder = DatasetFolder(arguments.sets / name)
        report = evaluate.Evaluation.of(network, folder).report()
        parts.append(f"## {title}\n\n{report['curves']} curves, SHA-256 of the set `{folder.digest()[:16]}…`.\n")
        parts.append(evaluate.text(report))
    parts.append(
        thesis(Predictor.load(arguments.thesis), DatasetFolder(arguments.sets / "thesis-test"))
        if arguments.thesis
        else section(before, THESIS)
    )
    parts.append(FITS + arguments.fits.read_text(encoding="utf-8") if arguments.fits else section(before, FITS))
    write_text(PAGE, "\n".join(parts))


def section(page: str, like: str) -> str:
    """Return the section of a page that has the heading of another one."""
    heading = like.strip().splitlines()[0]
    return heading + page.partition(heading)[2].partition("\n## ")[0].rstrip() + "\n"


def thesis(network: Predictor, folder: DatasetFolder) -> str:
    """Return the table of the thesis setting beside the published figures."""
    report = evaluate.Evaluation.of(network, folder).report()
    names = list(report["errors"])
    rows = {
        "this network": [f"{report['errors'][name]['percent']:.2f}" for name in names],
        "published": [f"{value:.2f}" for value in PUBLISHED],
    }
    lines = [f"| MAE, % of range | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines += [f"| {label} | {' | '.join(values)} |" for label, values in rows.items()]
    known = {"curves": report["curves"], "digest": folder.digest()[:16], "trained": trained(network)}
    return THESIS.format(**known) + "\n".join([*lines, ""])


def trained(network: Predictor) -> str:
    """Say on how many curves a network was trained."""
    about = network.about
    batch, seed = about["train"]["batch"], about["data"]["seed"]
    curves = about["step"] * batch / 1e6
    before = f", begun with another network (SHA-256 `{about['start'][:16]}…`)" if "start" in about else ""
    frozen = " The curves were simulated with the angles of the waves as they are at the Bragg angle."
    return (
        f"Trained for {about['step']} steps of {batch} curves ({curves:.1f} million, seed {seed}) in "
        f"{about['seconds'] / 60.0:.1f} minutes{before}.{frozen if about['data']['format'] < RUNNING_ANGLES else ''}"
    )


if __name__ == "__main__":
    main()
