"""Write docs/parameters.md, the table of all parameters, from the spaces that the models are made of.

Usage: python scripts/make_parameter_table.py [FILE]
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from hrxrd_ml import Diffractometer, ParameterSpace, ParameterSpec, Reflection, RockingCurve
from hrxrd_ml.diffraction.diffuse import DIFFUSES
from hrxrd_ml.instrument.background import BACKGROUNDS, make_background
from hrxrd_ml.instrument.counting import base_space
from hrxrd_ml.instrument.resolution import RESOLUTIONS, Response, make_resolution
from hrxrd_ml.io.files import write_text
from hrxrd_ml.specimen.damage import DAMAGES, SUBSTRATE, Displacements
from hrxrd_ml.specimen.defects import Loops
from hrxrd_ml.specimen.profile import PROFILES
from hrxrd_ml.specimen.profile.implanted import MINIMUM_STRAIN
from hrxrd_ml.specimen.spread import spread_space

PAGE = Path(__file__).resolve().parents[1] / "docs" / "parameters.md"
_MONOCHROMATED = Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Ge 220",))
_WHOLE = RockingCurve.of(
    Reflection("GGG", (4, 4, 4)),
    diffractometer=Diffractometer("CuKa1", ("Si 111", "Ge 111"), beam_height=10.0, analyser=60.0),
)
_DECLARED = ParameterSpace(tuple(_WHOLE.space[name] for name in ("diffuse_passed", *_WHOLE.response.space.names)))
SECTIONS: tuple[tuple[str, str, tuple[tuple[str, ParameterSpace], ...]], ...] = (
    (
        "Strain profile",
        f"`profile=` chooses one of them. Dmin is {MINIMUM_STRAIN:g}. The number of spline coefficients is "
        "`strain_knots`, 14 by default; the spline ends at zero at `depth`.",
        (
            *((f"`{kind}`", part().space) for kind, part in PROFILES.items() if part),
            ("any", spread_space()),
        ),
    ),
    (
        "Damage",
        "`damage=` chooses one of them. L is the exponent of the static Debye–Waller factor, E = exp(−L). The number "
        "of spline coefficients is `damage_knots`, 8 by default; the spline reaches as deep as the strain profile.",
        (
            *((f"`{kind}`", part().space) for kind, part in DAMAGES.items() if part),
            ("`tied` with `loops` or `clusters`", ParameterSpace((Loops().amount(),))),
        ),
    ),
    (
        "Diffuse scattering",
        "`diffuse=` chooses one of them; [defects](defects.md) tells of loops and clusters. The default of "
        "`burgers_vector` is the shortest lattice vector of the crystal.",
        (
            *((f"`{kind}`", part().space) for kind, part in DIFFUSES.items() if part),
            ("`correlation` with displacements", ParameterSpace((Displacements().amount(SUBSTRATE),))),
        ),
    ),
    ("Scale and axis", "Every model has them.", (("any", base_space()),)),
    (
        "Resolution function",
        "`resolution=` chooses one of them.",
        tuple((f"`{kind}`", Response(make_resolution(kind, _MONOCHROMATED)).space) for kind in RESOLUTIONS),
    ),
    (
        "Declared diffractometer",
        "`diffractometer=` takes the place of `resolution=`. Its [parts](diffractometer.md) decide, "
        "which are here Cu Kα1, parallel crystals, a beam of known height, and an analyser.",
        (("declared", _DECLARED),),
    ),
    (
        "Background",
        "`background=` chooses one of them. Angles are those of the axis, before `offset` and `step`.",
        tuple((f"`{kind}`", make_background(kind).space) for kind in BACKGROUNDS),
    ),
)
INTRODUCTION = """\
# Parameters

Written by `python scripts/make_parameter_table.py` from the parts of models, where a parameter gets its name.

Which parameters a model has follows from its parts. A `prefix`, if given, goes before the names. Lengths are in Å,
`offset` and widths of the resolution function in seconds of arc; a parameter without unit is a pure number. *Counts*
stands for the unit of the data, which is another one for an intensity. *Free* says whether a fit varies the parameter
unless it is told otherwise, *scope* what it belongs to: all curves of a sample have its parameters in common, all of a
diffractometer those of the diffractometer; lmfit's `vary`, `min`, `max`, `value` and `expr` change all of this, in
Python or in the `[parameters]` of an [experiment file](experiment-file.md). What the parameters do is told in
[Forward model](physics.md). Those of sample and instrument that are fixed by default are freed where an unattended fit
needs them, see [Fitting](fitting.md#steps-of-an-unattended-fit).
"""


def number(value: float) -> str:
    """Return a number as people write it."""
    text = f"{value:.6g}" if abs(value) < 1e5 else f"{value:.0e}"
    return re.sub(r"e([+-])0*(\d+)", lambda m: "e" + m[1].replace("+", "") + m[2], text).replace("-", "−")


def row(spec: ParameterSpec, parts: Iterable[str], with_parts: bool) -> str:
    """Return one line of a table."""
    name, meaning = f"`{spec.name}`", spec.description.replace("**(-2 tail)", "^(−2 tail)").replace("|", "\\|")
    if match := re.fullmatch(r"([sw])0", spec.name):
        name, meaning = f"`{match[1]}0`, `{match[1]}1`, …", meaning.replace(" 0, from", "s, from")
    cells = [
        name,
        spec.unit or "–",
        number(spec.value),
        f"{number(spec.min)} to {number(spec.max)}",
        "yes" if spec.vary else "no",
        spec.scope,
        meaning,
    ]
    if with_parts:
        cells.append(", ".join(parts))
    return f"| {' | '.join(cells)} |"


def section(title: str, note: str, parts: tuple[tuple[str, ParameterSpace], ...]) -> str:
    """Return a heading, a note, a table, and the nested constraints."""
    found: dict[ParameterSpec, list[str]] = {}
    for label, space in parts:
        for spec in space:
            if not re.fullmatch(r"[sw][1-9]\d*", spec.name):
                found.setdefault(spec, []).append(label)
    with_parts = len(parts) > 1
    head = ["name", "unit", "default", "bounds", "free", "scope", "meaning", *(["of"] if with_parts else [])]
    lines = [f"\n## {title}\n", f"{note}\n", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [row(spec, labels, with_parts) for spec, labels in found.items()]
    for label, space in parts:
        if space.nested:
            rules = [
                f"`{r.low} ≤ {r.high}`" if r.total is None else f"`{r.high} + {r.low} ≤ {r.total:g}`"
                for r in space.nested
            ]
            lines.append(f"\nNested constraints of {label}, held by every fit: {', '.join(rules)}.")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the whole page."""
    return INTRODUCTION + "".join(section(*each) for each in SECTIONS)


if __name__ == "__main__":
    write_text(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE, page())
