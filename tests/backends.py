"""The implementations of the dynamical equations that can be compared here."""

from importlib.util import find_spec

from hrxrd_ml.diffraction import coherent

INSTALLED = tuple(name for name in coherent.BACKENDS if name != "torch" or find_spec("torch") is not None)
"""All of them, but for the one in torch where there is no torch."""
