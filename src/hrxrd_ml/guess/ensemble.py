"""The guesses of several providers, of which the curve chooses one: checkpoints of a training, or seeds of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.guess.task import guess_by

if TYPE_CHECKING:
    import xarray as xr
    from lmfit import Parameters

    from hrxrd_ml.model.provider import GuessProvider


@dataclass(frozen=True)
class EnsembleGuess:
    """The guess that describes the curve best, of those of several providers, and how far they are apart.

    Which one is best is a matter of the likelihood of the curve; no truth is needed.  Each parameter's ``user_data``
    has the standard deviation of what the members say as ``spread``, beside who guessed: where they are apart, the
    curve or the networks leave something open.

    Parameters
    ----------
    members : sequence of GuessProvider
        Such as ``NetworkGuess(path)`` for some checkpoints; at least one.
    """

    members: Sequence[GuessProvider]

    def __post_init__(self) -> None:
        """Check that there is somebody to ask."""
        if not self.members or not all(hasattr(member, "guess") for member in self.members):
            raise ParameterError(
                f"expected providers of guesses, such as NetworkGuess(path), at least one, got {self.members!r}"
            )

    def guess(self, model: Any, curve: xr.DataArray) -> Parameters:
        """Return start values for a model, inside all its bounds.

        Raises
        ------
        HrxrdError
            If one of the members cannot guess.
        """
        found = [member.guess(model, curve) for member in self.members]
        observation = model.observe(curve)
        used = observation.used
        misses = []
        for params in found:
            residual = observation.likelihood.residual(np.asarray(model.eval(params, x=observation.x)))[used]
            misses.append(float(residual @ residual))
        number = int(np.argmin(misses))
        best = found[number]
        several = f"member {number + 1} of {len(found)}"
        note = "; ".join(filter(None, (several, guess_by(best).get("note", ""))))
        for name, par in best.items():
            spread = float(np.std([params[name].value for params in found]))
            about = par.user_data.get("guess", {}) if isinstance(par.user_data, dict) else {}
            par.user_data = {"guess": about | {"note": note, "spread": spread}}
        return best
