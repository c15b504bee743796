"""A first fit, on the bundled curve (simulated; the experiment file beside it says crystal, axis and model).

Usage: python examples/first_fit.py

Writes first_fit.nc, first_fit.png and first_profile.png into the working folder.
"""

from importlib.resources import as_file, files

import hrxrd_ml as hx

with as_file(files("hrxrd_ml") / "data" / "demo.csv") as path:
    curve = hx.read_curve(path)  # xarray.DataArray: counts on a labelled angle axis

reflection = hx.Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Si 111", "Ge 111"))
model = hx.RockingCurveModel(reflection, resolution="pseudo_voigt")  # an lmfit.Model
model.set_param_hint("diffuse_mix", value=0.5, vary=False)
model.set_param_hint("substrate_diffuse_mix", value=1.0, vary=False)

params = model.guess(curve)  # lmfit.Parameters, inside every bound
result = model.fit(curve, params)  # an lmfit ModelResult: values, errors, correlations
print(result.fit_report(min_correl=0.9))

dataset = hx.to_dataset(result)  # curves, depth profiles and their 1-sigma bands
hx.save_dataset(dataset, "first_fit.nc")
hx.plot.fit(dataset, components=True).savefig("first_fit.png", dpi=300)
hx.plot.profile(dataset).savefig("first_profile.png", dpi=300)

deepest = dataset["depth"].where(dataset["strain"] > 1e-3).max()
peak = dataset.isel(depth=int(dataset["strain"].values.argmax()))
print(
    f"strain is largest, {100 * peak['strain']:.3f} ± {100 * peak['strain_sigma']:.3f} %, "
    f"at {peak['depth']:.0f} Å; above 0.1 % down to {deepest:.0f} Å"
)
