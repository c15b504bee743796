"""Add any other lmfit model to the rocking curve: here a line of the sample holder.

Usage: python examples/composite.py

Writes composite.png into the working folder. The curve is simulated here.
"""

import numpy as np
from lmfit.models import GaussianModel

import hrxrd_ml as hx

crystal = hx.RockingCurveModel(hx.Reflection("GGG", (4, 4, 4), "CuKa1"), axis_kind="offset", unit="arcsec")
holder = GaussianModel(prefix="holder_")
model = crystal + holder  # exact derivatives for the crystal, differences for the line

offset = np.linspace(-1500.0, 900.0, 600)
truth = model.make_params(
    Dmax1=0.008, D01=0.002, L1=5000.0, Rp1=3400.0, D02=0.002, L2=3000.0, damage=0.3, scale=2e5, fwhm=15.0,
    holder_amplitude=60000.0, holder_center=600.0, holder_sigma=60.0,
)  # fmt: skip
rng = np.random.default_rng(3)
curve = hx.make_curve(offset, rng.poisson(model.eval(truth, x=offset)), kind="offset", unit="arcsec")

start = crystal.guess(curve[:500])  # without the line, which the crystal cannot make
params = model.make_params(holder_amplitude=20000.0, holder_center=650.0, holder_sigma=40.0)
for name, par in start.items():
    params[name].set(value=par.value, vary=par.vary)
result = model.fit(curve, params)
for name in ("L1", "Rp1", "holder_center", "holder_sigma"):
    print(
        f"{name:14} {truth[name].value:10.5g}  found {result.params[name].value:.5g} ± {result.params[name].stderr:.2g}"
    )

figure = result.plot_fit(datafmt=".", fitfmt="-", yerr=np.sqrt(np.maximum(curve.values, 1.0))).figure
figure.axes[0].set(yscale="log", xlabel="Δθ (arcsec)", ylabel="Counts", title="")
figure.savefig("composite.png", dpi=200)
