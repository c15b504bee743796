"""Speed and accuracy for a smooth profile: graded lamellae beside loops over uniform ones."""

from collections.abc import Callable

import _bench
import _peers
import numpy as np
from numpy.typing import NDArray

from hrxrd_ml import Reflection, RockingCurve
from hrxrd_ml.diffraction import coherent
from hrxrd_ml.diffraction.coherent import reflectivity
from hrxrd_ml.diffraction.lamellae import Lamellae
from hrxrd_ml.specimen.damage import TiedDamage
from hrxrd_ml.specimen.layers import discretise
from hrxrd_ml.specimen.profile.base import extreme
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile

FloatArray = NDArray[np.float64]
CLASSIC = 290
"""Sublayers of 20 Å in the typical profile."""


def graded(reflection: Reflection, strain_range: float) -> Lamellae:
    """Graded lamellae of the typical profile, from its parameters."""
    made = discretise(
        ImplantedProfile(),
        TiedDamage(),
        _bench.SEVEN,
        diffraction_vector=reflection.diffraction_vector,
        strain_range=strain_range,
    )
    return Lamellae.of_one_crystal(reflection, made.thickness, made.strain, made.debye_waller)


def sliced(reflection: Reflection, count: int) -> Lamellae:
    """About ``count`` uniform lamellae of equal thickness between the kinks of the typical profile."""
    profile, values = ImplantedProfile(), _bench.SEVEN
    edges = profile.segments(values).edges
    pieces = np.maximum(np.round(count * np.diff(edges) / edges[-1]), 1).astype(int)
    cuts = [np.linspace(a, b, n + 1) for a, b, n in zip(edges[:-1], edges[1:], pieces, strict=True)]
    thickness = np.concatenate([np.diff(cut) for cut in cuts])
    strain = profile.evaluate(np.concatenate([0.5 * (cut[1:] + cut[:-1]) for cut in cuts]), values)
    exponent = values["damage"] * strain / extreme(profile, values)[0]
    return Lamellae.of_one_crystal(reflection, thickness, strain, np.exp(-exponent))


def error(curve: FloatArray, exact: FloatArray) -> float:
    """Largest error relative to R + 1e-6."""
    return float(np.max(np.abs(curve - exact) / (exact + 1e-6)))


def equally_good(reflection: Reflection, exact: FloatArray, wanted: float) -> Lamellae:
    """The fewest uniform lamellae that are as accurate as wanted, to a few in a hundred, by bisection."""
    low, high = CLASSIC, 20_000
    while high - low > 0.02 * low:
        count = (low + high) // 2
        if error(reflectivity(reflection, sliced(reflection, count), _bench.ANGLES), exact) > wanted:
            low = count
        else:
            high = count
    return sliced(reflection, high)


def smooth() -> None:
    """The seven-parameter profile: graded lamellae beside a NumPy loop over uniform ones."""
    reflection, dtheta = _bench.ggg(), _bench.ANGLES
    reach = RockingCurve.of(reflection).bind(dtheta).strain_range
    # Uniform lamellae, extrapolated to zero thickness: another kernel and another grid.
    coarse, fine = (reflectivity(reflection, sliced(reflection, n), dtheta) for n in (5800, 11600))
    exact = fine + (fine - coarse) / 3.0
    weights = np.array(reflection.polarization_weights)

    def whole() -> FloatArray:
        return reflectivity(reflection, graded(reflection, reach), dtheta)

    def prepared() -> FloatArray:
        r = coherent.amplitude(coherent.coefficients(reflection, graded(reflection, reach), dtheta))
        return np.asarray(weights @ (r.real**2 + r.imag**2))

    def tuned(lamellae: Lamellae) -> Callable[[], FloatArray]:
        return lambda: _peers.numpy_loop(reflection, lamellae, dtheta)

    def plain(lamellae: Lamellae) -> Callable[[], FloatArray]:
        return lambda: reflectivity(reflection, lamellae, dtheta, backend="reference")

    classic, good = sliced(reflection, CLASSIC), equally_good(reflection, exact, error(whole(), exact))
    count, many = len(graded(reflection, reach).thickness), len(good.thickness)
    lines: list[tuple[str, Callable[[], FloatArray], float]] = [
        (f"graded lamellae ({count}), from the parameters", whole, 0.0),
        (f"graded lamellae ({count}), one sweep", prepared, 0.0),
        (f"uniform lamellae ({CLASSIC}), numba", lambda: reflectivity(reflection, classic, dtheta), 0.0),
        (f"uniform lamellae ({CLASSIC}), NumPy loop, tuned", tuned(classic), 40.0),
        (f"uniform lamellae ({CLASSIC}), NumPy loop, plain", plain(classic), 40.0),
        (f"uniform lamellae ({many}), NumPy loop, tuned", tuned(good), 300.0),
        (f"uniform lamellae ({many}), NumPy loop, plain", plain(good), 300.0),
    ]
    times = _bench.compare({name: call for name, call, _ in lines})
    first = times[lines[0][0]].median
    rows = []
    for name, call, limit in lines:
        t, aim = times[name], ""
        if limit:
            aim = _bench.goal(t.median / first, limit, least=True)
        elif call is whole:
            aim = _bench.goal(1e3 * t.median, 0.6, unit=" ms")
        numbers = [f"{error(call(), exact):.1e}", _bench.ms(t.median), _bench.ms(t.shortest)]
        rows.append([name, *numbers, f"{t.median / first:.3g}", aim])
    _bench.table(
        "A seven-parameter profile of 5800 Å, GGG 444, 701 angles, 2 polarisations",
        ["what", "error", "median (ms)", "shortest (ms)", "ratio", "goal"],
        rows,
    )
    print(
        "\nError: largest abs(R - R_exact)/(R_exact + 1e-6), R_exact from 5800 and 11600 uniform lamellae by\n"
        f"Richardson. {many} lamellae are what the loop needs for the error of the graded ones; nothing is\n"
        "extrapolated. Making lamellae from the parameters is counted for the graded ones only."
    )
