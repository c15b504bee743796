"""How far the curves are from four waves in each crystal, over wide scans, in both polarisations.

Run by hand: ``python benchmarks/running_angles.py``; half a minute.

The samples, and the solver that shares no formula with the package, are those of ``tests/test_running_angles.py``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import _bench
import numpy as np

import angle_cases


def main() -> None:
    """Print the table."""
    rows = []
    for name, case in angle_cases.CASES.items():
        errors = [case.error(pi) for pi in (False, True)]
        low, high = np.degrees(case.scan()[[0, -1]])
        met = "met" if max(errors) <= case.goal else "missed"
        rows.append([name, f"{low:.2f} … {high:.2f}", *(f"{e:.1e}" for e in errors), f"≤ {case.goal:.0e}: {met}"])
    print(_bench.machine())
    header = ["sample and reflection", "scan (°)", "σ", "π", "goal"]
    _bench.table("Largest abs(R - R of four waves)/(R of four waves + 1e-8)", header, rows)


if __name__ == "__main__":
    main()
