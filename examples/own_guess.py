"""A guess provider of one's own: start from a TRIM-like range and straggle instead of the network.

Usage: python examples/own_guess.py

Writes own_guess.png into the working folder.
"""

from importlib.resources import as_file, files

import xarray as xr
from lmfit import Parameters

import hrxrd_ml as hx


class FromRange:
    """Start values from the depth of the nuclear maximum and its width, as a range calculation gives them."""

    def __init__(self, depth: float, straggle: float, strain: float) -> None:
        self.depth, self.straggle, self.strain = depth, straggle, strain

    def guess(self, model: hx.RockingCurveModel, curve: xr.DataArray) -> Parameters:
        """Return start values; the model moves them inside bounds and constraints."""
        return model.make_params(
            Dmax1=self.strain, D01=0.2 * self.strain, Rp1=self.depth, L1=self.depth + 3.0 * self.straggle,
            D02=0.3 * self.strain, L2=0.8 * self.depth, scale=3.0 * float(curve.max()), fwhm=15.0,
        )  # fmt: skip


with as_file(files("hrxrd_ml") / "data" / "demo.csv") as path:
    curve = hx.read_curve(path)

reflection = hx.Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Si 111", "Ge 111"))
model = hx.RockingCurveModel(reflection, resolution="pseudo_voigt")
model.set_param_hint("diffuse_mix", value=0.5, vary=False)
model.set_param_hint("substrate_diffuse_mix", value=1.0, vary=False)
for name, provider in {"network": None, "own": FromRange(depth=3400.0, straggle=550.0, strain=0.0082)}.items():
    params = model.guess(curve, provider=provider)
    result = model.fit(curve, params)
    print(f"{name:8} L1 from {params['L1'].value:.0f} to {result.params['L1'].value:.0f} Å, redchi {result.redchi:.3f}")
hx.plot.overview(result).savefig("own_guess.png", dpi=200)
