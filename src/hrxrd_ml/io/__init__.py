"""Measured curves: from data files to labelled arrays, one module a format.

| format | files | module |
|---|---|---|
| columns of text | .csv .tsv .xy .dat .txt | `text` |
| PANalytical | .xrdml | `xrdml` |
| Rigaku | .ras, .rasx | `ras`, `rasx` |
| Bruker | .brml | `brml` |

Binary .raw files are refused with advice how to export them: no kept, permissively licensed library reads
them.
"""

from hrxrd_ml.io.curve import MAX_POINTS, MIN_POINTS, leave_out, make_curve
from hrxrd_ml.io.read import read_curve

__all__ = ["MAX_POINTS", "MIN_POINTS", "leave_out", "make_curve", "read_curve"]
