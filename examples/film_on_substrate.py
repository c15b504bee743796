"""A garnet film on a garnet: thickness and strain of YIG on GGG from its fringes, and how well they are known.

Usage: python examples/film_on_substrate.py

Writes film_on_substrate.png into the working folder.
"""

import numpy as np

import hrxrd_ml as hx

reflection = hx.Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Si 111", "Ge 111"))


def film_model(thickness: float) -> hx.RockingCurveModel:
    """A film described by its nominal thickness; its strain starts from that of a coherent film."""
    return hx.RockingCurveModel(
        reflection,
        films=[hx.Film("yig", "YIG", thickness)],
        axis_kind="offset",
        unit="arcsec",
    )


# A simulated measurement: the film is thinner than the grower meant, and a little off the coherent strain.
angles = np.arange(-250.0, 350.0, 2.0)
grown = film_model(8000.0)
truth = grown.make_params(yig_thickness=7430.0, yig_strain=-0.0009, fwhm=8.0, offset=12.0, background=2.0)
counts = np.random.default_rng(0).poisson(grown.eval(truth, x=angles)).astype(float)
curve = hx.make_curve(angles, counts, kind="offset", unit="arcsec", data_kind="counts")

model = film_model(8000.0)
result = model.fit(curve, model.guess(curve))
for name in ("yig_thickness", "yig_strain", "fwhm", "offset"):
    par = result.params[name]
    print(f"{name:14s} {par.value:12.6g} ± {par.stderr:.2g}   (made with {truth[name].value:g})")
print(f"reduced chi-square {result.redchi:.3f}")

hx.plot.fit(result).savefig("film_on_substrate.png", dpi=200)
