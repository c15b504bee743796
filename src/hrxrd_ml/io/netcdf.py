"""Datasets as netCDF files, without leaving the writing on a disk to the HDF5 library."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import xarray as xr


def netcdf(dataset: xr.Dataset | xr.DataTree, encoding: Mapping[str, Any] | None = None) -> bytes:
    """Return the content of a netCDF file; nodes of a tree are its groups.

    It is made in memory: where a disk is full, the HDF5 library ends the process with a segmentation fault instead of
    an error.
    """
    import h5netcdf
    from xarray.backends import H5NetCDFStore

    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as file:
        # Not to_netcdf, which takes no buffer in older versions of xarray.
        nodes = {"/": dataset} if isinstance(dataset, xr.Dataset) else dataset.to_dict()
        for path, node in nodes.items():
            group = file if path == "/" else file.create_group(path)
            node.dump_to_store(H5NetCDFStore(group), encoding=dict(encoding or {}))
    return buffer.getvalue()
