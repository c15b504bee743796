"""Fix parameters, tie one to another, and see what that does to the errors.

Usage: python examples/fix_and_tie.py

Writes fix_and_tie.png into the working folder.
"""

from importlib.resources import as_file, files

import hrxrd_ml as hx

with as_file(files("hrxrd_ml") / "data" / "demo.csv") as path:
    curve = hx.read_curve(path)

reflection = hx.Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Si 111", "Ge 111"))
model = hx.RockingCurveModel(reflection, resolution="pseudo_voigt")
model.set_param_hint("diffuse_mix", value=0.5, vary=False)
model.set_param_hint("substrate_diffuse_mix", value=1.0, vary=False)
free = model.fit(curve, model.guess(curve))

params = free.params.copy()
params["background"].set(value=12.0, vary=False)  # measured without the sample, say
params["Rp2"].set(value=-150.0, vary=False)  # the second component of another sample of the series
params["L2"].set(expr="0.53 * L1")  # any expression of lmfit; the exact Jacobian follows it
tied = model.fit(curve, params)

print(f"{'':8} {'all free':>22} {'fixed and tied':>22}")
for name in ("Dmax1", "D01", "L1", "D02", "L2"):
    one, other = free.params[name], tied.params[name]
    print(f"{name:8} {one.value:11.5g} ± {one.stderr:8.2g} {other.value:11.5g} ± {other.stderr:8.2g}")
print(hx.compare({"all free": free, "fixed and tied": tied}).to_dataframe()[["chisqr", "aic", "bic"]])
hx.plot.correlations(free).savefig("fix_and_tie.png", dpi=200)
