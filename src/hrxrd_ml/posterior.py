"""Posterior of a fit by Markov chains: emcee's ensemble of walkers, started from the covariance inside the bounds.

Beside emcee's own moves, walkers are proposed places drawn from a multivariate t distribution, first that of the
covariance of the fit, then that of the burn-in.  Where the posterior is nearly normal, this makes samples that are
almost independent; the other moves take care of the rest.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hrxrd_ml import _derived
from hrxrd_ml._probability import MODEL_ERROR, NOISE, LogPosterior, checked_priors
from hrxrd_ml._threads import one_thread
from hrxrd_ml._uncertainty import draw_inside
from hrxrd_ml.errors import InputFileError, ParameterError

if TYPE_CHECKING:
    from hrxrd_ml._result import RockingCurveResult

Array = NDArray[np.float64]

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
"""Of the bands on curve and profiles."""

_CHECK_EVERY = 100
_TAUS = 50.0
"""A chain is long enough at so many autocorrelation times …"""

_STEADY = 0.05
"""… if the last estimate of that time was within this part of the one before."""

_FREEDOM = 6.0  # of the t distribution of the proposals
_BANDS = 400  # how many samples the bands are made from
_KEPT = 40_000  # how many samples are returned, at most; neighbours in a chain hardly differ


def sample(
    result: RockingCurveResult,
    steps: int = 2000,
    *,
    walkers: int | None = None,
    burn: int = 300,
    priors: Mapping[str, Any] | None = None,
    model_error: bool = False,
    seed: int | None = None,
    workers: int = 0,
    backend: str | os.PathLike[str] | None = None,
    stop: bool = True,
    progress: bool = True,
) -> xr.Dataset:
    """Sample the posterior of a fit.

    Parameters
    ----------
    result : RockingCurveResult
        A fit with least squares, for its covariance.
    steps : int
        Most steps after the burn-in; fewer if the chain is long enough before.
    walkers : int, optional
        Even, and at least twice the number of parameters; four times that number if None.
    burn : int
        Steps of the burn-in, which are not kept.
    priors : mapping, optional
        Distributions of scipy.stats, or functions that return the logarithm of a density, by parameter. They multiply
        the prior of the parameter space: flat inside bounds and nested constraints.
    model_error : bool
        Sample a relative error of the model as well, with variance (model_error·μ)² on top of the counting noise: for
        real curves, which no model describes to the last count.
    seed : int, optional
    workers : int
        Processes; 0 for one on every core, or one alone where processes cannot fork (Windows).
    backend : path, optional
        HDF5 file that keeps the chain step by step. If it exists, its chain goes on.
    stop : bool
        Whether to stop at 50 autocorrelation times.
    progress : bool
        Whether to show a bar on stderr.

    Returns
    -------
    xarray.Dataset
        Dimensions ``chain`` (walkers) and ``draw``: the free parameters, quantities that follow from the profile
        (``max_strain``, ``max_strain_depth`` [Å], ``surface_strain``, ``damaged_thickness`` [Å],
        ``integrated_strain`` [Å]) and ``log_posterior``. Dimension ``quantile`` with ``depth`` [Å]:
        ``strain_band``, ``damage_band``; with ``x``: ``curve_band``. Attributes: acceptance, autocorrelation times,
        effective samples, whether the chain is ``converged``, ``notes`` in words.

    Raises
    ------
    ParameterError
        If the fit has no covariance, a number or a prior cannot be used, or the start is impossible by the priors.
    InputFileError
        If the backend file is damaged, or of another fit.
    """
    import emcee

    with one_thread():
        target, start, covariance = _target(result, priors, model_error)
        dimension = len(target.names)
        count = 4 * dimension if walkers is None else walkers
        _check_numbers(count, dimension, steps, burn)
        rng = np.random.default_rng(seed)
        first = _first(target, start, covariance, count, rng)
        store = _Store.open(backend, _digest(target, count, burn), count, dimension)
        with _evaluation(target, workers) as evaluate:
            settings: Any = {"vectorize": True, "moves": _moves(emcee, start, covariance)}
            burning = emcee.EnsembleSampler(count, dimension, evaluate, backend=store.burn, **settings)
            burning._random.seed(int(rng.integers(2**32)))
            _advance(burning, first, burn, "burn-in", progress)
            chain = burning.get_chain(discard=burn // 3, flat=True)
            settings["moves"] = _moves(emcee, *_moments(chain))
            sampler = emcee.EnsembleSampler(count, dimension, evaluate, backend=store.chain, **settings)
            sampler._random.seed(int(rng.integers(2**32)) + sampler.iteration)
            last = burning.get_last_sample().coords
            taus = _advance(sampler, last, steps, "sampling", progress, stop)
        return _dataset(result, target, sampler, taus)


def _target(
    result: RockingCurveResult, priors: Mapping[str, Any] | None, model_error: bool
) -> tuple[LogPosterior, Array, Array]:
    """Return the posterior, and centre and covariance of the fit in its coordinates."""
    if result.covar is None:
        raise ParameterError("the fit has no covariance to start from; fit with least_squares first")
    extra = MODEL_ERROR if model_error else NOISE if result.scale_covar else None
    coordinates = result._coordinates
    y, _, covariance = result._covariance(result.result)
    matrix = covariance.matrix
    target = LogPosterior(result, coordinates, checked_priors(priors, tuple(coordinates.names)), extra)
    if extra is None:
        return target, y, matrix
    if extra == NOISE:
        begin, width = math.sqrt(max(result.redchi, 1e-4)), 1.0 / math.sqrt(2.0 * len(result.data))
        matrix = matrix * result.redchi
    else:
        relative = np.abs(result.data / np.maximum(result.best_fit, 1e-12) - 1.0)[result.observation.used]
        strong = np.argsort(result.best_fit[result.observation.used])[-max(len(relative) // 3, 5) :]
        begin, width = float(np.clip(np.median(relative[strong]), 1e-3, 0.3)), 0.2
        matrix = matrix * max(result.pearson_chi2(), 1.0)
    whole = np.zeros((len(y) + 1, len(y) + 1))
    whole[:-1, :-1], whole[-1, -1] = matrix, width**2
    return target, np.append(y, math.log(begin)), whole


def _check_numbers(walkers: int, dimension: int, steps: int, burn: int) -> None:
    if walkers < 2 * dimension or walkers % 2:
        raise ParameterError(
            f"expected an even number of walkers, at least {2 * dimension} for {dimension} parameters, got {walkers}"
        )
    if steps < 1 or burn < 20:
        raise ParameterError(f"expected at least 1 step and 20 of burn-in, got {steps} and {burn}")


def _first(target: LogPosterior, start: Array, covariance: Array, count: int, rng: np.random.Generator) -> Array:
    """Return places of the walkers: from the covariance, inside the box, possible by the priors."""
    lower, upper = target.lower, target.upper
    if not math.isfinite(target(np.clip(start, lower, upper))):
        for name, prior in target.priors.items():
            value = float(target.outward(start)[target.names.index(name)])
            if not math.isfinite(float(prior(value))):
                raise ParameterError(
                    f"the prior of {name} excludes the best fit, {value:.6g}; widen it, or fit within its range first"
                )
        raise ParameterError("the likelihood of the best fit is not finite; fit again before sampling")
    places: list[Array] = []
    for _ in range(50):
        drawn = draw_inside(rng, start, covariance, lower, upper, 2 * count)
        places += [place for place in drawn if math.isfinite(target(place))]
        if len(places) >= count:
            return np.array(places[:count])
    raise ParameterError("hardly any place near the best fit is possible by the priors; widen them")


def _moments(chain: Array) -> tuple[Array, Array]:
    return chain.mean(axis=0), np.cov(chain, rowvar=False) + 1e-30 * np.eye(chain.shape[1])


def _moves(emcee: Any, centre: Array, covariance: Array) -> list[tuple[Any, float]]:
    moves = emcee.moves
    proposal = moves.MHMove(_Independent(centre, covariance), ndim=len(centre))
    return [(proposal, 0.5), (moves.DEMove(), 0.35), (moves.DESnookerMove(), 0.1), (moves.StretchMove(), 0.05)]


class _Independent:
    """Places drawn from a multivariate t distribution, whatever the walkers' own."""

    def __init__(self, centre: Array, covariance: Array) -> None:
        self.centre = centre
        scale = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
        root = np.sqrt(np.maximum(values, 1e-10))
        self.out = (vectors * root).T * scale
        self.back = (vectors / root) / scale[:, None]

    def __call__(self, coords: Array, random: Any) -> tuple[Array, Array]:
        count, dimension = coords.shape
        chi = random.chisquare(_FREEDOM, size=count) / _FREEDOM
        drawn = self.centre + (random.standard_normal((count, dimension)) @ self.out) / np.sqrt(chi)[:, None]
        return drawn, self._log_density(coords) - self._log_density(drawn)

    def _log_density(self, places: Array) -> Array:
        square = np.sum(((places - self.centre) @ self.back) ** 2, axis=1)
        return np.asarray(-0.5 * (_FREEDOM + places.shape[1]) * np.log1p(square / _FREEDOM))


# --- running ---


_process_target: LogPosterior | None = None


def _adopt(target: LogPosterior) -> None:
    global _process_target
    _process_target = target


def _evaluated(places: Array) -> Array:
    assert _process_target is not None
    with one_thread():
        return np.array([_process_target(place) for place in places])


@contextmanager
def _evaluation(target: LogPosterior, workers: int) -> Iterator[Any]:
    """Give a function from places (n, d) to log-probabilities (n,), by so many processes."""
    forks = "fork" in multiprocessing.get_all_start_methods()
    if not workers:
        # A process that is spawned runs the user's script again, which few scripts are written for.
        workers = len(os.sched_getaffinity(0)) if forks and hasattr(os, "sched_getaffinity") else 1
    if workers == 1:
        yield lambda places: np.array([target(place) for place in places])
        return
    # Forked processes have the compiled kernels already; elsewhere they are loaded from the cache.
    context = multiprocessing.get_context("fork" if forks else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_adopt, initargs=(target,)) as pool:

        def evaluate(places: Array) -> Array:
            inside = ((places >= target.lower) & (places <= target.upper)).all(axis=1)
            values = np.full(len(places), -math.inf)
            parts = np.array_split(places[inside], workers)
            values[inside] = np.concatenate(list(pool.map(_evaluated, parts)))
            return values

        yield evaluate


def _advance(sampler: Any, first: Array, steps: int, what: str, progress: bool, stop: bool = False) -> list[Array]:
    """Run a sampler up to so many steps, going on from what its backend holds; return estimates of its times."""
    from tqdm import tqdm

    done = sampler.iteration
    place = sampler.get_last_sample() if done else first
    taus: list[Array] = []
    with tqdm(total=steps, initial=min(done, steps), desc=what, unit="step", disable=not progress) as bar:
        if done >= steps:
            return [_times(sampler)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            for _ in sampler.sample(place, iterations=steps - done, skip_initial_state_check=True):
                bar.update()
                if not stop or sampler.iteration % _CHECK_EVERY:
                    continue
                taus.append(_times(sampler))
                if _enough(taus, sampler.iteration):
                    break
    return taus or [_times(sampler)]


def _times(sampler: Any) -> Array:
    """Return the integrated autocorrelation time of each parameter [steps], however short the chain is."""
    return np.asarray(sampler.get_autocorr_time(quiet=True, tol=0))


def _enough(taus: Sequence[Array], steps: int) -> bool:
    if len(taus) < 2 or not np.isfinite(taus[-1]).all():
        return False
    steady = np.abs(taus[-1] / taus[-2] - 1.0).max() < _STEADY
    return bool(steps > _TAUS * taus[-1].max() and steady)


def _digest(target: LogPosterior, walkers: int, burn: int) -> str:
    """Return what a chain belongs to: data, model, bounds, best fit."""
    result = target.result
    # A function has no text to compare: what it says at the best fit and a standard error beside it stands for it.
    places = {
        name: (float(par.value), float(par.value) + float(par.stderr or 0.0)) for name, par in result.params.items()
    }
    priors = {name: [float(prior(v)) for v in places[name]] for name, prior in sorted(target.priors.items())}
    about = {
        "model": repr(result.model), "names": target.names, "priors": priors, "walkers": walkers,
        "burn": burn, "params": [[p.name, p.value, p.min, p.max, p.vary, p.expr] for p in result.params.values()],
    }  # fmt: skip
    total = hashlib.sha256(json.dumps(about).encode())
    total.update(np.ascontiguousarray(result.data).tobytes() + np.ascontiguousarray(result.observation.x).tobytes())
    return total.hexdigest()


@dataclass
class _Store:
    """Where the chains are kept: in memory, or in two groups of one file."""

    burn: Any = None
    chain: Any = None

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None, digest: str, walkers: int, dimension: int) -> _Store:
        if path is None:
            return cls()
        from emcee.backends import HDFBackend

        file = Path(path)
        if not file.parent.is_dir():
            raise InputFileError(f"cannot write {file}: the folder {file.parent} does not exist; create it first")
        import h5py

        try:
            with h5py.File(file, "a") as opened:
                known = opened.attrs.get("hrxrd_ml_fit")
                if known is None and len(opened.keys()):
                    raise InputFileError(f"{file} holds something else than a chain; choose another file")
                if known is not None and known != digest:
                    raise InputFileError(
                        f"{file} holds the chain of another fit (other data, model, bounds, priors or numbers); choose "
                        "another file, or delete it"
                    )
                opened.attrs["hrxrd_ml_fit"] = digest
            store = cls(HDFBackend(str(file), name="burn"), HDFBackend(str(file), name="chain"))
            for part in (store.burn, store.chain):
                if not part.initialized:
                    part.reset(walkers, dimension)
                elif part.iteration:
                    part.get_chain(discard=part.iteration - 1)
        except (OSError, KeyError, ValueError, RuntimeError, AttributeError) as error:
            raise InputFileError(
                f"{file}: cannot be read as a chain ({' '.join(str(error).split())}); delete it and sample again"
            ) from error
        return store


# --- what comes out ---


def _dataset(result: RockingCurveResult, target: LogPosterior, sampler: Any, taus: Sequence[Array]) -> xr.Dataset:
    steps, every = sampler.iteration, max(1, sampler.iteration * sampler.nwalkers // _KEPT)
    places = sampler.get_chain(thin=every)  # (draws, walkers, dimension)
    draws, walkers, dimension = places.shape
    flat = np.array([target.outward(place) for place in places.reshape(-1, dimension)])
    columns = {name: flat[:, i] for i, name in enumerate(target.names)}
    summary = _summaries(result, target.names, flat)
    units = {f"{m.prefix}{spec.name}": spec.unit for m in result.model.rocking_curves for spec in m.space}
    units |= {"max_strain_depth": "Å", "damaged_thickness": "Å", "integrated_strain": "Å"}
    variables = {
        name: (("chain", "draw"), column.reshape(draws, walkers).T, {"units": units.get(name, "1")})
        for name, column in (columns | summary).items()
    }
    variables["log_posterior"] = (("chain", "draw"), sampler.get_log_prob(thin=every).T, {"units": "1"})
    dataset = xr.Dataset(variables, {"chain": np.arange(walkers), "draw": every * np.arange(1, draws + 1)})
    dataset = dataset.merge(_bands(result, target, flat))
    tau = taus[-1]
    effective = walkers * steps / np.maximum(np.where(np.isfinite(tau), tau, steps), 1.0)
    spread = rhat(dataset, target.names)
    converged = bool(np.isfinite(tau).all() and steps > _TAUS * tau.max())
    dataset = dataset.assign_attrs(
        title="posterior of an X-ray rocking curve",
        parameters=json.dumps(list(target.names)),
        steps=steps,
        walkers=walkers,
        acceptance=float(np.mean(sampler.acceptance_fraction)),
        autocorrelation_time=json.dumps({n: round(float(t), 2) for n, t in zip(target.names, tau, strict=True)}),
        effective_samples=float(np.min(effective)),
        rhat=float(max(spread.values())),
        converged=int(converged),
        statistics=result.observation.likelihood.name,
        reflection="; ".join(str(model.reflection) for model in result.model.rocking_curves),
        **{key: str(result.curve.attrs[key]) for key in ("source", "experiment") if key in result.curve.attrs},
    )
    notes = _notes(dataset, result, target, tau)
    for note in notes:
        if note.startswith("the chain is too short"):
            warnings.warn(note, stacklevel=3)
    return dataset.assign_attrs(notes="\n".join(notes))


def _summaries(result: RockingCurveResult, names: tuple[str, ...], flat: Array) -> dict[str, Array]:
    """Return quantities that follow from the profile, for models with one implanted or spline profile."""
    models = result.model.rocking_curves
    if len(models) != 1 or getattr(models[0].simulation, "profile", None) is None:
        return {}
    model, rows = models[0], []
    for values in _feasible(result, model, names, flat):
        rows.append(_derived.profile_summary(model.simulation, values))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _feasible(
    result: RockingCurveResult, model: Any, names: tuple[str, ...], flat: Array
) -> Iterator[dict[str, float]]:
    params = result.params.copy()
    tied = any(par.expr is not None for par in params.values())
    base = {name: float(params[model.prefix + name].value) for name in model.space.names}
    length = len(model.prefix)
    for row in flat.tolist():
        if tied:
            for name, value in zip(names, row, strict=True):
                if name in params:
                    params[name].value = value
            params.update_constraints()
            yield _derived.feasible_values(model, params)
        else:
            own = {n[length:]: v for n, v in zip(names, row, strict=True) if n[length:] in base}
            yield model.space.clip(base | own, bounds=False)


def _bands(result: RockingCurveResult, target: LogPosterior, flat: Array) -> xr.Dataset:
    """Return quantiles of curve and profiles over samples that lie evenly along the chains."""
    chosen = flat[np.linspace(0, len(flat) - 1, min(_BANDS, len(flat))).astype(int)]
    curves = np.array([target.curve(row) for row in chosen])
    axis = result.curve[result.curve.dims[0]]
    attrs = {str(k): str(v) for k, v in axis.attrs.items()}
    unit = str(result.curve.attrs.get("units", "counts"))
    dataset = xr.Dataset(
        {"curve_band": (("quantile", "x"), np.quantile(curves, QUANTILES, axis=0), {"units": unit})},
        {"quantile": list(QUANTILES), "x": ("x", np.asarray(axis.values, dtype=np.float64), attrs)},
    )
    models = result.model.rocking_curves
    if len(models) != 1 or getattr(models[0].simulation, "profile", None) is None:
        return dataset
    model = models[0]
    rows = list(_feasible(result, model, target.names, chosen))
    depth = np.linspace(0.0, max(_derived.profile_end(model.simulation, row) for row in rows), 501)
    both = np.array([_derived.depth_profiles(model.simulation, row, depth) for row in rows])
    dataset = dataset.assign_coords(depth=("depth", depth, {"units": "Å", "long_name": "depth"}))
    for i, name in enumerate(("strain", "damage")):
        dataset[f"{name}_band"] = (("quantile", "depth"), np.quantile(both[:, i], QUANTILES, axis=0), {"units": "1"})
    return dataset


def rhat(posterior: xr.Dataset, names: Sequence[str] | None = None) -> dict[str, float]:
    """Return the split R-hat of parameters: chains in two halves, between- over within-chain variance.

    Walkers of an ensemble are not quite independent chains; values near 1 are necessary, not sufficient.  After Gelman
    et al., Bayesian Data Analysis, 3rd ed. (2013), section 11.4.
    """
    found = {}
    for name in names or json.loads(posterior.attrs["parameters"]):
        values = posterior[name].values
        half = values.shape[1] // 2
        if half < 2:
            found[name] = math.inf
            continue
        chains = np.concatenate([values[:, :half], values[:, half : 2 * half]])
        within = chains.var(axis=1, ddof=1).mean()
        between = half * chains.mean(axis=1).var(ddof=1)
        found[name] = math.sqrt(((half - 1) * within + between) / half / within) if within > 0.0 else 1.0
    return found


def _notes(dataset: xr.Dataset, result: RockingCurveResult, target: LogPosterior, tau: Array) -> list[str]:
    notes = []
    steps, known = dataset.attrs["steps"], np.isfinite(tau)
    if not dataset.attrs["converged"]:
        worst = int(np.argmax(np.where(known, tau, math.inf)))
        length = f"{steps / tau[worst]:.0f} autocorrelation times of" if known[worst] else "too few to judge"
        notes.append(
            f"the chain is too short: {steps} steps are {length} {target.names[worst]} (50 times are wanted); take its "
            "intervals with care, or sample more steps"
        )
    quality = result.pearson_chi2()
    if target.extra is None and quality > 1.5:
        notes.append(
            f"chi2/N of the best fit is {quality:.3g}: the model misses more than counting noise, and the intervals "
            "are too narrow; sample with model_error=True"
        )
    for name in target.names:
        share = _modes(dataset[name].values)
        if share is not None:
            notes.append(f"{name} has two maxima (the smaller one holds {100 * share:.0f} % of the samples)")
    return notes


def _modes(values: Array) -> float | None:
    """Return the share of the smaller of two separate modes, or None for one.

    The histogram must fall to a fifth of the smaller maximum between them, and each must hold 2 % of the samples.
    """
    flat = values.ravel()
    low, high = np.quantile(flat, [0.001, 0.999])
    if not high > low:
        return None
    counts, edges = np.histogram(flat, bins=40, range=(low, high))
    smooth = np.convolve(counts, [0.25, 0.5, 0.25], mode="same")
    left, right = np.maximum.accumulate(smooth), np.maximum.accumulate(smooth[::-1])[::-1]
    depth = np.minimum(left, right)
    gap = int(np.argmax(np.where(depth > 0, 1.0 - smooth / np.maximum(depth, 1e-9), 0.0)))
    if smooth[gap] > 0.2 * depth[gap]:
        return None
    share = float(np.mean(flat < 0.5 * (edges[gap] + edges[gap + 1])))
    share = min(share, 1.0 - share)
    return share if share > 0.02 else None
