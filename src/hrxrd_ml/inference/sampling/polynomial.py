"""Polynomials in several variables, with gradients that compiled code can use."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.diffraction.kernels.compiling import helper

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

_RIDGE = 1e-2


class Monomials(NamedTuple):
    """Products of variables, each one (but the first, 1) that of a shorter product and of one more variable."""

    shorter: Numbers
    variable: Numbers

    @classmethod
    def of(cls, size: int, degree: int) -> Monomials:
        """Return all products of up to ``degree`` out of ``size`` variables."""
        factors = [p for n in range(degree + 1) for p in combinations_with_replacement(range(size), n)]
        number = {product: i for i, product in enumerate(factors)}
        shorter = [0] + [number[product[:-1]] for product in factors[1:]]
        return cls(np.array(shorter), np.array([0] + [product[-1] for product in factors[1:]]))

    def at(self, places: Array) -> Array:
        """Return all products at places (n, d), shape (n, m)."""
        found = np.ones((len(self.shorter), len(places)))
        for m in range(1, len(found)):
            found[m] = found[self.shorter[m]] * places[:, self.variable[m]]
        return np.ascontiguousarray(found.T)


@dataclass(frozen=True)
class Polynomial:
    """Polynomials in d variables of about unit size.

    Attributes
    ----------
    monomials : Monomials
        m of them.
    coefficients : ndarray, shape (m, k)
    """

    monomials: Monomials
    coefficients: Array

    @classmethod
    def fit(cls, z: Array, values: Array, degree: int, weights: Array) -> Polynomial:
        """Return polynomials through values (n, k) at places (n, d), by weighted least squares with a slight ridge."""
        monomials = Monomials.of(z.shape[1], degree)
        columns = monomials.at(z)
        penalty = np.full(columns.shape[1], _RIDGE)
        penalty[0] = 0.0  # the constant
        weighted = columns.T * weights
        solved = np.linalg.solve(weighted @ columns + np.diag(penalty), weighted @ values)
        return cls(monomials, np.ascontiguousarray(solved, dtype=np.float64))

    def __call__(self, z: Array) -> Array:
        """Return the values, shape (k,), at a place (d,)."""
        return np.asarray(self.monomials.at(z[None])[0] @ self.coefficients)


@helper
def products(z: Array, monomials: Monomials) -> Array:
    """Return all products at a place."""
    shorter, variable = monomials.shorter, monomials.variable
    found = np.empty(shorter.shape[0])
    found[0] = 1.0
    for m in range(1, found.shape[0]):
        found[m] = found[shorter[m]] * z[variable[m]]
    return found


@helper
def pullback(z: Array, known: Array, monomials: Monomials, by: Array) -> Array:
    """Return the gradient of the sum of known products times ``by``, which is overwritten: the chain rule backwards."""
    gradient = np.empty(z.shape[0])
    for i in range(z.shape[0]):
        gradient[i] = 0.0
    for m in range(known.shape[0] - 1, 0, -1):
        shorter, variable = monomials.shorter[m], monomials.variable[m]
        gradient[variable] += by[m] * known[shorter]
        by[shorter] += by[m] * z[variable]
    return gradient
