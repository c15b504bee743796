"""Quantum wells with soft interfaces: period, composition and width of the interfaces of InGaAs/GaAs from satellites.

Usage: python examples/superlattice.py

Writes superlattice.png into the working folder.
"""

import numpy as np

import hrxrd_ml as hx

reflection = hx.Reflection("GaAs", (0, 0, 4), "CuKa1", monochromator=("4x Ge 220",))


def wells(thickness: float, x: float) -> hx.RockingCurveModel:
    """Ten wells as they were meant to be; layers are repeated, so they have one set of parameters."""
    well = hx.Film("well", "InGaAs", thickness, x=x)
    barrier = hx.Film("barrier", "GaAs", 180.0, relaxation=0.0)
    return hx.RockingCurveModel(
        reflection,
        films=[hx.Superlattice("mqw", [well, barrier], repeats=10, by="period", interface=4.0)],
        axis_kind="offset",
        unit="arcsec",
    )


# A simulated measurement: the period is larger than was meant, the wells have less indium and soft interfaces.
angles = np.arange(-2600.0, 1500.0, 10.0)
grown = wells(70.0, 0.18)
truth = grown.make_params(
    mqw_period=258.0, mqw_ratio=0.29, well_x=0.165, mqw_interface=9.0, scale=2e6, fwhm=14.0, background=2.0
)
counts = np.random.default_rng(0).poisson(grown.eval(truth, x=angles)).astype(float)
curve = hx.make_curve(angles, counts, kind="offset", unit="arcsec", data_kind="counts")

model = wells(70.0, 0.18)
model.set_param_hint("barrier_relaxation", vary=False)  # it grew with the lattice of the substrate
result = model.fit(curve, model.guess(curve))
for name in ("mqw_period", "mqw_ratio", "well_x", "mqw_interface"):
    par = result.params[name]
    print(f"{name:14s} {par.value:10.5g} ± {par.stderr:.2g}   (made with {truth[name].value:g})")
print(f"reduced chi-square {result.redchi:.3f}")

hx.plot.stack(result).savefig("superlattice.png", dpi=200)
