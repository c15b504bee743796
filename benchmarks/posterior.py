"""Effective samples a second: `hx.sample` beside lmfit's own emcee, on the same fit in one run.

    python benchmarks/posterior.py CURVE.csv CURVE.toml

lmfit's emcee gets the same residual, parameters and number of walkers, and its own stretch move. By itself it starts
from a narrow ball about the best fit, and refuses where a parameter sits on a bound; so it is given places drawn from
the covariance. Both run for about the same time. Effective samples are walkers times steps over the longest integrated
autocorrelation time of any parameter; where a chain is shorter than 50 of these, the time is underestimated and the
figure is an upper limit.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import emcee
import lmfit
import numpy as np

import hrxrd_ml as hx
from hrxrd_ml import RockingCurveResult
from hrxrd_ml.inference.threads import one_thread


def ours(result: RockingCurveResult, steps: int, model_error: bool) -> tuple[float, float, str]:
    """Return seconds, effective samples, and what there is to say."""
    begin = time.perf_counter()
    post = hx.sample(result, steps, seed=1, model_error=model_error, progress=False)
    seconds = time.perf_counter() - begin
    about = (
        f"{post.attrs['steps']} steps of {post.attrs['walkers']} walkers, acceptance {post.attrs['acceptance']:.2f}, "
        f"R-hat {post.attrs['rhat']:.3f}, converged {post.attrs['converged']}; {post.attrs['notes']}"
    )
    return seconds, float(post.attrs["effective_samples"]), about


def plain(result: RockingCurveResult, seconds: float, walkers: int) -> tuple[float, float, str]:
    """Return the same for lmfit's emcee, run in pieces until the time is over; a third of the steps is burn-in."""
    params = lmfit.Parameters()
    for name, par in result.params.items():
        params.add(name, value=par.value if par.value != 0.0 else 1e-12, min=par.min, max=par.max, vary=par.vary)
    model, x, likelihood = result.model, result.observation.x, result.observation.likelihood

    def residual(current: lmfit.Parameters) -> np.ndarray:
        return likelihood.residual(model.eval(current, x=x))

    minimizer = lmfit.Minimizer(residual, params)
    begin, steps = time.perf_counter(), 0
    with one_thread():
        while time.perf_counter() - begin < seconds:
            start = None if steps else result.draw(walkers, seed=1)
            minimizer.emcee(steps=50, nwalkers=walkers, progress=False, seed=1, pos=start, reuse_sampler=steps > 0)
            steps += 50
    spent = time.perf_counter() - begin
    chain = minimizer.sampler.get_chain(discard=steps // 3)
    tau = emcee.autocorr.integrated_time(chain, quiet=True, tol=0)
    longest = float(np.nanmax(tau))
    moving = float(np.mean(minimizer.sampler.acceptance_fraction))
    about = f"{steps} steps, acceptance {moving:.2f}, longest autocorrelation time {longest:.0f} steps"
    return spent, walkers * len(chain) / longest, about


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curve", type=Path)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--model-error", action="store_true", help="for hx.sample")
    parser.add_argument("--least", type=float, default=60.0, help="seconds for lmfit, at least")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    experiment = hx.read_experiment(arguments.experiment)
    result = hx.fit_curve(hx.read_curve(arguments.curve, experiment=experiment), experiment).result
    walkers = 4 * result.nvarys
    mine = ours(result, arguments.steps, arguments.model_error)
    print(f"hx.sample: {mine[0]:.1f} s, {mine[1]:.0f} effective samples, {mine[1] / mine[0]:.1f} a second; {mine[2]}")
    other = plain(result, max(mine[0], arguments.least), walkers)
    print(
        f"lmfit:     {other[0]:.1f} s, {other[1]:.0f} effective samples, {other[1] / other[0]:.2f} a second; {other[2]}"
    )
    print(f"ratio: {mine[1] / mine[0] / (other[1] / other[0]):.1f}")


if __name__ == "__main__":
    main()
