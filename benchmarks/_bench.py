"""What the benchmarks share: the machine in words, fair timing, tables in Markdown."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

import _one_core  # noqa: F401 (before numpy)
import numpy as np

from hrxrd_ml import ParameterSpace, Reflection
from hrxrd_ml.units import ARCSEC

SEVEN = {
    "Dmax1": 0.008,
    "D01": 0.001,
    "L1": 5800.0,
    "Rp1": 3500.0,
    "D02": 0.0025,
    "L2": 3000.0,
    "Rp2": -50.0,
    "damage": 0.4,
}
"""A typical implanted profile, 5800 Å deep: 290 sublayers of 20 Å."""

ANGLES = np.linspace(-1400.0, 400.0, 701) * ARCSEC
"""701 angles that show the strained layer of `SEVEN` and the substrate peak of GGG 444, with a margin [rad]."""


def ggg() -> Reflection:
    """The reflection of most benchmarks, as a laboratory measures it."""
    return Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Si 111", "Ge 111"))


def machine(*distributions: str) -> str:
    """One paragraph about the machine, the versions and the load."""
    names = ("numpy", "scipy", "numba", "lmfit", *distributions)
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    return (
        f"{_processor()}, {os.cpu_count()} cores of which one is used; {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {', '.join(versions)}; load average {load()}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in file)}
    except OSError:
        return platform.processor() or platform.machine()
    family = f"family {found.get('cpu family')}, model {found.get('model')}"
    return f"{found.get('model name', platform.processor())} ({family})"


@dataclass(frozen=True)
class Timing:
    """Times of many calls [s]."""

    median: float
    shortest: float
    calls: int


def compare(calls: Mapping[str, Callable[[], object]], *, seconds: float = 2.0, rounds: int = 9) -> dict[str, Timing]:
    """Time calls in turn, so that whatever else the machine does hits all of them alike.

    Each gets at least ``rounds`` and about ``seconds``, in ``rounds`` bursts.
    """
    for call in calls.values():
        call()  # compiles
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            end = time.perf_counter() + seconds / rounds
            call()  # brings its own data back into the cache
            while True:
                begin = time.perf_counter()
                call()
                now = time.perf_counter()
                times[name].append(now - begin)
                if now > end:
                    break
    return {name: Timing(statistics.median(t), min(t), len(t)) for name, t in times.items()}


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown, its first column left, the others right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    print(f"\n### {title}\n")
    for k, line in enumerate([lines[0], rule, *lines[1:]]):
        cells = [line[i].ljust(w) if i == 0 or k == 1 else line[i].rjust(w) for i, w in enumerate(widths)]
        print(f"| {' | '.join(cells)} |")


def goal(value: float, limit: float, *, least: bool = False, unit: str = "") -> str:
    """Whether a goal is met, in words."""
    met = value >= limit if least else value <= limit
    return f"{'≥' if least else '≤'} {limit:g}{unit}: {'met' if met else 'missed'}"


def load() -> str:
    """The load averages, one number each."""
    return ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


def ms(seconds: float) -> str:
    """Milliseconds with three digits."""
    return f"{1e3 * seconds:.3g}"


def draw(space: ParameterSpace, rng: np.random.Generator) -> dict[str, float]:
    """Draw values evenly between the bounds, parents first, so that every nested constraint holds."""
    values: dict[str, float] = {}
    low, high = space.limits()
    for spec in space:
        top = high[spec.name]
        for rule in space.nested:
            if rule.low == spec.name:
                top = min(top, rule.cap(values[rule.high]))
        values[spec.name] = float(rng.uniform(low[spec.name], top))
    return values
