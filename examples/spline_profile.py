"""Let the strain be any smooth profile: cubic B-splines instead of the seven parameters.

Usage: python examples/spline_profile.py

Writes spline_profile.png into the working folder.
"""

from importlib.resources import as_file, files

from matplotlib.figure import Figure

import hrxrd_ml as hx

with as_file(files("hrxrd_ml") / "data" / "demo.csv") as path:
    curve = hx.read_curve(path)

reflection = hx.Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Si 111", "Ge 111"))
results = {}
for profile in ("implanted", "bspline"):
    model = hx.RockingCurveModel(reflection, profile=profile, resolution="pseudo_voigt")
    model.set_param_hint("diffuse_mix", value=0.5, vary=False)
    model.set_param_hint("substrate_diffuse_mix", value=1.0, vary=False)
    results[profile] = model.fit(curve, model.guess(curve))
print(hx.compare(results).to_dataframe()[["nvarys", "chisqr", "aic", "bic"]])

figure = Figure(figsize=(4.5, 3.0), layout="constrained")
ax = figure.subplots()
for name, result in results.items():
    dataset = hx.to_dataset(result)
    depth, strain, sigma = (dataset[key].values for key in ("depth", "strain", "strain_sigma"))
    (line,) = ax.plot(depth, 100 * strain, label=name)
    ax.fill_between(depth, 100 * (strain - sigma), 100 * (strain + sigma), alpha=0.3, color=line.get_color())
ax.set(xlabel="Depth (Å)", ylabel="Strain (%)")
ax.legend(frameon=False)
figure.savefig("spline_profile.png", dpi=200)
