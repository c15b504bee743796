"""How functions are compiled: entries, which Python calls, and helpers, which only compiled functions call.

Most of what compiling costs is time of numba's own, in proportion to functions and statements.  A helper has no wrapper
for calls from Python or C and no file in the cache: it becomes part of its entries.  Division is that of NumPy, since
a check for zero in a loop keeps it from being vectorised.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

FLAGS = frozenset({"contract", "nsz", "arcp"})
"""What may be done to floating-point numbers: nothing that changes more than the last digit."""

_STAMP = "hrxrd_ml-sources"
_KERNELS = Path(__file__).parent

_PART: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

helper: Callable[..., Any] = njit(fastmath=set(FLAGS), **_PART)
"""Decorator of what compiled functions call."""

inlined: Callable[..., Any] = njit(fastmath=set(FLAGS), forceinline=True, **_PART)
"""The same of what loops call: LLVM inlines it, which unlike inlining by numba costs nothing."""

summing: Callable[..., Any] = njit(fastmath={*FLAGS, "reassoc"}, **_PART)
"""The same of what adds up, in any order, so that it is vectorised."""


def entry(function: Callable[..., Any]) -> Any:
    """Return a function compiled at its first call and kept on disk."""
    compiled = njit(cache=True, error_model="numpy", fastmath=set(FLAGS))(function)
    folder = compiled.stats.cache_path
    if folder is not None:
        _forget(Path(folder), Path(_source(function)).parent)
    return compiled


def in_cache(compiled: Any) -> bool:
    """Return whether the cache on disk holds an entry."""
    folder = compiled.stats.cache_path
    if folder is None:
        return True  # caching is switched off
    return any(Path(folder).glob(f"{Path(_source(compiled)).stem}.{compiled.__name__}-*.nbi"))


def _source(function: Callable[..., Any]) -> str:
    return sys.modules[function.__module__].__file__ or ""


@cache
def _forget(folder: Path, sources: Path) -> None:
    """Remove from a cache on disk what was compiled from other sources than those beside an entry and here.

    Numba itself looks at the source of the entry alone, not at those of its helpers.
    """
    files = sorted({*sources.glob("*.py"), *_KERNELS.glob("*.py")})
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    stamp = folder / _STAMP
    with suppress(OSError):
        if stamp.read_text() == digest:
            return
    with suppress(OSError):
        for index in folder.glob("*.nbi"):
            index.unlink()
        stamp.write_text(digest)
