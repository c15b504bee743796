"""What a study found: printed, and written as table, dataset and picture."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


def report(
    stem: str, tables: str, found: xr.Dataset, plot: Callable[[xr.Dataset], Figure] | None, folder: Path | None
) -> None:
    """Print tables; with a folder, write them, the dataset and a picture there, by the name ``stem``."""
    from hrxrd_ml.io.files import staged_folder
    from hrxrd_ml.io.netcdf import netcdf

    sys.stdout.write(tables)
    if folder is not None:
        with staged_folder(folder) as out:
            (out / f"{stem}.md").write_text(tables, encoding="utf-8")
            (out / f"{stem}.nc").write_bytes(netcdf(found))
            if plot is not None:
                plot(found).savefig(out / f"{stem}.png", dpi=120)
