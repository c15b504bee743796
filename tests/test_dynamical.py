"""Kernels and reference agree, and so do derivatives with differences of the reference."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from differences import central
from hrxrd_ml import Reflection
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.diffraction import chain, coherent
from hrxrd_ml.diffraction.lamellae import Lamellae, coefficients
from hrxrd_ml.diffraction.reference import amplitude as reference_amplitude
from hrxrd_ml.errors import CurveError

REFLECTIONS = (
    Reflection("GGG", (4, 4, 4), 1.5405, monochromator=("Si 111", "Ge 111")),
    Reflection("GaAs", (1, 1, 5), 1.5405, surface=(0, 0, 1), exit="high"),
    Reflection("GaAs", (2, 2, 4), 1.5405, surface=(0, 0, 1), exit="low"),
    Reflection("Si", (0, 0, 4), 1.2),
)
CASES = range(50)


def smooth(rng, zeta, size):
    """Random smooth function of depth, between 0 and size."""
    phase = rng.uniform(0.0, 2.0 * np.pi, 3)
    wave = sum(np.sin((k + 1) * np.pi * zeta + phase[k]) / (k + 1) for k in range(3))
    return 0.5 * size * (1.0 + wave / np.abs(wave).max(initial=1.0))


def random_case(seed, nodes):
    """Reflection, lamellae and ascending offsets."""
    rng = np.random.default_rng(seed)
    reflection = REFLECTIONS[seed % len(REFLECTIONS)]
    n = int(rng.integers(1, 30))
    thickness = rng.uniform(5.0, 100.0, n) * min(1.0, 1.5 * reflection.gammah)  # so that one step will do
    if nodes == 1 and seed % 3 == 0:  # some of them thick, and some very thick
        thickness *= 10.0 ** rng.uniform(0.0, 3.0, n)
    edges = np.concatenate([[0.0], np.cumsum(thickness)]) / thickness.sum()
    depth = np.stack([edges[:-1], 0.5 * (edges[:-1] + edges[1:]), edges[1:]], axis=1)
    depth = depth if nodes == 3 else depth[:, 1:2]
    own = Material.of(reflection)
    factors = rng.uniform(0.5, 1.2, 2)
    other = Material(factors[0] * own.chi0, *(tuple(factors[1] * c for c in v) for v in (own.chih, own.chihbar)))
    lamellae = Lamellae(
        thickness,
        smooth(rng, depth, rng.uniform(-0.01, 0.02)),
        np.exp(-smooth(rng, depth, rng.uniform(0.0, 1.0))),
        (other, own),
        rng.integers(0, 2, n),
        strain_parallel=smooth(rng, depth[:, nodes // 2], 0.002) if seed % 2 else None,
        substrate_debye_waller=rng.uniform(0.8, 1.0),
    )
    dtheta = np.sort(rng.uniform(-0.015, 0.01, int(rng.integers(1, 200))))
    return reflection, lamellae, dtheta


@pytest.mark.parametrize("nodes", [1, 3], ids=["uniform", "graded"])
def test_twins_agree_with_the_reference(nodes):
    for seed in CASES:
        reflection, lamellae, dtheta = random_case(seed, nodes)
        linear = bool(seed % 5 == 0)
        c = coefficients(reflection, lamellae, dtheta, linear)
        np.testing.assert_allclose(
            coherent.amplitude(c), reference_amplitude(c), rtol=0.0, atol=1e-10, err_msg=f"seed {seed}"
        )


def test_uniform_lamellae_take_angles_in_any_order():
    reflection, lamellae, dtheta = random_case(3, 1)
    shuffled = np.random.default_rng(0).permutation(dtheta)
    got = coherent.reflectivity(reflection, lamellae, shuffled)
    expected = coherent.reflectivity(reflection, lamellae, shuffled, backend="reference")
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("nodes", [1, 3], ids=["uniform", "graded"])
def test_a_bare_substrate_has_no_lamellae(nodes):
    reflection = REFLECTIONS[0]
    empty = np.zeros((0, nodes))
    lamellae = Lamellae.of_one_crystal(reflection, np.zeros(0), empty, empty)
    dtheta = np.linspace(-1e-4, 3e-4, 65)
    curves = [coherent.reflectivity(reflection, lamellae, dtheta, backend=b) for b in coherent.BACKENDS]
    np.testing.assert_allclose(curves[0], curves[1], atol=1e-14)


def graded_pile(reflection, thickness, nodes=3):
    strain = np.array([[0.02, 0.021, 0.022], [0.022, 0.021, 0.02], [0.02, 0.01, 0.0]])
    return Lamellae.of_one_crystal(reflection, np.full(3, thickness), strain[:, :nodes], np.exp(-20.0 * strain))


def test_graded_lamellae_are_cut_as_thin_as_the_kernel_needs():
    reflection = REFLECTIONS[0]
    thick = graded_pile(reflection, 900.0)
    dtheta = np.linspace(-0.02, 0.005, 301)
    fine = chain.split(thick, np.full(3, 400))
    expected = coherent.reflectivity(reflection, fine, dtheta)
    np.testing.assert_allclose(coherent.reflectivity(reflection, thick, dtheta), expected, rtol=2e-3, atol=1e-7)
    with pytest.raises(ValueError, match="use thinner lamellae"):
        coherent.amplitude(coefficients(reflection, thick, dtheta))


# -- derivatives


def moved(lamellae, rows, step):
    """The lamellae with (strain nodes, E nodes, thickness) moved by step times rows."""
    nodes = lamellae.strain.shape[1]
    return replace(
        lamellae,
        strain=lamellae.strain + step * rows[:, :nodes],
        debye_waller=lamellae.debye_waller + step * rows[:, nodes : 2 * nodes],
        thickness=lamellae.thickness + step * rows[:, -1],
    )


def by_node(rows):
    """Derivatives of strain, E and thickness from rows (n, p, 2 nodes + 1)."""
    rows = np.swapaxes(rows, 0, 1)
    nodes = rows.shape[2] // 2
    return rows[..., :nodes], rows[..., nodes:-1], rows[..., -1]


@pytest.mark.parametrize("nodes", [1, 3], ids=["uniform", "graded"])
@pytest.mark.parametrize("seed", range(12))
def test_jacobian_agrees_with_differences_of_the_reference(seed, nodes):
    reflection, lamellae, dtheta = random_case(seed, nodes)
    linear = seed % 5 == 0
    rng = np.random.default_rng(seed)
    n, parameters = len(lamellae.thickness), 3
    scales = np.concatenate([np.full(nodes, 1e-3), np.full(nodes, 0.1), [3.0]]) * 100.0 / lamellae.thickness.max()
    rows = rng.normal(size=(n, parameters, 2 * nodes + 1)) * scales
    rows[rng.uniform(size=(n, parameters)) < 0.3] = 0.0
    rows[0] = scales

    def reference(stack):
        return coherent.reflectivity(reflection, stack, dtheta, linear=linear, backend="reference")

    value, jacobian = coherent.reflectivity_and_jacobian(reflection, lamellae, dtheta, *by_node(rows), linear=linear)
    assert jacobian.shape == (parameters + 1, len(dtheta))
    np.testing.assert_allclose(value, reference(lamellae), atol=1e-10)
    for k in range(parameters):
        expected = central(lambda step, k=k: reference(moved(lamellae, rows[:, k], step)), 1e-4)
        assert np.abs(jacobian[k] - expected).max() <= 1e-6 * np.abs(expected).max()
    e = lamellae.substrate_debye_waller
    expected = central(lambda s: reference(replace(lamellae, substrate_debye_waller=e * np.exp(s))), 1e-4)
    # Under a thick layer the substrate hardly matters, and the difference is nothing but rounding.
    assert np.abs(jacobian[-1] - expected).max() <= 1e-6 * np.abs(expected).max() + 1e-10


def test_jacobian_of_lamellae_that_are_cut():
    reflection = REFLECTIONS[0]
    lamellae = graded_pile(reflection, 900.0)
    dtheta = np.linspace(-0.02, 0.005, 101)
    rows = np.random.default_rng(0).normal(size=(3, 2, 7)) * np.array([1e-3] * 3 + [0.1] * 3 + [1.0])
    _, jacobian = coherent.reflectivity_and_jacobian(reflection, lamellae, dtheta, *by_node(rows))
    for k in range(2):
        expected = central(
            lambda s, k=k: coherent.reflectivity(
                reflection, moved(lamellae, rows[:, k], s), dtheta, backend="reference"
            ),
            1e-4,
        )
        assert np.abs(jacobian[k] - expected).max() <= 1e-6 * np.abs(expected).max()


# -- the public face


def test_errors_name_the_mistake():
    reflection, lamellae, dtheta = random_case(1, 3)
    c = coefficients(reflection, lamellae, dtheta)
    with pytest.raises(ValueError, match="backend: expected one of numba, reference, got 'fortran'"):
        coherent.amplitude(c, backend="fortran")
    with pytest.raises(CurveError, match="ascending"):
        coherent.amplitude(replace(c, waves=c.waves[..., ::-1]))
    with pytest.raises(CurveError, match="at least one"):
        coherent.reflectivity(reflection, lamellae, np.zeros(0))
    changes = by_node(np.ones((len(lamellae.thickness), 2, 3)))
    with pytest.raises(ValueError, match="derivatives of strain, E and thickness: expected shapes"):
        coherent.reflectivity_and_jacobian(reflection, lamellae, dtheta, *changes)


def test_neither_numba_nor_torch_is_imported_before_it_is_used():
    code = "import sys, hrxrd_ml.diffraction.coherent; print([m for m in ('numba', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_compilation_is_announced_once_and_only_where_it_happens(tmp_path):
    code = (
        "import numpy as np\n"
        "from hrxrd_ml.diffraction import coherent as d\n"
        "from hrxrd_ml.crystal.reflection import Reflection\n"
        "r = Reflection('GGG', (4, 4, 4), 1.5405)\n"
        "for nodes in (1, 3):\n"
        "    e = np.ones((2, nodes))\n"
        "    lamellae = d.Lamellae.of_one_crystal(r, np.ones(2), 0.0 * e, e)\n"
        "    d.reflectivity(r, lamellae, np.linspace(0.0, 1e-3, 9))\n"
    )
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        )
        said.append(done.stderr)
    assert said[0].count("compiling") == 1
    assert said[1] == ""
