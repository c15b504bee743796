"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, and no limit on the time of one: the first may import or compile something.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of measured third-party curves, which lie beside the repository and are no part of it."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("HRXRD_ML_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"measured curves not found in {folder}; set HRXRD_ML_DATA to their folder")
    return folder
