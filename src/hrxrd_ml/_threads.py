"""How many processes and threads to use: one BLAS thread for the small linear algebra of a fit."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # which macOS and Windows have not
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_thread() -> Any:
    """Return a context in which BLAS uses one thread."""
    return _controller().limit(limits=1, user_api="blas")
