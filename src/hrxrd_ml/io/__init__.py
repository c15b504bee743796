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
