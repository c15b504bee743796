"""Keeps BLAS, OpenMP and numba on one core; import this before any of them."""

import os

for name in ("OPENBLAS", "OMP", "MKL", "NUMBA"):
    os.environ[f"{name}_NUM_THREADS"] = "1"
