"""Fits of simulated curves, for tests of what comes after a fit."""

from functools import cache

import numpy as np

from hrxrd_ml import Reflection, RockingCurveModel, make_curve

TRUTH = {
    "Dmax1": 0.0080, "D01": 0.0020, "L1": 4800.0, "Rp1": 3200.0, "D02": 0.0030, "L2": 2500.0, "Rp2": -300.0,
    "damage": 0.3, "substrate_damage": 0.004, "substrate_correlation_length": 2500.0,
    "correlation_length": 80.0, "diffuse_mix": 0.5, "scale": 2.0e5, "offset": 2.0, "fwhm": 14.0, "eta": 0.2,
    "background": 5.0,
}  # fmt: skip
FREE = ("Dmax1", "L1", "Rp1", "damage", "scale", "offset", "fwhm", "background")


def model(**options):
    """Model with an axis of offsets in arcsec."""
    reflection = Reflection("GGG", (4, 4, 4), "CuKa1")
    return RockingCurveModel(
        reflection, **({"axis_kind": "offset", "unit": "arcsec", "resolution": "pseudo_voigt"} | options)
    )


def parameters(fitted, free=FREE, **values):
    """Parameters at the truth, of which some vary."""
    params = fitted.make_params(**(TRUTH | values))
    for par in params.values():
        par.vary = par.name.removeprefix(fitted.prefix) in free
    return params


def curve(fitted=None, *, seed=7, points=181, **extra):
    """Curve simulated at the truth, with counting noise."""
    fitted = fitted or model()
    x = fitted.frame.angles(np.radians(np.linspace(-1150.0, 250.0, points) / 3600.0))
    expected = fitted.eval(parameters(fitted), x=x)
    attenuation = extra.get("attenuation")
    counts = np.random.default_rng(seed).poisson(expected if attenuation is None else expected / attenuation)
    return make_curve(x, counts, kind=fitted.axis_kind, unit=fitted.unit, data_kind="counts", **extra)


@cache
def result():
    """An ordinary fit, which nobody may change."""
    fitted = model()
    return fitted.fit(curve(fitted), parameters(fitted, Dmax1=0.00805, fwhm=15.0))
