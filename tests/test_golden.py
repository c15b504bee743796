"""Coherent reflectivity of an independent laboratory program, for its own lamellae (7 significant digits)."""

import re
from pathlib import Path

import numpy as np
import pytest

from hrxrd_ml import Crystal, Reflection
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.diffraction import coherent
from hrxrd_ml.diffraction.defect_line import DefectLine, factors_of
from hrxrd_ml.diffraction.kernels.diffuse import transport
from hrxrd_ml.diffraction.lamellae import Lamellae
from hrxrd_ml.specimen.defects import Loops
from hrxrd_ml.units import ARCSEC

MISTYPED = {"888": (868, 32.8)}
"""Row, and the angle as it stands there; the step is 4.018236 arcsec everywhere, so 32.145888 is meant."""


def material(chi0_i: float, chih_r: float, chih_i_sigma: float, chih_i_pi: float) -> Material:
    # That program ignores refraction and plots theta_B - theta, which mirrors the curve: chi_h' and chi_h''
    # must have the same sign to undo it.
    pair = (-chih_r - 1j * chih_i_sigma, -chih_r - 1j * chih_i_pi)
    return Material(1j * chi0_i, pair, pair)


def golden(folder: Path, order: str) -> tuple[Lamellae, np.ndarray, np.ndarray]:
    """Lamellae, offsets [rad] and reflectivity."""
    path = folder / f"ggg_he_2e15_{order}_layers.csv"
    header = "".join(path.read_text(encoding="utf-8").splitlines()[:2])
    substrate = {k: float(v) for k, v in re.findall(r"(\w+)=([-+.\de]+)", header)}
    table = np.loadtxt(path, delimiter=",", skiprows=3)
    names = ("chi_0i", "chi_hr", "chi_hi_sigma", "chi_hi_pi")
    materials = [material(*row[3:7]) for row in table] + [material(*(substrate[name] for name in names))]
    lamellae = Lamellae(
        np.full(len(table), 100.0),
        table[:, 1:2].copy(),
        table[:, 2:3].copy(),
        tuple(materials),
        np.arange(len(table)),
        substrate_debye_waller=substrate["E"],
    )
    curve = np.loadtxt(folder / f"ggg_he_2e15_{order}_reference.csv", delimiter=",", skiprows=2)
    return lamellae, curve[:, 0] * ARCSEC, curve[:, 1]


@pytest.mark.parametrize("backend", coherent.BACKENDS)
@pytest.mark.parametrize("order", ["444", "888"])
def test_coherent_reflectivity_of_the_laboratory_program(shared_data: Path, order: str, backend: str) -> None:
    lamellae, dtheta, expected = golden(shared_data, order)
    ggg = Crystal.named("GGG").with_lattice(a=12.383)
    reflection = Reflection(ggg, [int(i) for i in order], 1.5405, polarization_ratio=0.884079)
    got = coherent.reflectivity(reflection, lamellae, dtheta, linear=True, backend=backend)
    rows = np.arange(len(expected))
    if order in MISTYPED:
        row, angle = MISTYPED[order]
        assert dtheta[row] == pytest.approx(angle * ARCSEC)
        rows = np.delete(rows, row)
    np.testing.assert_allclose(got[rows], expected[rows], rtol=1e-6)


def test_the_mistyped_angle_is_an_error_of_the_table(shared_data: Path) -> None:
    lamellae, dtheta, expected = golden(shared_data, "888")
    row, _ = MISTYPED["888"]
    step = 0.5 * (dtheta[row + 1] - dtheta[row - 1])
    assert step == pytest.approx(4.018236 * ARCSEC, rel=1e-6)
    reflection = Reflection(Crystal.named("GGG").with_lattice(a=12.383), (8, 8, 8), 1.5405, polarization_ratio=0.884079)
    meant = dtheta[row - 1 : row] + step
    got = coherent.reflectivity(reflection, lamellae, meant, linear=True)
    np.testing.assert_allclose(got, expected[row : row + 1], rtol=1e-6)


LOOP_SIZE = 43.6
"""R √b [Å^(3/2)] of loops whose line has the shape of that program's diffuse part of the layer, in both reflections."""


@pytest.mark.parametrize("order", ["444", "888"])
def test_diffuse_part_of_the_layer_of_the_laboratory_program(shared_data: Path, order: str) -> None:
    """But for one factor, the same for both within 7 %, it is the line of loops, with absorption alone as its kappa."""
    lamellae, dtheta, _ = golden(shared_data, order)
    expected = np.loadtxt(shared_data / f"ggg_he_2e15_{order}_reference.csv", delimiter=",", skiprows=2)[:, 3]
    ggg = Crystal.named("GGG").with_lattice(a=12.383)
    reflection = Reflection(ggg, [int(i) for i in order], 1.5405, polarization_ratio=0.884079)
    k, bragg, n = reflection.wavenumber, reflection.bragg_angle, len(lamellae.thickness)
    absorption = np.array([k * each.chi0.imag for each in lamellae.materials])
    cutoff = Loops().cutoff({"defect_radius": LOOP_SIZE, "burgers_vector": 1.0}, reflection.diffraction_vector)
    line = DefectLine(cutoff, absorption[-1] / np.sin(bragg), factors_of(Loops().weights, bragg, 0.0))
    q = k * np.sin(2.0 * bragg) * (dtheta + lamellae.strain * np.tan(bragg))
    density = np.concatenate([(1.0 - lamellae.debye_waller**2) * line(q), np.zeros((1, len(dtheta)))])
    strengths = np.array(
        [2.0 * (np.pi * np.abs(each.chih) / reflection.wavelength) ** 2 for each in lamellae.materials]
    )
    rows = np.array([0.0, np.sin(bragg), 2.0 / np.sin(bragg), np.cos(2.0 * bragg) ** 2])
    directions = np.broadcast_to(rows[None, :, None], (n + 1, 4, len(dtheta))).copy()
    found = transport(
        directions, np.full(len(dtheta), np.sin(bragg)), lamellae.thickness, density, np.arange(n), strengths,
        absorption, np.ones((2, len(dtheta))), np.array(reflection.polarization_weights),
    )[0]  # fmt: skip
    off = np.log(expected / found)
    assert np.exp(off.mean()) == pytest.approx(78.0, rel=0.05)
    assert np.std(off) < 0.006
