"""Whether a chain can be believed: agreement of the walkers, and how many independent samples it is worth.

Vehtari, Gelman, Simpson, Carpenter & Bürkner, Bayesian Anal. 16, 667 (2021): both of ranks, turned into a normal
distribution, so that they hold for any shape; what ArviZ prints as ``r_hat`` and ``ess_bulk``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

Array = NDArray[np.float64]

RHAT = 1.01
"""A chain has converged if its walkers agree so well …"""

ENOUGH = 400.0
"""… and it is worth so many independent samples, both for every parameter."""


def rank_rhat(chain: Array) -> Array:
    """Return the R-hat of each parameter of a chain (steps, walkers, parameters); infinity below eight steps.

    Each walker's chain is cut in two halves; R-hat compares the variance between the halves of all walkers with that
    within them, of ranks and of ranks of the distance from the median, whichever is larger.
    """
    if len(chain) < 8:
        return np.full(chain.shape[2], math.inf)
    halves = _halves(chain)
    far = np.abs(halves - np.median(halves, axis=(0, 1)))
    return np.asarray(np.maximum(_rhat(_normal_scores(halves)), _rhat(_normal_scores(far))))


def bulk_ess(chain: Array) -> Array:
    """Return how many independent samples the middle of a chain (steps, walkers, parameters) is worth; 0 below eight
    steps.

    From the autocorrelation within and the variance between the halves of all walkers, with Geyer's initial monotone
    sequence (Stat. Sci. 7, 473 (1992)).
    """
    if len(chain) < 8:
        return np.zeros(chain.shape[2])
    scores = _normal_scores(_halves(chain))
    steps, chains, size = scores.shape
    within, total = _variances(scores)
    off = scores - scores.mean(axis=0)
    power = np.abs(np.fft.rfft(off, 2 * steps, axis=0)) ** 2
    covariance = np.fft.irfft(power, axis=0)[:steps].mean(axis=1) / steps
    found = np.full(size, float(steps * chains))
    for i in np.flatnonzero(total > 0.0):
        correlation = 1.0 - (within[i] - covariance[:, i]) / total[i]
        correlation[0] = 1.0
        pairs = correlation[: steps // 2 * 2].reshape(-1, 2).sum(axis=1)
        end = int(np.argmax(pairs < 0.0)) if (pairs < 0.0).any() else len(pairs)
        time = 2.0 * np.minimum.accumulate(pairs[:end]).sum() - 1.0
        found[i] = steps * chains / max(time, 1.0 / math.log10(steps * chains))
    return found


def converged(rhat: Array, samples: Array) -> bool:
    """Tell whether a chain with this R-hat and so many independent samples of each parameter can be believed."""
    return bool((rhat <= RHAT).all() and (samples >= ENOUGH).all())


def _halves(chain: Array) -> Array:
    half = len(chain) // 2
    return np.concatenate([chain[:half], chain[-half:]], axis=1)


def _normal_scores(chain: Array) -> Array:
    """Return what a normal distribution has at the ranks of the samples of each parameter."""
    ranks = rankdata(chain.reshape(-1, chain.shape[2]), axis=0)
    return np.asarray(norm.ppf((ranks - 0.375) / (len(ranks) + 0.25)).reshape(chain.shape))


def _variances(chain: Array) -> tuple[Array, Array]:
    """Return the variance within chains, and the estimate of the variance of all with that between them."""
    steps = len(chain)
    within = chain.var(axis=0, ddof=1).mean(axis=0)
    return within, (steps - 1.0) / steps * within + chain.mean(axis=0).var(axis=0, ddof=1)


def _rhat(chain: Array) -> Array:
    within, total = _variances(chain)
    found = np.where(total > 0.0, math.inf, 1.0)  # a chain that has not moved from one place, or from several
    found[within > 0.0] = np.sqrt(total[within > 0.0] / within[within > 0.0])
    return found
