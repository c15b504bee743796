"""A series of doses in a loop: each fit begins from its own guess, and the results come together in one dataset.

Usage: python examples/dose_series.py

Writes dose_series.nc and dose_series.png into the working folder. The curves are simulated here; read your own.
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import hrxrd_ml as hx

doses = np.array([1e15, 2e15, 4e15])  # ions/cm²
model = hx.RockingCurveModel(hx.Reflection("GGG", (4, 4, 4), "CuKa1"), axis_kind="offset", unit="arcsec")
rng = np.random.default_rng(2)


def measured(dose: float) -> xr.DataArray:
    """Return the curve of a dose: here simulated, with a strain that grows with it."""
    strain = 0.004 * (dose / 1e15) ** 0.7
    truth = model.make_params(
        Dmax1=strain, D01=0.2 * strain, L1=5000.0, Rp1=3400.0, D02=0.3 * strain, L2=2800.0, damage=0.2 * dose / 1e15,
        scale=3e5, fwhm=14.0,
    )  # fmt: skip
    offset = np.linspace(-2.2e5 * strain - 300.0, 150.0, 450)
    return hx.make_curve(offset, rng.poisson(model.eval(truth, x=offset)), kind="offset", unit="arcsec")


datasets = []
for dose in doses:
    curve = measured(dose)
    result = model.fit(curve, model.guess(curve))
    strain, error = result.params["Dmax1"].value, result.params["Dmax1"].stderr
    print(f"{dose:.0e} ions/cm²: largest strain {100 * strain:.4f} ± {100 * error:.4f} %, redchi {result.redchi:.2f}")
    depth = np.linspace(0.0, 6000.0, 301)
    profiles = hx.to_dataset(result)[["strain", "strain_sigma"]].interp(depth=depth, kwargs={"fill_value": 0.0})
    datasets.append(profiles)
series = xr.concat(datasets, xr.DataArray(doses, dims="dose", name="dose", attrs={"units": "ions/cm²"}))
hx.save_dataset(series, "dose_series.nc")

figure = Figure(figsize=(4.5, 3.0), layout="constrained")
ax = figure.subplots()
for dose in doses:
    one = series.sel(dose=dose)
    low, high = one["strain"] - one["strain_sigma"], one["strain"] + one["strain_sigma"]
    (line,) = ax.plot(one["depth"], 100 * one["strain"], label=f"{dose:.0e} cm⁻²")
    ax.fill_between(one["depth"], 100 * low, 100 * high, alpha=0.3, color=line.get_color())
ax.set(xlabel="Depth (Å)", ylabel="Strain (%)")
ax.legend(frameon=False)
figure.savefig("dose_series.png", dpi=200)
