"""A crystal that the package does not know, from a CIF file: an implanted CeO2 film seen as a bulk crystal.

Usage: python examples/own_crystal.py

Writes own_crystal.cif, which stands for a file of yours, and own_crystal.png into the working folder.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import hrxrd_ml as hx

# Fluorite structure; a = 5.411 Å after Gerward et al., J. Alloys Compd. 400 (2005) 56.
Path("own_crystal.cif").write_text("""data_CeO2
_cell_length_a 5.411
_cell_length_b 5.411
_cell_length_c 5.411
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_B_iso_or_equiv
Ce1 Ce 0 0 0 0.3
O1 O 0.25 0.25 0.25 0.5
""")

reflection = hx.Reflection("own_crystal.cif", (4, 0, 0), "CuKa1")
print(f"Bragg angle {np.degrees(reflection.bragg_angle):.4f}°, chi_0 = {reflection.susceptibility.chi0:.3g}")

model = hx.RockingCurveModel(reflection, axis_kind="offset", unit="arcsec")
params = model.make_params(Dmax1=0.006, D01=0.002, L1=3000.0, Rp1=1800.0, D02=0.001, L2=2000.0, scale=1e6, fwhm=15.0)
offset = np.linspace(-2200.0, 300.0, 1200)

figure = Figure(figsize=(4.5, 3.0), layout="constrained")
ax = figure.subplots()
for damage in (0.1, 0.5, 2.0):
    params["damage"].value = damage
    ax.semilogy(offset, model.eval(params, x=offset), lw=0.8, label=f"damage {damage}")
ax.set(xlabel="Δθ (arcsec)", ylabel="Counts")
ax.legend(frameon=False)
figure.savefig("own_crystal.png", dpi=200)
