"""Threads and processes: how many, one BLAS thread for small linear algebra, workers that end at Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
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
    """Return a context in which BLAS uses one thread; in the small problems of a fit more only wait for each other."""
    return _controller().limit(limits=1, user_api="blas")


def begin_worker() -> None:
    """Make a process of a pool end without a message at Ctrl-C, which a terminal sends to it as well."""
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
