"""How far tables of f'' differ: χ0'' of the built-in crystals by five of them, as a table in Markdown.

Run by hand: ``python benchmarks/absorption_tables.py [--wavelength CuKa1]``; needs xrayutilities, whose folder holds
two of the tables.
"""

import argparse
import lzma
import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import gemmi
import numpy as np
import xraydb
import xrayutilities

from hrxrd_ml import Crystal
from hrxrd_ml.crystal.library import builtin_names
from hrxrd_ml.crystal.monochromator import MonochromatorCrystal, parse_monochromator
from hrxrd_ml.crystal.scattering import CLASSICAL_ELECTRON_RADIUS, anomalous, form_factor
from hrxrd_ml.crystal.wavelength import HC, photon_energy, resolve_wavelength
from hrxrd_ml.units import ARCSEC

AVOGADRO = 6.02214076e23


@cache
def columns(file: str) -> Mapping[int, np.ndarray]:
    """Tables of a DABAX file by atomic number: energies first."""
    path = Path(xrayutilities.__file__).parent / "materials" / "data" / file
    rows: dict[int, list[list[float]]] = {}
    with lzma.open(path, "rt") as lines:
        for line in lines:
            if line.startswith("#S"):
                here = rows.setdefault(int(line.split()[1]), [])
            elif line.strip() and not line.startswith("#"):
                here.append([float(number) for number in line.split()])
    return {number: np.array(table) for number, table in rows.items() if table}


def dabax(file: str, element: str, energy: float, unit: float) -> float:
    """f'' from the last column of a DABAX file, between its energies along a straight line of logarithms."""
    table = columns(file)[gemmi.Element(element).atomic_number]
    return math.exp(np.interp(math.log(energy / unit), np.log(table[:, 0]), np.log(np.abs(table[:, -1]) + 1e-99)))


def elam(element: str, energy: float, kind: str) -> float:
    """f'' that belongs to a cross-section, f'' = σ/(2 r_e λ)."""
    section = xraydb.mu_elam(element, energy, kind=kind) * xraydb.atomic_mass(element) / AVOGADRO  # cm²
    return section * 1e16 / (2.0 * CLASSICAL_ELECTRON_RADIUS * (HC / energy))


def thermal(element: str, b_iso: float, energy: float) -> float:
    """f'' for what vibration takes out of elastic scattering, by its share of ∫f0² (1 + cos² 2θ) over directions."""
    twice = np.linspace(0.0, math.pi, 401)
    s = np.sin(0.5 * twice) * energy / HC
    weight = np.array([form_factor(element, float(v)) for v in s]) ** 2 * (1.0 + np.cos(twice) ** 2) * np.sin(twice)
    return elam(element, energy, "coh") * float(weight @ (1.0 - np.exp(-2.0 * b_iso * s * s)) / weight.sum())


TABLES: Mapping[str, Callable[[str, float, float], float]] = {
    "Cromer–Liberman": lambda element, _, energy: gemmi.cromer_liberman(gemmi.Element(element).atomic_number, energy)[
        1
    ],
    "Elam": lambda element, _, energy: elam(element, energy, "photo"),
    "Kissel": lambda element, _, energy: dabax("f1f2_asf_Kissel.dat.xz", element, energy, 1000.0),
    "Henke": lambda element, _, energy: dabax("f1f2_Henke.dat.xz", element, energy, 1.0),
    "Compton": lambda element, _, energy: elam(element, energy, "incoh"),
    "thermal diffuse": thermal,
}
"""f'' of an element with Debye–Waller B [Å²] at an energy in eV; the last two are what scattering would add to it."""


def total(crystal: Crystal, value: Callable[[str, float], float]) -> float:
    """Sum over the atoms of a cell."""
    atoms = Counter((element, b_iso, occupancy) for element, occupancy, b_iso, *_ in crystal.atoms())
    return sum(count * occupancy * value(element, b_iso) for (element, b_iso, occupancy), count in atoms.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wavelength", default="CuKa1")
    wavelength = resolve_wavelength(parser.parse_args().wavelength)
    energy = photon_energy(wavelength)

    names = list(TABLES)
    print(f"| crystal | 1/μ [µm] | {' | '.join(names)} |\n|---{'|---:' * (len(names) + 1)}|")
    shares = []
    for name in builtin_names():
        try:
            crystal = Crystal.named(name)
        except ValueError:  # an alloy
            continue
        used = total(crystal, lambda element, _: anomalous(element, wavelength)[1])
        depth = crystal.volume / (2.0 * CLASSICAL_ELECTRON_RADIUS * wavelength * used) * 1e-4
        found = [100.0 * total(crystal, lambda *atom, of=of: of(*atom, energy)) / used for of in TABLES.values()]
        shares.append([share - (100.0 if i < 4 else 0.0) for i, share in enumerate(found)])
        print(f"| {name} | {depth:.2f} | {' | '.join(f'{share:+.2f}' for share in shares[-1])} |")
    median = np.median(shares, axis=0)
    print(f"| median | | {' | '.join(f'{share:+.2f}' for share in median)} |")

    print("\nHeight of the Darwin curve, and what 1 % more absorption takes from it:")
    for text in ("GGG 444", "Si 004", "GaAs 004"):
        (one,) = parse_monochromator(text, wavelength)
        now, more = height(one, 1.0), height(one, 1.01)
        print(f"{text}: {now:.3f}, {100.0 * (more / now - 1.0):+.2f} %")


def height(crystal: MonochromatorCrystal, absorption: float) -> float:
    """Largest reflectivity of σ with all χ'' times a factor."""
    chi = crystal.susceptibility
    eta = (
        np.linspace(-60.0, 60.0, 24001) * ARCSEC * math.sin(2.0 * crystal.bragg_angle) + 1j * absorption * chi.chi0.imag
    )
    plus, minus = chi.pair(0)
    # χ_h = p + i q, χ_h̄ = p* + i q*: q is the Fourier component of χ''.
    real, imaginary = 0.5 * (plus + minus.conjugate()), 0.5 * (plus - minus.conjugate()) * absorption
    plus, minus = real + imaginary, (real - imaginary).conjugate()
    return float((np.abs(plus / (eta + 1j * np.sqrt(plus * minus - eta * eta))) ** 2).max())


if __name__ == "__main__":
    main()
