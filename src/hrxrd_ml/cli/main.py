"""The command ``hrxrd-ml``: arguments, messages and exit codes; the work is done elsewhere.

Exit codes: 0, done; 1, the minimiser gave up before it converged (the files say how far it came); 2, the
input cannot be used, which one line on standard error explains; 130, interrupted.
"""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hrxrd_ml.cli import studies, training
from hrxrd_ml.cli.measured import read_any, read_measured
from hrxrd_ml.cli.training import add_out, path_argument
from hrxrd_ml.errors import HrxrdError, InputFileError, ParameterError
from hrxrd_ml.io.files import staged_folder, write_text

if TYPE_CHECKING:
    import xarray as xr

    from hrxrd_ml.io.experiment.settings import CurveOfSample, Experiment, Sample
    from hrxrd_ml.model.result import RockingCurveResult

# Everything that is slow to import is imported where it is used, so that --help and complaints come at once.


class _UsageError(HrxrdError):
    """The command line itself is wrong."""


class _Parser(argparse.ArgumentParser):
    """A parser that complains in one line, as everything else here does."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before this process began
            setattr(sys, name, _Lost(OSError("it is closed")))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where it has no σ, as a file on Windows
    try:
        arguments = _parser().parse_args(argv)
        with _warnings_in_one_line():
            code: int = arguments.run(arguments)
        if isinstance(sys.stdout, _Lost):
            return _without_output(sys.stdout, code)
        sys.stdout.flush()
        return code
    except BrokenPipeError as error:  # whoever read the output has seen enough
        sys.stdout = _Lost(error)
        return 1
    except HrxrdError as error:
        _complain(str(error))
        return 2
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _complain(f"{error.filename}: {reason}" if error.filename else f"cannot write the output: {reason}")
        return 2
    except (KeyboardInterrupt, SystemError) as error:
        # Compiled functions hand on an interruption that reaches them as the cause of a SystemError.
        if isinstance(error, SystemError) and not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        _complain("interrupted")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hrxrd-ml",
        description="Fit high-resolution X-ray diffraction rocking curves.",
        epilog="An experiment file (TOML) says crystal, reflection and model of a curve.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = _Parser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="show progress and lmfit's whole report")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=[common])
        sub.set_defaults(run=run)
        return sub

    demo = command("demo", _demo, "fit a bundled simulated curve and compare with what it was made from")
    add_out(demo, "DIR", "folder for the files (%(default)s)", default=Path("hrxrd-ml-demo"))
    demo.set_defaults(emcee=None, report=False)  # the other options of a fit

    fit = command("fit", _fit, "fit a curve and write fit.json, fit.csv, fit.nc and fit.png")
    _add_curve(fit)
    add_out(fit, "DIR", "folder for the files", required=True)
    sampling = "sample the posterior, N steps at most; an interrupted chain (chain.h5) goes on"
    fit.add_argument("--emcee", metavar="N", type=int, help=sampling)
    fit.add_argument("--report", action="store_true", help="write fit.html too: everything in one file")
    model_error = "with --emcee: sample a relative error of the model too"
    fit.add_argument("--model-error", action="store_true", help=model_error)
    fit.add_argument("--seed", metavar="N", type=int, help="with --emcee: seed (default 1)")

    guess = command("guess", _guess, "print start values as the [parameters] of an experiment file")
    _add_curve(guess)
    add_out(guess, "FILE", "file to write instead of printing")

    simulate = command("simulate", _simulate, "simulate the curve that an experiment file describes")
    simulate.add_argument("experiment", metavar="EXPERIMENT.toml", type=path_argument)
    add_out(simulate, "FILE", "file to write instead of printing")
    value, angles = "value of a parameter; may be repeated", "angles, in the unit of the experiment's axis"
    simulate.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help=value)
    simulate.add_argument("--range", metavar=("LOW", "HIGH"), nargs=2, type=float, help=angles)
    simulate.add_argument("--points", metavar="N", type=int, default=501, help="number of points (%(default)s)")
    simulate.add_argument("--noise", action="store_true", help="draw counts from the Poisson distribution")
    simulate.add_argument("--seed", metavar="N", type=int, help="seed of the noise")

    training.add_commands(commands, command)
    studies.add_commands(commands, command)
    return parser


def _add_curve(parser: argparse.ArgumentParser) -> None:
    formats = "measured curve: text, .xrdml, .ras, .rasx, .brml; or an experiment file with several [[curve]] tables"
    beside = "by default the file of the same stem"
    parser.add_argument("curve", metavar="CURVE", type=path_argument, help=formats)
    parser.add_argument("experiment", metavar="EXPERIMENT.toml", type=path_argument, nargs="?", help=beside)


# --- commands ---


def _demo(arguments: argparse.Namespace) -> int:
    from importlib.resources import as_file, files

    from hrxrd_ml.cli import outputs

    with as_file(files("hrxrd_ml") / "data") as folder:
        curve, experiment = read_measured(folder / "demo.csv", folder / "demo.toml")
        truth = outputs.read_truth(folder / "demo.csv")
        print(f"demo: a SIMULATED curve, {folder / 'demo.csv'}")
        return _fit_and_write(curve, experiment, arguments, truth)


def _fit(arguments: argparse.Namespace) -> int:
    if arguments.emcee is not None and arguments.emcee < 1:
        raise _UsageError(f"--emcee takes a number of steps, such as 1000, got {arguments.emcee}")
    if arguments.emcee is None and (arguments.model_error or arguments.seed is not None):
        raise _UsageError("--model-error and --seed are about sampling; give --emcee with a number of steps too")
    if arguments.seed is not None and arguments.seed < 0:
        raise _UsageError(f"--seed must be a whole number from 0, got {arguments.seed}")
    return _fit_and_write(*read_any(arguments.curve, arguments.experiment), arguments)


def _guess(arguments: argparse.Namespace) -> int:
    from hrxrd_ml.cli import outputs, run

    curve, experiment = read_any(arguments.curve, arguments.experiment)
    model, _, params = run.guess_any(curve, experiment)
    # Where parameters stand that nobody has set, a later fit would take them for chosen and not free them; what follows
    # another curve by itself need not be said.
    chosen, followers = params.copy(), getattr(model, "followers", {})
    for name, spec in dict(model.specs()).items():
        par = params[name]
        untouched = not par.vary and par.expr is None and par.value == spec.value
        if name not in experiment.parameters and (untouched or (name in followers and par.expr is not None)):
            chosen.pop(name, None)
    head = "".join(f"# {line}\n" for line in _read_as(curve))
    _write(f"{head}{outputs.parameters_toml(chosen)}", arguments.out, (arguments.curve, experiment.path))
    return 0


def _simulate(arguments: argparse.Namespace) -> int:
    import numpy as np

    from hrxrd_ml.cli import outputs, run
    from hrxrd_ml.io.experiment.read import read_experiment

    if arguments.seed is not None and (not arguments.noise or arguments.seed < 0):
        raise _UsageError("--seed is a number from 0 for --noise; give both or neither")
    if not 20 <= arguments.points <= 100_000:
        raise _UsageError(f"--points must be from 20 to 100000, got {arguments.points}")
    x = None
    if arguments.range:
        low, high = arguments.range
        if not -1e9 < low < high < 1e9:
            raise _UsageError(f"--range must be two numbers in ascending order, got {low:g} {high:g}")
        x = np.linspace(low, high, arguments.points)
    curve, values = run.simulate_curve(
        read_experiment(arguments.experiment),
        x,
        _assignments(arguments.set),
        points=arguments.points,
        noise=arguments.noise,
        seed=arguments.seed,
    )
    noise = f"Poisson noise, seed {arguments.seed}" if arguments.noise else "without noise"
    origin = f"by hrxrd-ml from {arguments.experiment.name}, {noise}"
    _write(outputs.simulation_text(curve, values, origin), arguments.out, (arguments.experiment,))
    return 0


def _read_predicted(experiment: Experiment | Sample) -> list[tuple[CurveOfSample, xr.DataArray]]:
    """Curves that are not fitted but predicted, each with what the file says of it."""
    from hrxrd_ml.io.read import read_curve

    others = getattr(experiment, "predicted", ())
    return [(own, read_curve(own.file, experiment=own.experiment)) for own in others]


def _read_as(curve: Any) -> list[str]:
    """What was decided about the angles and the values of each curve."""
    curves = curve if isinstance(curve, list) else [curve]
    names = [f"{Path(str(each.attrs.get('source', ''))).name}, " if curves[1:] else "" for each in curves]
    return [f"{name}read as: {each.attrs['read_as']}" for name, each in zip(names, curves, strict=True)]


def _fit_and_write(
    curve: Any,
    experiment: Experiment | Sample,
    arguments: argparse.Namespace,
    truth: Mapping[str, float] | None = None,
) -> int:
    from hrxrd_ml.cli import outputs, run
    from hrxrd_ml.cli.overrides import evaluated_expressions
    from hrxrd_ml.results import tables
    from hrxrd_ml.results.dataset import root_of, to_dataset
    from hrxrd_ml.specimen.superlattice import films_of

    run.build_any(experiment, curve)  # whatever is wrong with it is said before a folder is made
    others = _read_predicted(experiment)
    fit = dataset = None
    predicted: dict[str, xr.Dataset] = {}
    failed: list[str] = []
    try:
        with staged_folder(arguments.out) as folder:
            fit = run.fit_any(curve, experiment, progress=_progress if arguments.verbose else None)
            dataset = to_dataset(fit.result, fit.guess)
            failed += outputs.write_fit(fit, dataset, folder)
            for other, measured in others:
                try:
                    predicted[other.label] = run.predict_curve(fit.result, measured, other, str(experiment.path))
                except HrxrdError as error:
                    failed.append(str(error))
            failed += outputs.write_predictions(predicted, folder)
    except InputFileError as error:
        if fit is None or dataset is None:
            raise
        failed.append(str(error))  # the disk, after the fit
    if arguments.verbose:
        _say(fit.result.fit_report())
    for line in _read_as(curve):
        _say(line)
    _say(tables.parameter_table(root_of(dataset), truth))
    if "layer" in root_of(dataset).dims:
        _say(tables.layer_table(root_of(dataset)))
    _say(tables.summary(root_of(dataset), fit.seconds))
    for part in fit.result.parts if fit.result.parts[1:] else ():
        _say(f"{part.model.label}: chi2/N = {part.pearson_chi2():.3g}")
    for label, seen in predicted.items():
        _say(f"{label}, predicted, not fitted: chi2/N = {seen.attrs['chi2']:.3g}, with {seen.attrs['own']}")
    first = fit.result.model.rocking_curves[0]
    for film in (film for part in first.simulation.films for film in films_of(part)):
        for spec in first.space if film.x is not None else ():
            if spec.name in (f"{film.name}_x", f"{film.name}_x1"):
                _say(f"{spec.name}: {spec.description}")
    for note in fit.result.bound_notes:
        _say(f"note: {note}")
    _tell(arguments.out, (*outputs.files_of(dataset), *outputs.predictions_of(predicted)), failed)
    later = [*(() if arguments.emcee else outputs.POSTERIOR_FILES), *(() if arguments.report else ("fit.html",))]
    if old := [name for name in later if (arguments.out / name).exists()]:
        _say(f"note: {', '.join(old)} in {arguments.out} are of an earlier run")
    if fit.result.verdict:
        _complain(fit.result.verdict)
    if not fit.result.success:
        _complain(f"the fit did not converge: {fit.result.message}")
        return 1
    with evaluated_expressions(experiment.parameters, str(experiment.path or "experiment")):
        posterior = _sample_and_write(fit.result, dataset, arguments, failed) if arguments.emcee else None
        if arguments.report:
            from hrxrd_ml.results.html import report

            known, found = fit.result.bound_notes, fit
            if fit.result.covar is not None:
                fit.result.check_errors()
                new = [note for note in fit.result.bound_notes if note not in known]
                for note in new:
                    _say(f"note: {note}")
            page: Mapping[str, outputs.Writer] = {
                "fit.html": lambda path: report(found.result, path, posterior=posterior, guess=found.guess)
            }
            failed += (own := outputs.write_each(page, arguments.out))
            _tell(arguments.out, tuple(page), own)
    return 2 if failed else 0


def _sample_and_write(
    result: RockingCurveResult, dataset: xr.Dataset | xr.DataTree, arguments: argparse.Namespace, failed: list[str]
) -> xr.DataTree:
    """Sample, write the files, and add to ``failed`` what could not be written."""
    from hrxrd_ml.cli import outputs
    from hrxrd_ml.results import posterior, tables

    found = posterior.sample(
        result,
        arguments.emcee,
        model_error=arguments.model_error,
        seed=1 if arguments.seed is None else arguments.seed,
        backend=arguments.out / outputs.CHAIN,
        progress=sys.stderr.isatty() or arguments.verbose,
    )
    own: list[str] = []
    try:
        with staged_folder(arguments.out) as folder:
            own += outputs.write_posterior(found, dataset, folder)
    except InputFileError as error:
        own.append(str(error))
    _say()
    _say(tables.posterior_table(found))
    for note in filter(None, found.attrs["notes"].split("\n")):
        _say(f"note: {note}")
    _tell(arguments.out, (outputs.CHAIN, *outputs.POSTERIOR_FILES), own)
    failed += own
    return found


def _tell(folder: Path, files: Sequence[str], failed: Sequence[str]) -> None:
    """Say what was written, and what was not."""
    if written := [name for name in files if (folder / name).exists() and not any(f.startswith(name) for f in failed)]:
        _say(f"written to {folder}: {', '.join(written)}")
    for reason in failed:
        _complain(reason)


def _assignments(texts: Sequence[str]) -> dict[str, float]:
    values = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            values[name.strip()] = float(number)
        except ValueError:
            raise ParameterError(f"--set {text}: expected NAME=VALUE with a number, such as fwhm=12.5") from None
    return values


# --- what people see ---


class _Lost(io.StringIO):
    """Takes the place of an output that nobody reads any more, so that the work goes on."""

    def __init__(self, reason: OSError) -> None:
        super().__init__()
        self.reason = reason


def _say(text: str = "") -> None:
    """Print a line of what a fit has found, which must not cost what is still to be written."""
    try:
        print(text, flush=True)
    except OSError as error:
        sys.stdout = _Lost(error)


def _without_output(lost: _Lost, code: int) -> int:
    if isinstance(lost.reason, BrokenPipeError):
        return code or 1
    if not lost.getvalue() and not lost.reason.errno:
        return code
    _complain(f"cannot write the output: {(lost.reason.strerror or str(lost.reason)).lower()}")
    return code or 2


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from hrxrd_ml import __version__

        print(f"hrxrd-ml {__version__}")
        parser.exit()


def _write(text: str, path: Path | None, inputs: Sequence[Path | None] = ()) -> None:
    """Print, or write to a file, which may be none of those that were read."""
    if path is None:
        sys.stdout.write(text)
        return
    if path.exists() and any(own is not None and own.exists() and path.samefile(own) for own in inputs):
        raise _UsageError(f"--out {path} is the file that was read; choose another name")
    if path.exists() and not path.is_file() and not path.is_dir():  # a device or a pipe is not to be replaced
        path.write_text(text, encoding="utf-8")
    else:
        write_text(path, text)


def _complain(message: str) -> None:
    print("hrxrd-ml:", " ".join(message.split()), file=sys.stderr)


def _progress(params: Any, number: int, residual: Any, *_: Any, **__: Any) -> None:
    if number % 10 == 1:
        print(f"evaluation {number}: chi2/N = {float(residual @ residual) / len(residual):.5g}", file=sys.stderr)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        _complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


if __name__ == "__main__":
    sys.exit(main())
