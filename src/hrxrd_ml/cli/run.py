"""From an experiment and a curve to a fit: what the command line does, as functions.

An experiment names the parts of a model, overrides single parameters and says which points to leave out;
here it becomes a `RockingCurveModel`, start values and a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.cli.overrides import evaluated_expressions, hint_parameters, start_parameters
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.crystal.structure import Crystal
from hrxrd_ml.crystal.susceptibility import Susceptibility
from hrxrd_ml.errors import CrystalError, HrxrdError, ParameterError
from hrxrd_ml.guess.strategy import stepwise
from hrxrd_ml.instrument.counting import count
from hrxrd_ml.instrument.diffractometer import Diffractometer
from hrxrd_ml.io.curve import leave_out, make_curve
from hrxrd_ml.io.experiment.settings import (
    Candidate,
    CurveOfSample,
    Experiment,
    LayerSettings,
    ReflectionSettings,
    Sample,
    SuperlatticeSettings,
)
from hrxrd_ml.model.composite import CurveFitting
from hrxrd_ml.model.joint import JointModel
from hrxrd_ml.model.result import RockingCurveResult
from hrxrd_ml.model.rocking_curve import RockingCurveModel
from hrxrd_ml.parameters import unknown_name
from hrxrd_ml.results.derived import profile_end
from hrxrd_ml.results.plan import Measurement
from hrxrd_ml.results.predict import predict
from hrxrd_ml.specimen.film import Film
from hrxrd_ml.specimen.stack import Stack
from hrxrd_ml.specimen.superlattice import Part, Superlattice, films_of

if TYPE_CHECKING:
    from lmfit import Parameters


@dataclass(frozen=True)
class Fit:
    """A finished fit.

    Attributes
    ----------
    result
        What lmfit found, and more.
    guess
        Parameters that the fit started from.
    seconds
        Time that ``"guess"`` and ``"fit"`` took.
    """

    result: RockingCurveResult
    guess: Parameters
    seconds: Mapping[str, float]


class Strategy(Protocol):
    """How to get from start values to a result, in one step or in several."""

    def __call__(
        self,
        model: Any,
        curve: Any,
        params: Parameters,
        *,
        held: Collection[str] = (),
        **settings: Any,
    ) -> RockingCurveResult:
        """Fit; ``held`` are parameters that the experiment file sets, so that no step may free them.

        The settings are ``weights``, ``method``, ``max_nfev``, ``iter_cb`` and ``errors`` of the model's `fit`, and
        ``seconds`` where the experiment limits the time.
        """


def build_reflection(settings: ReflectionSettings, source: str = "experiment") -> Reflection:
    """Reflection of an experiment.

    Raises
    ------
    CrystalError
        If the crystal, the wavelength or the geometry is unknown or impossible; the message begins with
        ``source``.
    InputFileError
        If a CIF file cannot be used.
    """
    given = dict(vars(settings))
    lattice, chi = given.pop("lattice"), settings.susceptibility
    try:
        given["crystal"] = crystal = Crystal.resolve(settings.crystal)
        if lattice is not None:
            given["crystal"] = crystal.with_lattice(a=lattice)
        given["susceptibility"] = None if chi is None else Susceptibility(**vars(chi))
        return Reflection(**given)
    except CrystalError as error:
        raise CrystalError(f"{source}: [reflection] {error}") from error


def build_films(experiment: Experiment, source: str) -> tuple[Part, ...]:
    """Films and superlattices of an experiment, from the substrate up.

    Raises
    ------
    HrxrdError
        If there is no such crystal, or numbers contradict each other.
    """

    def build(layer: LayerSettings | SuperlatticeSettings) -> Part:
        if isinstance(layer, SuperlatticeSettings):
            return Superlattice(**_given(layer) | {"layers": tuple(Film(**_given(each)) for each in layer.layers)})
        return Film(**_given(layer))

    try:
        return tuple(map(build, experiment.sample.layers))
    except (ParameterError, CrystalError) as error:
        raise type(error)(f"{source}: [sample] {error}") from error


def _given(settings: LayerSettings | SuperlatticeSettings) -> dict[str, Any]:
    return {name: value for name, value in vars(settings).items() if value is not None}


def build_diffractometer(experiment: Experiment, source: str) -> Diffractometer | None:
    """Diffractometer that an experiment declares, if it does.

    Raises
    ------
    ParameterError
        If its parts are unknown, or contradict each other.
    """
    if experiment.diffractometer is None:
        return None
    try:
        return Diffractometer(**vars(experiment.diffractometer))
    except (ParameterError, CrystalError) as error:
        raise type(error)(f"{source}: [diffractometer] {error}") from error


def build_model(experiment: Experiment, curve: xr.DataArray | None = None, *, prefix: str = "") -> RockingCurveModel:
    """Model of an experiment, its overrides of parameters included.

    Parameters
    ----------
    experiment
        See `hrxrd_ml.io.experiment.read.read_experiment`.
    curve
        Curve whose kind and unit of axis the model takes; those of the experiment if None.
    prefix
        Of the parameters.

    Raises
    ------
    HrxrdError
        If the experiment asks for something that does not exist or that the model cannot do.
    """
    source = str(experiment.path or "experiment")
    labels = {} if curve is None else curve[curve.dims[0]].attrs
    options = vars(experiment.model) | {"relative_error": experiment.intensity.relative_error}
    reflection = build_reflection(experiment.reflection, source)
    films, diffractometer = build_films(experiment, source), build_diffractometer(experiment, source)
    try:
        model = RockingCurveModel(
            reflection,
            axis_kind=labels.get("kind") or experiment.axis.kind or "omega",
            unit=labels.get("units") or experiment.axis.unit or "deg",
            films=films,
            diffractometer=diffractometer,
            prefix=prefix,
            **{name: value for name, value in options.items() if value is not None},
        )
    except ParameterError as error:
        raise ParameterError(f"{source}: [model] {error}") from error
    hint_parameters(model, experiment.parameters, source)
    return model


def build_joint_model(sample: Sample, curves: Sequence[xr.DataArray] | None = None) -> JointModel:
    """Model of all curves of a sample, its overrides of parameters included; as `build_model`."""
    labelled = [None] * len(sample.curves) if curves is None else curves
    models = [
        build_model(own.experiment, curve, prefix=f"{own.label}_")
        for own, curve in zip(sample.curves, labelled, strict=True)
    ]
    source = str(sample.path or "experiment")
    try:
        model = JointModel(models, shared=sample.shared, own=sample.own)
    except ParameterError as error:
        raise ParameterError(f"{source}: {error}") from error
    hint_parameters(model, sample.parameters, source)
    return model


def fit_curves(
    curves: Sequence[xr.DataArray],
    sample: Sample,
    *,
    strategy: Strategy = stepwise,
    progress: Callable[..., Any] | None = None,
) -> Fit:
    """Fit several curves of one sample together, as `fit_curve` fits one.

    Parameters
    ----------
    curves
        Labelled curves, in the order of the experiment file.
    sample
        See `hrxrd_ml.io.experiment.read.read_sample`.
    strategy, progress
        As for `fit_curve`.

    Raises
    ------
    HrxrdError
        If the curves cannot be fitted as the file says.
    """
    begin = time.perf_counter()
    model, weights, guess = _guess_curves(curves, sample)
    return _fitted(model, list(curves), guess, weights, sample, strategy, progress, begin)


def predict_curve(
    result: RockingCurveResult, curve: xr.DataArray, own: CurveOfSample, source: str = "experiment"
) -> xr.Dataset:
    """Predict a curve that was not fitted, as its part of an experiment file says, and compare; see `hrxrd_ml.predict`.

    What its mask leaves out is neither fitted nor compared.

    Raises
    ------
    HrxrdError
        If it is of another sample than the fit.
    """
    kept = leave_out(curve, own.experiment.fit.mask) if own.experiment.fit.mask else curve
    try:
        return predict(result, build_model(own.experiment, curve), data=kept)
    except ParameterError as error:
        raise ParameterError(f"{source}: {own.label}, which is to be predicted: {error}") from error


def measurement(candidate: Candidate) -> Measurement:
    """Return the curve that an experiment file says could be measured, for `hrxrd_ml.plan`.

    Raises
    ------
    HrxrdError
        If there is no such reflection, or the model cannot do what the file asks for.
    """
    scan = candidate.scan
    x = np.linspace(*scan.range, scan.points)
    return Measurement(build_model(candidate.experiment), x, scan.time, scan.counts, candidate.label)


def _guess_curves(curves: Sequence[xr.DataArray], sample: Sample) -> tuple[JointModel, Any, Parameters]:
    """Model, weights and start values of several curves."""
    model = build_joint_model(sample, curves)
    masks = [own.experiment.fit.mask for own in sample.curves]
    kept = [leave_out(curve, mask) if mask else curve for curve, mask in zip(curves, masks, strict=True)]
    weights = None
    if any(masks):
        weights = [np.isin(c["x"].values, k["x"].values).astype(float) for c, k in zip(curves, kept, strict=True)]
    with evaluated_expressions(sample.parameters, str(sample.path or "experiment")):
        return model, weights, start_parameters(model, kept, sample.parameters)


def guess_curve(curve: xr.DataArray, experiment: Experiment) -> tuple[RockingCurveModel, FloatArray | None, Parameters]:
    """Model, weights (0 for points that the experiment leaves out; None if there are none) and start values.

    Raises
    ------
    HrxrdError
        If the experiment and the curve do not go together.
    """
    model, mask = build_model(experiment, curve), experiment.fit.mask
    # Points left out stay in the curve, so that one sees what the fit makes of them, but not in the guess.
    kept = leave_out(curve, mask) if mask else curve
    weights = np.isin(curve["x"].values, kept["x"].values).astype(float) if mask else None
    with evaluated_expressions(experiment.parameters, str(experiment.path or "experiment")):
        return model, weights, start_parameters(model, kept, experiment.parameters)


def fit_curve(
    curve: xr.DataArray,
    experiment: Experiment,
    *,
    strategy: Strategy = stepwise,
    progress: Callable[..., Any] | None = None,
) -> Fit:
    """Fit a curve as its experiment says.

    Parameters
    ----------
    curve
        Labelled curve, see `hrxrd_ml.read_curve`.
    experiment
        See `hrxrd_ml.io.experiment.read.read_experiment`.
    strategy
        Gets from the start values to a result.
    progress
        Called after every evaluation with parameters, number and residual, as lmfit's ``iter_cb``.

    Raises
    ------
    HrxrdError
        If the curve cannot be fitted as the experiment says.
    """
    begin = time.perf_counter()
    model, weights, guess = guess_curve(curve, experiment)
    return _fitted(model, curve, guess, weights, experiment, strategy, progress, begin)


def build_any(experiment: Experiment | Sample, curve: Any = None) -> CurveFitting:
    """Model of an experiment with one curve, or of a sample with several."""
    return build_joint_model(experiment, curve) if isinstance(experiment, Sample) else build_model(experiment, curve)


def guess_any(curve: Any, experiment: Experiment | Sample) -> tuple[CurveFitting, Any, Parameters]:
    """Model, weights and start values, as `guess_curve`, for one curve or several."""
    return _guess_curves(curve, experiment) if isinstance(experiment, Sample) else guess_curve(curve, experiment)


def fit_any(curve: Any, experiment: Experiment | Sample, **options: Any) -> Fit:
    """Fit one curve or several, as their file says; see `fit_curve`."""
    if isinstance(experiment, Sample):
        return fit_curves(curve, experiment, **options)
    return fit_curve(curve, experiment, **options)


def _fitted(
    model: CurveFitting,
    curve: Any,
    guess: Parameters,
    weights: Any,
    experiment: Experiment | Sample,
    strategy: Strategy,
    progress: Callable[..., Any] | None,
    begin: float,
) -> Fit:
    """Fit from start values as an experiment file says; ``begin`` is when the guess began."""
    guessed = time.perf_counter()
    method = experiment.fit.method or "least_squares"
    settings: dict[str, Any] = {
        "weights": weights,
        "method": method,
        "max_nfev": experiment.fit.max_nfev,
        "iter_cb": progress,
        "errors": experiment.fit.errors,
    }
    if experiment.fit.seconds is not None:
        settings["seconds"] = experiment.fit.seconds
    held = [name for name, own in experiment.parameters.items() if own.keys() & {"value", "vary", "expr"}]
    try:
        with evaluated_expressions(experiment.parameters, str(experiment.path or "experiment")):
            result = strategy(model, curve, guess.copy(), held=held, **settings)
    except HrxrdError:
        raise
    except (ValueError, TypeError, NotImplementedError) as error:
        if method == "least_squares":
            raise
        raise ParameterError(
            f"the method {method!r} cannot be used here: {error}; leave out [fit] method, or choose least_squares"
        ) from error
    # A strategy of several steps has made its own start values for the last one.
    start = result.init_params if getattr(result, "init_params", None) else guess
    return Fit(result, start, {"guess": guessed - begin, "fit": time.perf_counter() - guessed})


def simulate_curve(
    experiment: Experiment,
    x: ArrayLike | None = None,
    values: Mapping[str, float] | None = None,
    *,
    points: int = 501,
    noise: bool = False,
    seed: int | None = None,
) -> tuple[xr.DataArray, dict[str, float]]:
    """Simulate the curve that an experiment describes.

    Parameters
    ----------
    experiment
        Its ``[parameters]`` give the values; the others have their defaults.
    x
        Angles of the kind and in the unit of the experiment's axis [n], ascending; if None, ``points`` of
        them over a range that shows the strained layer and the substrate peak.
    values
        Values of single parameters, before those of the experiment.
    noise
        Whether to draw counts from the Poisson distribution; else the expected counts are returned.
    seed
        Seed of the noise.

    Returns
    -------
    curve, values
        Labelled curve, and the value of every parameter.

    Raises
    ------
    HrxrdError
        If a parameter is unknown, or the values break its bounds or a nested constraint.
    """
    model = build_model(experiment)
    given: dict[str, Any] = dict(values or {})
    for name in given:
        if name not in model.space:
            raise ParameterError(unknown_name(name, model.space.names))
    with evaluated_expressions(experiment.parameters, str(experiment.path or "experiment")):
        params = model.make_params(**given)
        used = {name: float(params[name].value) for name in model.space.names}
    broken = model.space.violations(used)
    if broken:
        raise ParameterError(f"the parameters contradict each other: {broken[0]}; change one of them")
    angles = np.linspace(*_default_range(model, used), points) if x is None else np.asarray(x, dtype=np.float64)
    expected = np.asarray(model.eval(params, x=angles), dtype=np.float64)
    data = count(expected, np.random.default_rng(seed)) if noise else expected
    curve = make_curve(
        angles,
        data,
        kind=model.axis_kind,
        unit=model.unit,
        data_kind="counts" if noise else "intensity",
        attrs={"units": "counts", "wavelength": model.simulation.reflection.wavelength},
    )
    return curve, used


def _default_range(model: RockingCurveModel, values: Mapping[str, float]) -> tuple[float, float]:
    """Range of angles, in the unit of the model, that shows strained layer, films and the substrate peak."""
    low = high = 0.0
    simulation, reflection = model.simulation, model.simulation.reflection
    if simulation.profile is not None:
        depth = np.linspace(0.0, profile_end(simulation, values), 200)
        shift = -simulation.profile.evaluate(depth, values) * np.tan(reflection.bragg_angle)
        low, high = min(0.0, float(shift.min())), max(0.0, float(shift.max()))
    if simulation.on_substrate:
        films = Stack.of(simulation.on_substrate, values, reflection)
        shift = -films.strain * np.tan(reflection.bragg_angle)
        # Some fringes of the thinnest one beside its peak, or satellites of a superlattice.
        thinnest = min(sum(film.thickness for film in films_of(part)) for part in simulation.on_substrate)
        fringes = 4.0 * reflection.wavelength / (2.0 * thinnest)
        low, high = min(low, float(shift.min())) - fringes, max(high, float(shift.max())) + fringes
    own = simulation
    while (own := own.overgrown) is not None:
        apart, room = own.reflection.bragg_angle - reflection.bragg_angle, 20.0 * own.reflection.darwin_width()
        low, high = min(low, apart - room), max(high, apart + room)
    margin = 0.3 * (high - low) + 20.0 * reflection.darwin_width()
    first, last = model.frame.angles(np.array([low - margin, high + margin]))
    return float(first), float(last)
