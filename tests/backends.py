"""The implementations of the dynamical equations that can be compared here."""

from importlib.util import find_spec

from hrxrd_ml import dynamical

INSTALLED = tuple(name for name in dynamical.BACKENDS if name != "torch" or find_spec("torch") is not None)
"""All of them, but for the one in torch where there is no torch."""
