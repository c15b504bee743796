"""Compiled functions on disk: kept for the next process, until any source that went into them changes."""

import os
import subprocess
import sys

import pytest

OUTER = """
from hrxrd_ml.diffraction.kernels.compiling import entry
from inner import part


@entry
def whole(x):
    return 10.0 * part(x)
"""
INNER = """
from hrxrd_ml.diffraction.kernels.compiling import helper


@helper
def part(x):
    return x + {}
"""
CALL = """
from outer import whole
from hrxrd_ml.diffraction.kernels.compiling import in_cache

known = in_cache(whole)
print(whole(1.0), known, sum(whole.stats.cache_hits.values()))
"""


@pytest.fixture
def call(tmp_path):
    """Return a function that calls the entry in a new process: result, whether it was in the cache, times loaded."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "outer.py").write_text(OUTER)

    def run(added):
        (folder / "inner.py").write_text(INNER.format(added))
        os.utime(folder / "inner.py", (1e9, 1e9))  # a package may be unpacked with times of long ago
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        done = subprocess.run(
            [sys.executable, "-c", CALL], cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        value, known, loaded = done.stdout.split()
        return float(value), known == "True", int(loaded)

    return run


def test_a_change_of_a_helper_reaches_its_entries(call):
    assert call(1.0) == (20.0, False, 0)
    assert call(1.0) == (20.0, True, 1)
    assert call(2.0) == (30.0, False, 0)
    assert call(2.0) == (30.0, True, 1)
