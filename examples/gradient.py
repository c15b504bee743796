"""A composition that changes on the way up: InGaAs graded from one end to the other, under a cap.

Usage: python examples/gradient.py

Writes gradient.png into the working folder.
"""

import numpy as np

import hrxrd_ml as hx

reflection = hx.Reflection("GaAs", (0, 0, 4), "CuKa1", monochromator=("4x Ge 220",))


def sample(thickness: float, x: tuple[float, float]) -> hx.RockingCurveModel:
    """A graded layer and a cap that grew with the lattice of the substrate."""
    films = [hx.Film("graded", "InGaAs", thickness, x=x), hx.Film("cap", "GaAs", 300.0, strain=0.0)]
    model = hx.RockingCurveModel(reflection, films=films, axis_kind="offset", unit="arcsec")
    model.set_param_hint("cap_strain", vary=False)
    return model


# A simulated measurement, and a description that is off by 5 % in thickness and by a hundredth in composition.
angles = np.arange(-3000.0, 1000.0, 8.0)
grown = sample(2000.0, (0.03, 0.12))
truth = grown.make_params(scale=2e6, background=2.0, fwhm=14.0)
counts = np.random.default_rng(2).poisson(grown.eval(truth, x=angles)).astype(float)
curve = hx.make_curve(angles, counts, kind="offset", unit="arcsec", data_kind="counts")

model = sample(1900.0, (0.04, 0.11))
result = model.fit(curve, model.guess(curve))
for name in ("graded_thickness", "graded_x1", "graded_x2", "cap_thickness"):
    par = result.params[name]
    print(f"{name:17s} {par.value:9.5g} ± {par.stderr:.2g}   (made with {truth[name].value:g})")
print(f"reduced chi-square {result.redchi:.3f}")

hx.plot.stack(result).savefig("gradient.png", dpi=200)
