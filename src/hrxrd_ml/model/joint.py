"""Several rocking curves of one sample as one lmfit model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from lmfit import Parameter, Parameters
from numpy.typing import NDArray

from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.inference.coordinates import lower_to_caps
from hrxrd_ml.inference.evaluator import RenamedEvaluator
from hrxrd_ml.inference.objective import MeasuredCurve
from hrxrd_ml.model.composite import CurveFitting
from hrxrd_ml.model.observation import Observation
from hrxrd_ml.model.provider import GuessProvider, guess_provider, joint_guess
from hrxrd_ml.parameters import ParameterSpec, unknown_name

Array = NDArray[np.float64]

_ALIKE = ("unit", "min", "max", "scope")
"""What the specifications of a parameter that is shared have in common."""

_OF_SAMPLE = ("profile", "damage", "diffuse", "films")


class JointModel(CurveFitting):
    """Rocking curves of one sample, fitted together: other reflections, exits or azimuths, or scans of one of them.

    What belongs to the sample is there once, as is what belongs to the diffractometer; every curve has scale, offset,
    background and step of its own (`ParameterSpec.scope`). Shared parameters have no prefix, the others that of their
    model. Where damage is given as the Debye-Waller exponent L of each curve, those of the other curves follow that of
    the first one, in proportion to the square of the diffraction vector, by an expression that can be taken away:
    ``params["r888_damage"].set(expr="", vary=True)``.

    Data, x, weights and sigma of `fit` are sequences in the order of the models, or mappings by prefix; arrays over all
    points, such as ``best_fit`` and ``residual``, hold curve after curve; ``result.parts`` are the curves one by one.

    Parameters
    ----------
    models : sequence of RockingCurveModel
        At least one, or sums of one with other models of lmfit; each with a prefix of its own.
    shared, own : sequence of str
        Names, without prefix, of parameters that all curves have in common, or that every curve has by itself,
        whatever their scope.
    prefix, nan_policy, name
        As in `lmfit.Model`.

    Raises
    ------
    ParameterError
        If names collide, or the models describe different samples.

    Examples
    --------
    >>> joint = JointModel([r444, r888])
    >>> result = joint.fit([c444, c888])
    """

    def __init__(
        self,
        models: Sequence[CurveFitting],
        *,
        shared: Collection[str] = (),
        own: Collection[str] = (),
        prefix: str = "",
        nan_policy: str = "raise",
        name: str | None = None,
    ) -> None:
        self._members = tuple(models)
        for model in self._members:
            if not isinstance(model, CurveFitting) or isinstance(model, JointModel):
                raise ParameterError(f"a joint model is made of rocking-curve models, got {type(model).__name__}")
        if not self._members:
            raise ParameterError("a joint model needs at least one rocking-curve model")
        self.shared, self.own = tuple(shared), tuple(own)
        _check_sample(self.rocking_curves)
        self._names = _joint_names(self._members, self.shared, self.own)
        self.followers = _followers(self._members, self._names)
        self.analytic_jacobian = all(model.analytic_jacobian for model in self._members)
        roots = list(dict.fromkeys(self._names.values()))
        super().__init__(_JointFunction(self, roots), ["x"], roots, nan_policy, prefix, name or "joint")
        for root, hint in self._hints().items():
            self.set_param_hint(root, **hint)

    # --- names ------------------------------------------------------------------------------------------------------

    @property
    def members(self) -> tuple[CurveFitting, ...]:
        """The models of the curves."""
        return self._members

    @property
    def rocking_curves(self) -> tuple[Any, ...]:
        """All rocking-curve models."""
        return tuple(curve for model in self._members for curve in model.rocking_curves)

    def renamed(self, name: str) -> str:
        """Name that a parameter of a member, named with its prefix there, has in this model."""
        return str(self._prefix + self._names[name]) if name in self._names else name

    def _hints(self) -> dict[str, dict[str, Any]]:
        """Return settings of all parameters as the members have them, the first one that has it."""
        hints: dict[str, dict[str, Any]] = {}
        for member in self._members:
            for own, par in member.make_params().items():
                root = self._names[own]
                if root in hints:
                    continue
                hints[root] = {"value": par.value, "min": par.min, "max": par.max, "vary": par.vary}
                if par.expr is not None:
                    hints[root] = {"expr": self._in_joint(par.expr), "min": par.min, "max": par.max}
        for root, (reference, factor) in self.followers.items():
            if root != reference:
                limits = {key: hints[root][key] * factor for key in ("min", "max")}
                hints[root] = {"expr": f"{self._prefix}{reference}*{factor!r}", **limits}
        return hints

    def _in_joint(self, text: str) -> str:
        return re.sub(r"\b[A-Za-z_]\w*\b", lambda word: self.renamed(word[0]), text)

    def of_member(self, member: CurveFitting, params: Parameters) -> Parameters:
        """Return the parameters of a member; what is tied by an expression is free, with the error that it has."""
        own = Parameters()
        for name in member.make_params():
            source = params[self.renamed(name)]
            free = source.vary or source.expr is not None
            par = Parameter(name, float(source.value), free, source.min, source.max)
            par.stderr, par.user_data = source.stderr, source.user_data
            own.add(par)
        return own

    # --- data -------------------------------------------------------------------------------------------------------

    def split(self, given: Any, what: str) -> Sequence[Any]:
        """Return what is given for the curves, member by member."""
        labels = [member.label for member in self._members]
        if given is None:
            return [None] * len(labels)
        if isinstance(given, Mapping):
            bare = {str(key).rstrip("_"): value for key, value in given.items()}
            unknown = [key for key in bare if key not in labels]
            if unknown or (what in ("data", "x") and len(bare) < len(labels)):
                raise CurveError(f"expected {what} for {', '.join(labels)}, got {', '.join(bare)}")
            return [bare.get(label) for label in labels]
        listed = isinstance(given, Sequence | np.ndarray) and not isinstance(given, str | xr.DataArray)
        if not listed or len(given) != len(labels) or (isinstance(given, np.ndarray) and given.dtype != object):
            got = f"{len(given)}" if listed and len(given) != len(labels) else f"a {type(given).__name__}"
            raise CurveError(
                f"expected {what} as a list of {len(labels)}, one for each of {', '.join(labels)}, got {got}"
            )
        return list(given)

    def joined(self, each: Sequence[Any]) -> Any:
        """Return what there is for each member in the form in which it is given."""
        return list(each)

    def measured(
        self, observations: Sequence[Observation], independent: Mapping[str, Any], params: Mapping[str, Parameter]
    ) -> tuple[MeasuredCurve, ...]:
        """Return the data with what simulates them, in the parameters of this model."""
        curves = []
        for member, observation in zip(self._members, observations, strict=True):
            ranges = {own: params[self.renamed(own)] for own in member.param_names if self.renamed(own) in params}
            evaluator = member.evaluator({"x": observation.x}, ranges)
            renamed = RenamedEvaluator(evaluator, {own: self.renamed(own) for own in evaluator.names})
            curves.append(MeasuredCurve(renamed, renamed.names, observation.likelihood))
        return tuple(curves)

    # --- guess ------------------------------------------------------------------------------------------------------

    def guess(self, data: Any, x: Any = None, provider: str | GuessProvider | None = None, **kws: Any) -> Parameters:
        """Start values for all curves: what each says by itself, brought together by a search in all of them.

        Parameters
        ----------
        data, x, provider, **kws
            As for `RockingCurveModel.guess`, data and x for each curve.
        """
        params = joint_guess(self, self.observations(data, x), guess_provider(provider))
        for name, value in kws.items():
            full = name if name in params else self._prefix + name
            if full not in params:
                raise ParameterError(unknown_name(name, tuple(params)))
            params[full].set(**(value if isinstance(value, dict) else {"value": value}))
        lower_to_caps(params, self.nested)
        self.check_params(params)
        return params

    # --- no sums ----------------------------------------------------------------------------------------------------

    def _no_sum(self, other: Any) -> Any:
        raise ParameterError("a joint model cannot be part of a sum; add the other model to that of a curve")

    __add__ = __sub__ = __mul__ = __truediv__ = _no_sum
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = _no_sum

    def _reprstring(self, long: bool = True) -> str:
        parts = [member._reprstring(long) for member in self._members]
        parts += [f"{name}={value!r}" for name, value in (("shared", self.shared), ("own", self.own)) if value]
        return f"JointModel({', '.join(parts)})"


class _JointFunction:
    """The model function: a list of x and all parameters by name; the curves one after the other."""

    __name__ = "joint"

    def __init__(self, model: JointModel, roots: Sequence[str]) -> None:
        self._model, self._roots = model, tuple(roots)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        names = [inspect.Parameter(root, kind, default=0.0) for root in roots]
        self.__signature__ = inspect.Signature([inspect.Parameter("x", kind), *names])

    def __call__(self, x: Any, *args: float, **values: float) -> Array:
        values |= dict(zip(self._roots, args, strict=False))
        missing = [root for root in self._roots if root not in values]
        if missing:
            raise ParameterError(f"missing parameters: {', '.join(missing)}; start from model.make_params()")
        curves = []
        for member, angles in zip(self._model.members, self._model.split(x, "x"), strict=True):
            own = {name: values[self._model._names[name]] for name in member.param_names}
            curves.append(np.atleast_1d(member.eval(x=angles, **own)))
        return np.concatenate(curves)


def _check_sample(models: Sequence[Any]) -> None:
    """Refuse rocking curves of which one describes another sample than the first one."""
    first, *others = (model for model in models if hasattr(model.simulation, "reflection"))
    for model in others:
        pairs = [(name, getattr(first.simulation, name), getattr(model.simulation, name)) for name in _OF_SAMPLE]
        pairs.append(("substrate", first.reflection.crystal, model.reflection.crystal))
        for what, one, other in pairs:
            if one != other:
                raise ParameterError(
                    f"the models describe different samples: {what} is {one!r} for {first.label} and {other!r} for "
                    f"{model.label}; give both the same"
                )


def _joint_names(members: Sequence[CurveFitting], shared: Sequence[str], own: Sequence[str]) -> dict[str, str]:
    """Return the name in a joint model of each parameter of its members, without the prefix of the joint model."""
    names: dict[str, str] = {}
    specs: dict[str, ParameterSpec] = {}
    seen: set[str] = set()
    instruments = [getattr(model.simulation, "diffractometer", None) for m in members for model in m.rocking_curves]
    one_instrument = all(each == instruments[0] for each in instruments)
    for member in members:
        scoped = {model.prefix + spec.name: spec for model in member.rocking_curves for spec in model.space}
        for name in member.make_params():
            if name in names:
                raise ParameterError(f"two curves have a parameter {name}; give each model a prefix of its own")
            spec = scoped.get(name)
            names[name] = name
            if spec is None or spec.name in own:
                continue
            seen.add(spec.name)
            common = spec.scope == "sample" or (spec.scope == "diffractometer" and one_instrument)
            if not (common or spec.name in shared):
                continue
            known = specs.setdefault(spec.name, spec)
            differs = [key for key in _ALIKE if getattr(known, key) != getattr(spec, key)]
            if differs:
                raise ParameterError(
                    f"{spec.name} is shared, but its {differs[0]} is {getattr(known, differs[0])!r} for one curve and "
                    f"{getattr(spec, differs[0])!r} for another"
                )
            names[name] = spec.name
        seen |= {spec.name for spec in scoped.values()}
    for name in (*shared, *own):
        if name not in seen:
            raise ParameterError(unknown_name(name, tuple(sorted(seen))))
    return names


def _followers(members: Sequence[CurveFitting], names: Mapping[str, str]) -> dict[str, tuple[str, float]]:
    """Return the parameters that grow with the diffraction vector: that of the first curve, and the factor to it."""
    first: dict[str, tuple[str, float]] = {}
    found = {}
    for model in (model for member in members for model in member.rocking_curves):
        for spec in model.space:
            name = model.prefix + spec.name
            if not spec.power_of_h or (spec.name in names.values() and names[name] != name):
                continue
            length = model.reflection.diffraction_vector
            reference, other = first.setdefault(spec.name, (names[name], length))
            found[names[name]] = reference, (length / other) ** spec.power_of_h
    return found
