"""A film of another lattice than its substrate: InGaN on GaN on sapphire, in one scan.

Usage: python examples/gan_on_sapphire.py

Writes gan_on_sapphire.png into the working folder.
"""

import numpy as np

import hrxrd_ml as hx

reflection = hx.Reflection("Al2O3", (0, 0, 6), "CuKa1")


def sample(buffer: float, top: float, x: float) -> hx.RockingCurveModel:
    """GaN has planes and lattice of its own, hkl, and InGaN grows on it with the lattice of GaN in the plane."""
    films = [hx.Film("gan", "GaN", buffer, hkl=(0, 0, 2)), hx.Film("ingan", "InGaN", top, x=x)]
    return hx.RockingCurveModel(reflection, films=films, axis_kind="offset", unit="arcsec")


# A simulated measurement of the peaks of the films; the substrate's is in the scan.
angles = np.concatenate([np.arange(-14600.0, -11000.0, 6.0), np.arange(-400.0, 400.0, 6.0)])
grown = sample(2600.0, 420.0, 0.09)
truth = grown.make_params(scale=2e6, background=2.0, fwhm=30.0)
counts = np.random.default_rng(3).poisson(grown.eval(truth, x=angles)).astype(float)
curve = hx.make_curve(angles, counts, kind="offset", unit="arcsec", data_kind="counts")

model = sample(2500.0, 400.0, 0.08)
result = model.fit(curve, model.guess(curve))
for name in ("gan_thickness", "gan_strain", "ingan_thickness", "ingan_x"):
    par = result.params[name]
    print(f"{name:16s} {par.value:9.5g} ± {par.stderr:.2g}   (made with {truth[name].value:g})")
print(f"reduced chi-square {result.redchi:.3f}")

hx.plot.stack(result).savefig("gan_on_sapphire.png", dpi=200)
