"""Polynomials in several variables, with gradients that compiled code can use."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
        columns = np.array([products(place, monomials) for place in z])
        penalty = np.full(columns.shape[1], _RIDGE)
        penalty[0] = 0.0  # the constant
        weighted = columns.T * weights
        solved = np.linalg.solve(weighted @ columns + np.diag(penalty), weighted @ values)
        return cls(monomials, np.ascontiguousarray(solved, dtype=np.float64))

    def __call__(self, z: Array) -> Array:
        """Return the values, shape (k,), at a place (d,)."""
        return np.asarray(products(z, self.monomials) @ self.coefficients)

    def pullback(self, z: Array, weights: Array) -> Array:
        """Return the gradient, shape (d,), of the sum of the values times weights (k,)."""
        return np.asarray(pullback(z, products(z, self.monomials), self.monomials, self.coefficients @ weights))


@njit(cache=True)
def products(z: Array, monomials: Monomials) -> Array:
    """Return all products at a place."""
    found = np.ones(len(monomials.shorter))
    for m in range(1, len(found)):
        found[m] = found[monomials.shorter[m]] * z[monomials.variable[m]]
    return found


@njit(cache=True)
def pullback(z: Array, known: Array, monomials: Monomials, by: Array) -> Array:
    """Return the gradient of the sum of known products times ``by``, which is overwritten: the chain rule backwards."""
    gradient = np.zeros(len(z))
    for m in range(len(known) - 1, 0, -1):
        shorter, variable = monomials.shorter[m], monomials.variable[m]
        gradient[variable] += by[m] * known[shorter]
        by[shorter] += by[m] * z[variable]
    return gradient
