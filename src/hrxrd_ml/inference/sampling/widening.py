"""Samples that know what the model misses: the open-faced sandwich.

Where a model is wrong, the likelihood is too narrow a distribution.  Its samples, spread about its maximum by a linear
map, have the covariance that knows of the misfit, and keep their shape (Shaby, J. Comput. Graph. Stat. 23, 853 (2014)).
The map takes the covariance that they have, not the one that the fit expects of them: where the model is wrong, these
differ too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.inference.covariance import reflected
from hrxrd_ml.inference.misfit import at_least
from hrxrd_ml.inference.sampling.peaks import nearest

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Widening:
    """Spreads samples about the maxima of a posterior.

    Attributes
    ----------
    centres : ndarray, shape (k, d)
        The maxima, in the box.
    covariance : ndarray, shape (n, n)
        What the samples of the first n coordinates shall have about a maximum; in no direction do they get less than
        they have.  Coordinates beyond, such as the size of the noise, stay what they are.
    lower, upper : ndarray, shape (d,)
        Walls of the box, at which samples are reflected.
    """

    centres: Array
    covariance: Array
    lower: Array
    upper: Array

    def __call__(self, chain: Array) -> Array:
        """Return the samples of a chain (steps, walkers, d), those of each walker about the maximum where it is."""
        free, centre = len(self.covariance), self.centres[nearest(chain, self.centres)]
        off = chain - centre
        known = np.tensordot(off[..., :free], off[..., :free], axes=((0, 1), (0, 1))) / off[..., 0].size
        if not np.diag(known).all():  # nobody has moved yet
            return chain
        off[..., :free] = off[..., :free] @ at_least([self.covariance], known).T
        return reflected(centre + off, self.lower, self.upper)
