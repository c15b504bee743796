"""Who guesses start values: providers, by name or as objects."""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import xarray as xr
from lmfit import Parameters

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.model.observation import Observation

PROVIDERS: Mapping[str, str] = {
    "classical": "hrxrd_ml.guess.classical:ClassicalGuess",
    "network": "hrxrd_ml.guess.network.provider:NetworkGuess",
}
"""Names of guess providers, and the modules that define them."""


class GuessProvider(Protocol):
    """Anything that can give start values for a curve."""

    def guess(self, model: Any, curve: xr.DataArray) -> Parameters:
        """Parameters of ``model``, inside every bound, for ``curve``."""


def guess_provider(provider: str | GuessProvider | None) -> GuessProvider:
    """Return a guess provider, by name or as it is; the network for None."""
    if provider is not None and not isinstance(provider, str):
        if not hasattr(provider, "guess"):
            raise ParameterError(f"a guess provider has a method guess(model, curve); {provider!r} has none")
        return provider
    name = provider or "network"
    if name not in PROVIDERS:
        near = difflib.get_close_matches(name, PROVIDERS) or sorted(PROVIDERS)
        raise ParameterError(f"unknown guess provider {name!r}; known: {', '.join(near)}")
    module, _, attribute = PROVIDERS[name].partition(":")
    source: GuessProvider = getattr(importlib.import_module(module), attribute)()
    return source


def joint_guess(model: Any, observations: Sequence[Observation], provider: GuessProvider) -> Parameters:
    """Return start values of a joint model, from those of each of its curves; see `hrxrd_ml.guess.joint`."""
    guess: Parameters = importlib.import_module("hrxrd_ml.guess.joint").guess(model, observations, provider)
    return guess
