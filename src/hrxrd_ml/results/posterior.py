"""Posterior of a fit by Markov chains.

emcee runs the walkers, with a move of our own: each follows a Hamiltonian trajectory
(`inference.sampling.hamiltonian`), whose end is nearly independent of its start even where dozens of parameters are
strongly correlated.  The trajectories are guided by a polynomial that stands for the curve
(`inference.sampling.surrogate`, fitted by `inference.sampling.exploration`), or, where none is good enough, by the
exact derivatives of the simulation; either way it is the simulation that decides whether a step is accepted.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import emcee
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hrxrd_ml.errors import InputFileError, ParameterError
from hrxrd_ml.inference.misfit import misses
from hrxrd_ml.inference.sampling.chain_file import ChainStore
from hrxrd_ml.inference.sampling.exploration import Curves, Explored, explore, first_places
from hrxrd_ml.inference.sampling.hamiltonian import HamiltonianMove, Metric, Position, Task, Trajectory, integrate
from hrxrd_ml.inference.sampling.peaks import peaks_of
from hrxrd_ml.inference.sampling.probability import MODEL_ERROR, NOISE, LogPosterior, checked_priors
from hrxrd_ml.inference.sampling.surrogate import Surrogate
from hrxrd_ml.inference.sampling.widening import Widening
from hrxrd_ml.inference.threads import begin_worker, cores, one_thread
from hrxrd_ml.io.files import locked
from hrxrd_ml.model.provider import guess_provider
from hrxrd_ml.model.uncertainty import inside, other_values
from hrxrd_ml.results.posterior_dataset import Drawn, posterior_tree

if TYPE_CHECKING:
    from lmfit import Parameters

    from hrxrd_ml.model.result import RockingCurveResult

Array = NDArray[np.float64]

_CHECK_EVERY, _OFTEN = 25, 250
"""Steps after which a chain is looked at, and up to where so often; later after a tenth of its length."""

_LEAST_BURN = 20

_WIDER = 1.001
"""From which ratio of its standard errors to those by noise a fit counts as one that knows of a misfit."""


def sample(
    result: RockingCurveResult,
    steps: int = 10_000,
    *,
    walkers: int = 8,
    burn: int = 50,
    starts: Sequence[Parameters] | Literal["network"] = (),
    priors: Mapping[str, Any] | None = None,
    model_error: bool = False,
    errors: Literal["misfit", "noise"] = "misfit",
    seed: int | None = None,
    workers: int = 0,
    backend: str | os.PathLike[str] | None = None,
    stop: bool = True,
    progress: bool = True,
) -> xr.DataTree:
    """Sample the posterior of a fit.

    Parameters
    ----------
    result : RockingCurveResult
        A fit, by any method.
    steps : int
        Most steps after the burn-in; fewer if the chain is long enough before.
    walkers : int
        Chains that run side by side, at least 4.
    burn : int
        Steps of the burn-in, which are not kept.
    starts : sequence of Parameters, or "network"
        Other places where the posterior may have a maximum, such as other guesses, beside another minimum that the
        guess saw; "network" for the profiles that the trained network holds possible. Those maxima that are nearly as
        high as that of the fit get walkers of their own. Walkers hardly ever change from one maximum to another: how
        many samples lie about each does not tell how probable it is.
    priors : mapping, optional
        Distributions of scipy.stats, or functions that return the logarithm of a density, by parameter. They multiply
        the prior of the parameter space: flat inside bounds and nested constraints.
    model_error : bool
        Sample a relative error of the model as well, with variance (model_error·μ)² on top of the counting noise: for
        real curves, which no model describes to the last count.
    errors : "misfit" or "noise"
        "misfit": where the standard errors of the fit include what the model misses (``result.errors``), samples are
        spread about the maximum so that they speak of the same errors
        (`hrxrd_ml.inference.sampling.widening`); not with ``model_error``.  "noise": samples of the likelihood as it
        is, as if the model were right.
    seed : int, optional
    workers : int
        Processes; 0 for one on every core, or one alone where processes cannot fork (Windows).
    backend : path, optional
        HDF5 file that keeps the chain step by step. If it exists, its chain goes on.
    stop : bool
        Whether to stop when R-hat of every parameter is at most 1.01 and its effective samples are at least 400.
    progress : bool
        Whether to show a bar on stderr.

    Returns
    -------
    xarray.DataTree
        In the schema of ArviZ, whose functions take it.  Group ``posterior``, dimensions ``chain`` (walkers) and
        ``draw``: the free parameters and quantities that follow from the profile (``max_strain``,
        ``max_strain_depth`` [Å], ``surface_strain``, ``damaged_thickness`` [Å], ``integrated_strain`` [Å]).  Group
        ``sample_stats``, the same dimensions: ``lp``, the logarithm of the posterior.  Group ``bands``, dimension
        ``quantile`` with ``depth`` [Å]: ``strain_band``, ``damage_band``; with ``x``: ``curve_band``.  Attributes of
        the root: acceptance, effective samples, R-hat, whether the chain is ``converged``,
        ``notes`` in words.

    Raises
    ------
    ParameterError
        If a number, a start or a prior cannot be used, or the best fit is impossible by the priors.
    InputFileError
        If the backend file is damaged, of another fit, or another process is writing it.
    """
    _check_numbers(walkers, steps, burn)
    if errors not in ("misfit", "noise"):
        raise ParameterError(f'expected errors "misfit" or "noise", got {errors!r}')
    with one_thread(), nullcontext() if backend is None else locked(backend):
        # Counts have the error of counts: a factor on it, as scale_covar=True means, is no likelihood of theirs.
        counted = all(each.likelihood.name == "poisson" for each in result.observations)
        guessed = result.scale_covar and not counted
        extra = MODEL_ERROR if model_error else NOISE if guessed else None
        target = LogPosterior(result, checked_priors(priors, result.objective.names), extra)
        dimension, rng = len(target.names), np.random.default_rng(seed)
        store = ChainStore.open(backend, _digest(target, walkers, burn), (walkers, dimension))
        if not store.explored:
            store.check_room()
            others = _network_starts(result) if starts == "network" else starts
            peaks = peaks_of(target, [*_competing(result), *others])
            with (
                _processes(target, None, workers) as processes,
                _counting(processes.curves, "exploring", progress) as curves,
            ):
                explored = explore(target, peaks, curves, rng)
            # What is drawn here is kept, so that a chain that goes on is the one that was never interrupted.
            drawn: dict[str, NDArray[Any]] = {"first": first_places(target, peaks, explored.places, walkers, rng)}
            drawn["seeds"] = rng.integers(2**32, size=2)
            drawn["peaks"] = np.array([peak.place for peak in peaks])
            store.begin(explored.arrays() | drawn, walkers, dimension)
        explored = Explored.of(target, store.explored)
        if "peaks" not in store.explored:
            raise InputFileError(f"{backend}: the chain of an older version; delete it, or choose another file")
        widen = _widening(target, store.explored["peaks"]) if errors == "misfit" and not model_error else None
        first, seeds = store.explored["first"], store.explored["seeds"].tolist()
        with _processes(target, explored.guide, workers) as processes:
            step = explored.step if store.leapfrog is None else store.leapfrog
            guided = explored.guide is not None
            move = HamiltonianMove(
                processes.positions, processes.trajectories, explored.metric, step, adapts=True, guided=guided
            )

            def sampler(backend: Any, seed: int) -> Any:
                made = emcee.EnsembleSampler(
                    walkers, dimension, processes.values, backend=backend, vectorize=True, moves=move
                )
                if not made.iteration:  # else it goes on with those that its file holds
                    made._random.seed(seed)
                return made

            burning = sampler(store.burn, seeds[0])
            store.keep_leapfrogs(move)
            for _ in _steps(burning, first, burn, "burn-in", progress):
                store.check_room()
            move.adapts = False
            sampling = sampler(store.chain, seeds[1])
            place = burning.get_last_sample().coords

            def enough(done: int) -> bool:
                due = stop and done and done % (_CHECK_EVERY * max(1, done // _OFTEN)) == 0
                return bool(due and Drawn.of(target, sampling, store.explored["peaks"], widen).converged)

            for done in _steps(sampling, place, 0 if enough(sampling.iteration) else steps, "sampling", progress):
                store.check_room()
                if enough(done):
                    break
        return posterior_tree(result, target, sampling, store.explored["peaks"], widen)


def _check_numbers(walkers: int, steps: int, burn: int) -> None:
    if walkers < 4:
        raise ParameterError(f"expected at least 4 walkers, whose chains are compared, got {walkers}")
    if steps < 1 or burn < _LEAST_BURN:
        raise ParameterError(f"expected at least 1 step and {_LEAST_BURN} of burn-in, got {steps} and {burn}")


def _widening(target: LogPosterior, peaks: Array) -> Widening | None:
    """Return what takes samples to the standard errors of the fit, if these include more than noise."""
    result, objective = target.result, target.result.objective
    if result.errors != "misfit" or result.covar is None or not misses(objective, result.best):
        return None
    if max(result.misfit_ratios().values()) < _WIDER:
        return None
    wider = inside(objective, objective.inward(result.best), result.covar)
    return Widening(peaks, wider, target.lower, target.upper)


def _competing(result: RockingCurveResult) -> list[Parameters]:
    """Return the parameters where the guess saw another minimum."""
    starts = []
    for values in other_values(result):
        params = result.params.copy()
        for name, value in zip(result.var_names, values, strict=True):
            params[name].value = value
        starts.append(params)
    return starts


def _network_starts(result: RockingCurveResult) -> list[Parameters]:
    """Return the parameters of the fit with the profiles of the network's candidates."""
    models = result.model.rocking_curves
    if len(models) != 1:
        raise ParameterError('starts="network" is for a model of one rocking curve; give a list of Parameters')
    network: Any = guess_provider("network")
    starts = []
    for values in network.profiles(models[0], result.observation.to_guess()):
        params = result.params.copy()
        for name, value in values.items():
            params[models[0].prefix + name].value = value
        starts.append(params)
    return starts


# --- running ---


@dataclass(frozen=True)
class _Work:
    """What a process evaluates: the posterior, and what guides trajectories through it."""

    target: LogPosterior
    guide: Surrogate | None

    def value(self, place: Array) -> float:
        return self.target(place)

    def curve(self, place: Array) -> Array:
        return self.target.used_curve(place)

    def position(self, place: Array) -> Position:
        return Position.at(place, self.target, self.guide)

    def trajectory(self, task: tuple[Metric, Task]) -> Trajectory:
        return integrate(self.target, self.guide, task[0], *task[1])


_own_work: _Work | None = None


def _adopt(work: _Work) -> None:
    global _own_work
    _own_work = work
    begin_worker()


def _in_process(what: str, tasks: Sequence[Any]) -> list[Any]:
    with one_thread():
        return [getattr(_own_work, what)(task) for task in tasks]


class _Processes:
    """Evaluates the posterior for all walkers, in this process or in several."""

    def __init__(self, work: _Work, pool: Executor | None, workers: int) -> None:
        self.work, self.pool, self.workers = work, pool, workers

    def values(self, places: Array) -> Array:
        """Return the logarithm of the posterior at places (k, n)."""
        return np.array(self._each("value", list(places)))

    def curves(self, places: Array) -> Array:
        """Return simulated curves."""
        return np.array(self._each("curve", list(places)))

    def positions(self, places: Array) -> list[Position]:
        """Return what is known at places."""
        return self._each("position", list(places))

    def trajectories(self, metric: Metric, tasks: Sequence[Task]) -> list[Trajectory]:
        """Return trajectories."""
        return self._each("trajectory", [(metric, task) for task in tasks])

    def _each(self, what: str, tasks: list[Any]) -> list[Any]:
        if self.pool is None:
            return [getattr(self.work, what)(task) for task in tasks]
        parts = [self.pool.submit(_in_process, what, tasks[k :: self.workers]) for k in range(self.workers)]
        results: list[Any] = [None] * len(tasks)
        for k, part in enumerate(parts):
            results[k :: self.workers] = part.result()
        return results


@contextmanager
def _processes(target: LogPosterior, guide: Surrogate | None, workers: int) -> Iterator[_Processes]:
    work = _Work(target, guide)
    forks = "fork" in multiprocessing.get_all_start_methods()
    if not workers:
        # A process that is spawned runs the user's script again, which few scripts are written for.
        workers = cores() if forks else 1
    if workers == 1:
        yield _Processes(work, None, 1)
        return
    # Forked processes have the compiled kernels already; elsewhere they are loaded from the cache.
    context = multiprocessing.get_context("fork" if forks else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_adopt, initargs=(work,)) as pool:
        yield _Processes(work, pool, workers)


@contextmanager
def _counting(curves: Curves, what: str, progress: bool) -> Iterator[Curves]:
    """Give a function that counts the curves that it simulates on a bar; nobody knows how many there will be."""
    from tqdm import tqdm

    with tqdm(desc=what, unit="curve", disable=not progress) as bar:

        def counted(places: Array) -> Array:
            found = curves(places)
            bar.update(len(places))
            return found

        yield counted


def _steps(sampler: Any, first: Array, steps: int, what: str, progress: bool) -> Iterator[int]:
    """Run a sampler up to so many steps, going on from what its backend holds; yield after each how many there are."""
    from tqdm import tqdm

    done = sampler.iteration
    if done >= steps:
        return
    place = sampler.get_last_sample() if done else first
    bar = tqdm(total=steps, initial=done, desc=what, unit="step", disable=not progress)
    with bar, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in sampler.sample(place, iterations=steps - done, skip_initial_state_check=True):
            bar.update()
            yield sampler.iteration


def _digest(target: LogPosterior, walkers: int, burn: int) -> str:
    """Return what a chain belongs to: data, model, bounds, best fit."""
    result = target.result
    # A function has no text to compare: what it says at the best fit and a standard error beside it stands for it.
    places = {
        name: (float(par.value), float(par.value) + float(par.stderr or 0.0)) for name, par in result.params.items()
    }
    priors = {name: [float(prior(v)) for v in places[name]] for name, prior in sorted(target.priors.items())}
    about = {
        "model": repr(result.model), "names": target.names, "priors": priors, "walkers": walkers, "move": "hamiltonian",
        "burn": burn, "params": [[p.name, p.value, p.min, p.max, p.vary, p.expr] for p in result.params.values()],
    }  # fmt: skip
    total = hashlib.sha256(json.dumps(about).encode())
    axes = np.concatenate([each.x for each in result.observations])
    total.update(np.ascontiguousarray(result.data).tobytes() + axes.tobytes())
    return total.hexdigest()
