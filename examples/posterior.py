"""How sure is it? Samples of the posterior, what follows from the profile, and bands.

Usage: python examples/posterior.py

Writes posterior.nc, posterior_corner.png and posterior_bands.png into the working folder. Takes about a minute.
"""

from importlib.resources import as_file, files

import hrxrd_ml as hx

with as_file(files("hrxrd_ml") / "data" / "demo.csv") as path:
    curve = hx.read_curve(path)

reflection = hx.Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Si 111", "Ge 111"))
model = hx.RockingCurveModel(reflection, resolution="pseudo_voigt")
for name, value in {"diffuse_mix": 0.5, "substrate_diffuse_mix": 1.0, "eta": 0.25, "Rp2": -150.0}.items():
    model.set_param_hint(name, value=value, vary=False)
result = model.fit(curve, model.guess(curve))

posterior = hx.sample(result, steps=600, seed=1, progress=False)  # an xarray.DataTree, as ArviZ has them
for name in ("Dmax1", "L1", "max_strain", "max_strain_depth", "surface_strain", "integrated_strain"):
    low, middle, high = posterior["posterior"][name].quantile([0.16, 0.5, 0.84]).values
    print(f"{name:18} {middle:.5g}  (68 %: {low:.5g} … {high:.5g})")
print(posterior.attrs["notes"] or f"converged after {posterior.attrs['steps']} steps")

hx.save_dataset(posterior, "posterior.nc")
hx.plot.corner(posterior, ["Dmax1", "D01", "L1", "D02", "max_strain"]).savefig("posterior_corner.png", dpi=150)
hx.plot.bands(posterior, result).savefig("posterior_bands.png", dpi=200)
