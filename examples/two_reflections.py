"""Two reflections of one sample: what one cannot tell, what to measure next, and what both tell together.

Usage: python examples/two_reflections.py

Writes one_reflection.png, what_next.png and two_reflections.png into the working folder.
"""

import numpy as np

import hrxrd_ml as hx
from hrxrd_ml.results.tables import plan_table


def model(*hkl: int) -> hx.RockingCurveModel:
    """Any reflection of a garnet (111) wafer."""
    reflection = hx.Reflection("GGG", hkl, "CuKa1", surface=(1, 1, 1), monochromator=("Si 111", "Ge 111"))
    prefix = f"r{''.join(map(str, hkl))}_"
    return hx.RockingCurveModel(reflection, axis_kind="offset", unit="arcsec", prefix=prefix)


# Two simulated measurements of the same sample, an implanted layer.
first, second = model(4, 4, 4), model(8, 8, 8)
both = hx.JointModel([first, second])
angles = [np.linspace(-900.0, 250.0, 400), np.linspace(-3400.0, 700.0, 500)]
sample = {"Dmax1": 0.006, "D01": 0.0015, "L1": 4600.0, "Rp1": 3200.0, "D02": 0.003, "L2": 2600.0, "Rp2": -800.0}
sample |= {"r444_damage": 0.15, "r444_substrate_damage": 0.008, "correlation_length": 120.0}
curves = {"r444_scale": 1e5, "r444_fwhm": 12.0, "r444_background": 4.0, "r444_offset": 5.0}
curves |= {"r888_scale": 1e5, "r888_fwhm": 18.0, "r888_background": 3.0, "r888_offset": -20.0}
truth = both.make_params(**sample, **curves)
noise = np.random.default_rng(7)
counts = np.split(noise.poisson(both.eval(truth, x=angles)).astype(float), [len(angles[0])])
measured = [
    hx.make_curve(x, n, kind="offset", unit="arcsec", data_kind="counts")
    for x, n in zip(angles, counts, strict=True)
]  # fmt: skip

# One reflection, and what each further measurement would do to the errors.
alone = first.fit(measured[0])
candidates = [
    hx.Measurement(second, angles[1], values={"fwhm": 18.0}),
    hx.Measurement(model(8, 8, 0), np.linspace(-2000.0, 500.0, 500), values={"fwhm": 18.0}),
    hx.Measurement(first, angles[0], time=10.0, label="444, ten times as long"),
]
expected = hx.plan(alone, candidates)
print(plan_table(expected))
hx.plot.fit(alone).savefig("one_reflection.png", dpi=200)
hx.plot.plan(expected).savefig("what_next.png", dpi=200)

# Both: the sample is there once, each curve has scale, offset and background of its own.
result = both.fit(measured)
hx.plot.overview(result).savefig("two_reflections.png", dpi=200)
print(f"\n{'':28s}{'true':>9s}{'444 alone':>20s}{'444 and 888':>20s}")
for name in expected["parameter"].values:
    shared = both.renamed(name)
    pars = [alone.params[name], result.params[shared]]
    print(f"{shared:28s}{truth[shared].value:9.4g}", *(f"{p.value:10.4g} ± {p.stderr:<7.2g}" for p in pars))
print(f"chi2/N: {', '.join(f'{part.model.label} {part.pearson_chi2():.3f}' for part in result.parts)}")
