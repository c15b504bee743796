"""Take the resolution from a perfect crystal, and keep it in the fit of the implanted one.

Usage: python examples/own_resolution.py

Writes own_resolution.png into the working folder. Both curves are simulated here; take your own.
"""

import numpy as np

import hrxrd_ml as hx

reflection = hx.Reflection("Si", (0, 0, 4), "CuKa1", monochromator=("4x Ge 220",))
settings = {"resolution": "pseudo_voigt", "axis_kind": "offset", "unit": "arcsec"}
rng = np.random.default_rng(5)

# 1. The perfect crystal: no profile, nothing but the instrument.
perfect = hx.RockingCurveModel(reflection, profile="none", **settings)
narrow = np.linspace(-60.0, 60.0, 241)
truth = perfect.make_params(scale=2e6, fwhm=9.0, eta=0.35, background=4.0, offset=0.0)
counts = rng.poisson(perfect.eval(truth, x=narrow))
start = perfect.make_params(scale=1e6, fwhm=15.0, eta=0.1, background=1.0, offset=0.0)
instrument = perfect.fit(counts, start, x=narrow)
for name in ("fwhm", "eta"):
    par = instrument.params[name]
    print(f"{name:5} {par.value:.4f} ± {par.stderr:.4f}")

# 2. The implanted crystal, with the resolution held.
model = hx.RockingCurveModel(reflection, **settings)
wide = np.linspace(-900.0, 120.0, 500)
implanted = model.make_params(
    Dmax1=0.005, D01=0.001, L1=3500.0, Rp1=2200.0, D02=0.0015, L2=2000.0, damage=0.3, scale=2e6, fwhm=9.0, eta=0.35
)
curve = hx.make_curve(wide, rng.poisson(model.eval(implanted, x=wide)), kind="offset", unit="arcsec")
for name in ("fwhm", "eta"):
    model.set_param_hint(name, value=instrument.params[name].value, vary=False)
result = model.fit(curve, model.guess(curve))
print(
    f"chi2/N = {result.pearson_chi2():.3f}; L1 = {result.params['L1'].value:.0f} ± {result.params['L1'].stderr:.0f} Å"
)
hx.plot.overview(result).savefig("own_resolution.png", dpi=200)
