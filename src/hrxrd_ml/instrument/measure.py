"""From the reflectivity at the nodes of a grid to the expected counts of a measurement, with exact derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hrxrd_ml.arrays import ComplexArray, FloatArray
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.instrument.background import Background
from hrxrd_ml.instrument.convolution import Convolution
from hrxrd_ml.instrument.counting import base_space, recorded
from hrxrd_ml.instrument.resolution import Broadening, Transform
from hrxrd_ml.parameters import unknown_name
from hrxrd_ml.units import ARCSEC


def measure(
    rows: FloatArray,
    names: Sequence[str],
    values: Mapping[str, float],
    wanted: Sequence[str],
    *,
    convolution: Convolution,
    dtheta: FloatArray,
    response: Broadening,
    background: Background,
    narrowest: float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Return expected counts and their derivatives.

    Parameters
    ----------
    rows : ndarray, shape (1 + len(names), polarisations, m)
        Reflectivity at the nodes, weighted with the polarisations of the beam, and its derivatives.  One row for the
        sum of the polarisations, unless the resolution function tells them apart.
    names : sequence of str
        By which parameters the derivatives are.
    values : mapping
        Of the instrument's parameters.
    wanted : sequence of str
        Parameters by which counts are differentiated: those of the instrument, and of ``names``, in any order.
    convolution : Convolution
        On the grid with these nodes.
    dtheta : ndarray, shape (n,)
        Angles of the measurement: nominal offsets from the Bragg angle [rad].
    response : Broadening
    background : Background
    narrowest : float
        FWHM below which a resolution function changes nothing any more [arcsec].

    Returns
    -------
    counts : ndarray, shape (n,)
    jacobian : ndarray, shape (n, len(wanted))

    Raises
    ------
    ParameterError
        If a wanted parameter is none of those.
    """
    grid = convolution.grid
    place = {name: i for i, name in enumerate(wanted)}
    if place:
        known = {*names, *response.names, *background.space.names, *base_space().names}
        if unknown := place.keys() - known:
            raise ParameterError(unknown_name(min(unknown), tuple(sorted(known))))
    narrow = response.width(values) < narrowest
    shape = {**values, "fwhm": narrowest} if narrow else values
    shaped = [name for name in wanted if name in response.names and not (narrow and name == "fwhm")]
    transform, slopes = response.transform(grid, shape, shaped)
    spectrum = convolution.spectrum(rows[0])
    folded = [_folded(spectrum * each) for each in (transform, *slopes.values())]
    splines = convolution.coefficients(np.array(folded) * convolution.correction())

    from hrxrd_ml.instrument.spreading import cells, gather, gather_columns  # loads numba

    angle = values["step"] * dtheta - values["offset"] * ARCSEC
    caught, spilling = response.caught(angle)
    position = convolution.positions(angle)
    position = np.minimum(np.maximum(position, 2.0), grid.size - 3.0)
    first, weights, steepness = cells(position)
    reflectivity = gather(first, weights, splines[:1])[0]
    arcsec, scale = dtheta / ARCSEC, values["scale"] * caught
    arriving = scale * reflectivity + background.counts(arcsec, values)
    counts, through = recorded(arriving, values["dead_time"])
    jacobian = np.zeros((len(dtheta), len(wanted)))
    if not wanted:
        return counts, jacobian
    factor = scale * through
    for coefficients, changed in ((splines[1:], slopes), (_convolved(rows[1:], convolution, transform), names)):
        columns = np.array([place[name] for name in changed], dtype=np.int64)
        gather_columns(first, weights, coefficients, factor, columns, jacobian)
    if "scale" in place:
        jacobian[:, place["scale"]] = through * caught * reflectivity
    if "offset" in place or "step" in place:
        by_angle = factor / grid.step * gather(first, steepness, splines[:1])[0]
        by_angle = by_angle + values["scale"] * through * spilling * reflectivity
        for name, moved in (("offset", -ARCSEC), ("step", dtheta)):
            if name in place:
                jacobian[:, place[name]] = by_angle * moved
    if "dead_time" in place:
        jacobian[:, place["dead_time"]] = -counts * np.maximum(counts, 0.0)
    for name in background.space.names:
        if name in place:
            by_level = background.counts(arcsec, {**values, name: values[name] + 1j * STEP})
            jacobian[:, place[name]] = through * derivative(by_level)
    return counts, jacobian


def _convolved(rows: FloatArray, convolution: Convolution, transform: Transform) -> FloatArray:
    """Return the spline coefficients of rows (k, polarisations, m), convolved."""
    if len(rows) == 0:
        return np.zeros((0, convolution.grid.size))
    spectra = convolution.spectrum(rows.reshape(-1, rows.shape[-1])).reshape(*rows.shape[:2], -1)
    spectra *= transform * convolution.correction()
    return convolution.coefficients(_folded(spectra))


def _folded(products: ComplexArray) -> ComplexArray:
    """Return spectra (…, polarisations, frequencies) summed over polarisations."""
    return products[..., 0, :] if products.shape[-2] == 1 else products.sum(axis=-2)
