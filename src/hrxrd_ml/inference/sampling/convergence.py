"""Whether a chain is long enough to be believed: autocorrelation time, and agreement of the walkers."""

from __future__ import annotations

import math

import numpy as np
from emcee.autocorr import integrated_time
from numpy.typing import NDArray

Array = NDArray[np.float64]

TAUS = 50.0
"""A chain is long enough at so many autocorrelation times of every parameter …"""

RHAT = 1.01
"""… if its walkers agree so well, too."""


def autocorrelation_times(chain: Array) -> Array:
    """Return the integrated autocorrelation time [steps] of each parameter of a chain (steps, walkers, parameters).

    Goodman & Weare, Commun. Appl. Math. Comput. Sci. 5 (2010) 65, as emcee estimates it; too small for short chains.
    """
    with np.errstate(all="ignore"):  # a chain that has not moved has no such time
        return np.asarray(integrated_time(chain, quiet=True, tol=0))


def split_rhat(chain: Array) -> Array:
    """Return the split R-hat of each parameter of a chain (steps, walkers, parameters); infinity below four steps.

    Each walker's chain is cut in two halves; R-hat compares the variance between the halves of all walkers with that
    within them.  Gelman et al., Bayesian Data Analysis, 3rd ed. (2013), section 11.4.
    """
    half = len(chain) // 2
    if half < 2:
        return np.full(chain.shape[2], math.inf)
    parts = np.concatenate([chain[:half], chain[half : 2 * half]], axis=1)
    within = parts.var(axis=0, ddof=1).mean(axis=0)
    between = half * parts.mean(axis=0).var(axis=0, ddof=1)
    moving = within > 0.0
    found = np.where(between > 0.0, math.inf, 1.0)
    found[moving] = np.sqrt(((half - 1) * within[moving] + between[moving]) / half / within[moving])
    return found


def converged(times: Array, rhat: Array, steps: int) -> bool:
    """Tell whether a chain of so many steps is long enough."""
    known = bool(np.isfinite(times).all() and np.isfinite(rhat).all())
    return known and steps > TAUS * float(times.max()) and float(rhat.max()) <= RHAT
