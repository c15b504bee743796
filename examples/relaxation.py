"""Composition and relaxation of a SiGe layer at once: a symmetric and an asymmetric reflection, fitted together.

Usage: python examples/relaxation.py

Writes relaxation.png into the working folder.
"""

import numpy as np

import hrxrd_ml as hx

surface = {"surface": (0, 0, 1)}
reflections = {
    "r004_": hx.Reflection("Si", (0, 0, 4), "CuKa1", **surface),
    "r224_": hx.Reflection("Si", (2, 2, 4), "CuKa1", exit="high", **surface),
}


def sample(thickness: float, x: float, relaxation: float) -> hx.JointModel:
    """One layer, seen by both reflections; its relaxation is free, which one symmetric reflection could not tell."""
    film = hx.Film("layer", "SiGe", thickness, x=x, relaxation=relaxation)
    model = hx.JointModel(
        [
            hx.RockingCurveModel(reflection, films=[film], axis_kind="offset", unit="arcsec", prefix=prefix)
            for prefix, reflection in reflections.items()
        ]
    )
    model.set_param_hint("layer_relaxation", vary=True)
    return model


# A simulated measurement: a third of the misfit has relaxed, and the layer is thicker than was meant.
angles = [np.arange(-3200.0, 600.0, 10.0), np.arange(-4800.0, 600.0, 12.0)]
grown = sample(900.0, 0.22, 0.35)
truth = grown.make_params(r004_scale=2e6, r224_scale=1e6, r004_background=2.0, r224_background=2.0)
counts = np.random.default_rng(1).poisson(grown.eval(truth, x=angles)).astype(float)
curves = [
    hx.make_curve(x, part, kind="offset", unit="arcsec", data_kind="counts")
    for x, part in zip(angles, np.split(counts, [len(angles[0])]), strict=True)
]

model = sample(800.0, 0.2, 0.2)
result = model.fit(curves, model.guess(curves))
for name in ("layer_thickness", "layer_x", "layer_relaxation"):
    par = result.params[name]
    print(f"{name:17s} {par.value:9.5g} ± {par.stderr:.2g}   (made with {truth[name].value:g})")
print(f"reduced chi-square {result.redchi:.3f}")

hx.plot.stack(result).savefig("relaxation.png", dpi=200)
