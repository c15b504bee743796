"""The layers of a fitted stack: what each is made of, how thick, how strained, where it diffracts; with errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.special import ndtr

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.crystal.library import exchanged
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.inference.evaluator import tie_derivatives
from hrxrd_ml.results.derived import band, feasible_values
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.film import Film
from hrxrd_ml.specimen.superlattice import Part, Superlattice, depth_of, films_of, has_own_lattice
from hrxrd_ml.units import ARCSEC

if TYPE_CHECKING:
    from lmfit import Parameters

    from hrxrd_ml.model.result import RockingCurveResult
    from hrxrd_ml.model.rocking_curve import RockingCurveModel

HEIGHTS = np.linspace(0.0, 1.0, 11)
"""Shares of its thickness, from below, at which a layer is described."""

ORDERS = np.arange(-12, 13)
"""Of satellites of superlattices."""

SCALARS = {"thickness": "Å", "density": "1", "interface": "Å", "peak": "arcsec"}
ALONG = {"composition": "1", "strain": "1", "relaxation": "1"}
"""What is said of a layer, and what at each height of it, with units."""

_LABELS = {
    "thickness": "thickness",
    "density": "density, in parts of the nominal one",
    "interface": "width of the interface below",
    "peak": "angle of incidence of its Bragg condition, from that of the substrate",
    "composition": "composition",
    "strain": "strain out of the plane, relative to the lattice of the substrate",
    "relaxation": "relaxation: 0 has the lattice of the substrate in the plane",
}


def layers_of(model: RockingCurveModel, result: RockingCurveResult) -> xr.Dataset:
    """Return the layers of a fit, from the substrate up.

    Parameters
    ----------
    model : RockingCurveModel
        One of those of the fit.
    result : RockingCurveResult

    Returns
    -------
    xarray.Dataset
        Empty without films. Dimension ``layer``, with ``layer_material``, ``layer_element`` (of which ``composition``
        is the fraction), ``layer_repeats`` and ``layer_part`` (the superlattice, if it is in one); for each of
        `SCALARS`, and along ``layer_height`` for each of `ALONG`, the value as ``layer_thickness`` and so on, and its
        standard error as ``layer_thickness_sigma``, to first order. NaN is what a layer does not have.
    """
    simulation = model.simulation
    if not isinstance(simulation, RockingCurve) or not simulation.films:
        return xr.Dataset()
    owners, lattice = list[tuple[Part, Film, Reflection]](), simulation.reflection
    for part in simulation.films:
        if has_own_lattice(part):
            lattice = part.reference(simulation.reflection)  # also of what is grown on it
        owners += [(part, film, lattice) for film in films_of(part)]
    shape = (len(owners), len(SCALARS) + len(ALONG) * len(HEIGHTS))

    def described(params: Parameters) -> FloatArray:
        values = feasible_values(model, params.valuesdict())
        return np.concatenate([_layer(simulation.reflection, *owner, values) for owner in owners])

    found = described(result.params).reshape(shape)
    sigma = np.full(shape, np.nan)
    if result.covar is not None:
        derivatives = tie_derivatives(result.params.copy(), list(result.var_names), described)
        sigma = band(np.nan_to_num(derivatives), result.covar).reshape(shape)
        sigma[np.isnan(found)] = np.nan
    units = SCALARS | ALONG
    dataset = xr.Dataset(coords={"layer": [film.name for _, film, _ in owners], "layer_height": HEIGHTS})
    for k, name in enumerate(units):
        if name in SCALARS:
            where: Any = ("layer",)
            columns: Any = k
        else:
            where = ("layer", "layer_height")
            begin = len(SCALARS) + (k - len(SCALARS)) * len(HEIGHTS)
            columns = slice(begin, begin + len(HEIGHTS))
        label = _LABELS[name]
        dataset[f"layer_{name}"] = (where, found[:, columns], {"units": units[name], "long_name": label})
        about = {"units": units[name], "long_name": f"standard error of the {name}"}
        dataset[f"layer_{name}_sigma"] = (where, sigma[:, columns], about)
    dataset["layer_material"] = ("layer", [_material(film) for _, film, _ in owners])
    elements = ["" if film.x is None else exchanged(str(film.crystal), _first(film.x))[0] for _, film, _ in owners]
    dataset["layer_element"] = ("layer", elements)
    dataset["layer_repeats"] = ("layer", [getattr(part, "repeats", 1) for part, *_ in owners])
    dataset["layer_part"] = ("layer", [part.name if isinstance(part, Superlattice) else "" for part, *_ in owners])
    offset = feasible_values(model, result.params.valuesdict()).get("offset", 0.0)
    peak = simulation.reflection.refraction_shift() / ARCSEC + offset
    dataset["substrate_peak"] = ((), peak, {"units": "arcsec", "long_name": "where the substrate's peak is"})
    return dataset.merge(_satellites(dataset, simulation))


def _layer(
    substrate: Reflection, part: Part, film: Film, lattice: Reflection, values: Mapping[str, float]
) -> FloatArray:
    """Return the numbers of `SCALARS` and, height by height, of `ALONG`."""
    if isinstance(part, Superlattice):
        thickness = float(part.thicknesses(values)[part.layers.index(film)])
    else:
        thickness = float(depth_of(part, values))
    state = film.state(values, lattice, HEIGHTS)
    strain = np.broadcast_to(np.real(state.strain), HEIGHTS.shape)
    parallel = np.broadcast_to(np.real(state.parallel), HEIGHTS.shape)
    nothing = np.full(len(HEIGHTS), np.nan)
    own = [f"{each.name}_interface" for each in (film, part) if f"{each.name}_interface" in values]
    peak = math.nan
    if not film.amorphous:
        strains = float(strain.mean()), float(parallel.mean())
        peak = peak_of(substrate, *strains, float(np.real(state.tilt)), lattice=lattice)
    numbers = [thickness, values[f"{film.name}_density"], values[own[0]] if own else math.nan, peak]
    x = nothing if film.x is None else _along(film, values, "x")
    relaxation = nothing if f"{film.name}_relaxation" not in values else _along(film, values, "relaxation")
    if isinstance(film.relaxation, tuple):
        relaxation = _along(film, values, "relaxation")
    return np.concatenate([numbers, x, nothing if film.amorphous else strain, relaxation])


def _along(film: Film, values: Mapping[str, float], key: str) -> FloatArray:
    """Return a number of a film, or its gradient, at all heights."""
    nodes = getattr(film, key)
    if not isinstance(nodes, tuple):
        return np.full(len(HEIGHTS), values[f"{film.name}_{key}"])
    given = [values[f"{film.name}_{key}{k}"] for k in range(1, len(nodes) + 1)]
    return np.interp(HEIGHTS, np.linspace(0.0, 1.0, len(given)), given)


def peak_of(
    substrate: Reflection, strain: float, parallel: float, tilt: float = 0.0, *, lattice: Reflection | None = None
) -> float:
    """Return where a layer fulfils the Bragg condition, from where the substrate does [arcsec of ω].

    Exact for the kinematic condition of a layer whose lattice, that of the substrate if no other is given, is strained
    out of the plane and in it; NaN where no angle fulfils it.
    """
    own = lattice or substrate
    h, phi = own.diffraction_vector, own.inclination
    normal, along = h * math.cos(phi) / (1.0 + strain), h * math.sin(phi) / (1.0 + parallel)
    sine = 0.5 * math.hypot(normal, along) / own.wavenumber
    if not sine < 1.0:
        return math.nan
    incidence = math.asin(sine) + math.atan2(along, normal) + tilt
    return (incidence - substrate.bragg_angle - substrate.inclination) / ARCSEC


def _satellites(dataset: xr.Dataset, simulation: RockingCurve) -> xr.Dataset:
    """Return where the satellites of each superlattice are, from the substrate's Bragg angle [arcsec].

    The zeroth belongs to its mean strain; the others are the wavelength times γ_h over the period times sin(2θ_B)
    apart, to first order.
    """
    reflection, names, rows = simulation.reflection, [], []
    for part in (each for each in simulation.films if isinstance(each, Superlattice)):
        own = dataset.isel(layer=np.flatnonzero(dataset["layer_part"].values == part.name))
        thickness, strains = own["layer_thickness"].values, own["layer_strain"].values.mean(axis=1)
        if np.isfinite(strains).all():
            middle = peak_of(reflection, float(np.average(strains, weights=thickness)), 0.0)
            sine = float(thickness.sum()) * math.sin(2.0 * reflection.bragg_angle)
            names.append(part.name)
            rows.append(middle + ORDERS * reflection.wavelength * abs(reflection.gammah) / sine / ARCSEC)
    if not names:
        return xr.Dataset()
    about = {"units": "arcsec", "long_name": "angle of incidence of satellites, from that of the substrate"}
    coords = {"superlattice": names, "order": ORDERS}
    return xr.Dataset({"satellite": (("superlattice", "order"), np.array(rows), about)}, coords)


def depth_profile(dataset: xr.Dataset, name: str, points: int = 2000) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return depths [Å], what the stack has there, and its standard error; interfaces are as wide as they were found.

    Errors are those of the layers; that an interface may lie elsewhere is in the errors of the thicknesses.
    """
    order = _order(dataset)
    thickness = dataset["layer_thickness"].values[order]
    edges = np.concatenate([[0.0], np.cumsum(thickness)])
    total = float(edges[-1])
    height = np.linspace(-0.05 * total, total, points)
    widths = np.nan_to_num(dataset["layer_interface"].values)[order]
    widths = np.append(np.maximum(widths, 1e-3), 1.0)
    tops = np.append(edges[1:-1], np.inf)  # nothing lies on the surface
    below = ndtr(-(height - edges[0]) / widths[0])
    value, error = below * (1.0 if name == "density" else 0.0), np.zeros(points)  # that of the substrate
    whole, sigma = dataset[f"layer_{name}"].values, dataset[f"layer_{name}_sigma"].values
    if whole.ndim == 1:
        whole, sigma = (np.repeat(each[:, None], len(HEIGHTS), axis=1) for each in (whole, sigma))
    for k, row in enumerate(order):
        share = ndtr((height - edges[k]) / widths[k]) - ndtr((height - tops[k]) / widths[k + 1])
        at = np.clip((height - edges[k]) / thickness[k], 0.0, 1.0)
        value += share * np.interp(at, HEIGHTS, np.nan_to_num(whole[row]))
        error += share * np.interp(at, HEIGHTS, np.nan_to_num(sigma[row]))
    return (total - height)[::-1], value[::-1], error[::-1]


def _order(dataset: xr.Dataset) -> list[int]:
    """Return the numbers of the layers from the substrate up, repeats one after the other."""
    parts, repeats = dataset["layer_part"].values.tolist(), dataset["layer_repeats"].values.tolist()
    order: list[int] = []
    k = 0
    while k < len(parts):
        count = 1
        while parts[k] and k + count < len(parts) and parts[k + count] == parts[k]:
            count += 1
        order += list(range(k, k + count)) * int(repeats[k])
        k += count
    return order


def _material(film: Film) -> str:
    return str(film.crystal) if isinstance(film.crystal, str) else str(film.crystal.name)


def _first(nodes: Any) -> float:
    return float(nodes[0] if isinstance(nodes, tuple) else nodes)
