"""The commands that study what a network knows, and what data can tell."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hrxrd_ml.cli.measured import read_any, read_measured
from hrxrd_ml.cli.tables import report
from hrxrd_ml.cli.training import Command, add_out, at_least, checkpoint, path_argument
from hrxrd_ml.errors import ExperimentError, ParameterError

SEED = 900_401
"""Of curves that are drawn for a study; no training uses it."""


def add_commands(commands: Any, command: Command) -> None:
    """Add ``study`` to the sub-parsers of the program; ``command`` makes one of them."""
    about, beside_it = (
        "Studies of parameters, curves and networks, each with a seed.",
        "by default the file of the same stem",
    )
    studies = commands.add_parser("study", help="study parameters, curves and networks", description=about)
    actions = studies.add_subparsers(title="commands", metavar="COMMAND", required=True)
    about = "Say what 1 % of each parameter does to curve and profile, over a prior or at a fit."
    one = actions.add_parser("sensitivity", help="what each parameter does to curve and profile", description=about)
    one.set_defaults(run=_sensitivity)
    settings = "settings of data sets, a TOML file or bundled (default: universal)"
    one.add_argument("settings", metavar="SETTINGS", nargs="?", default="universal", help=settings)
    one.add_argument("--curves", metavar="N", type=int, default=400, help="number of curves (%(default)s)")
    one.add_argument("--seed", metavar="N", type=int, default=SEED, help="seed (%(default)s)")
    one.add_argument("--network", metavar="NETWORK", default="bundled", help="checkpoint (%(default)s)")
    at = "a fit of this curve, in place of a prior; an experiment file may follow"
    one.add_argument("--fit", metavar="CURVE", nargs="+", type=path_argument, help=at)
    add_out(one, "DIR", "folder for sensitivity.md, sensitivity.nc and sensitivity.png")

    plan = command("plan", _plan, "fit, and say which of the [[candidate]] curves would lower which errors")
    plan.add_argument("curve", metavar="CURVE", type=path_argument, help="measured curve, or the file of a sample")
    plan.add_argument("experiment", metavar="EXPERIMENT.toml", type=path_argument, nargs="?", help=beside_it)
    wanted = "parameters whose errors matter (those of the sample)"
    plan.add_argument("--parameters", metavar="NAME", nargs="+", help=wanted)
    add_out(plan, "DIR", "folder for plan.md, plan.nc and plan.png")

    text = "say whether the network knows experiments like this one, and what to do"
    diagnose = command("diagnose", _diagnose, text)
    diagnose.add_argument("curve", metavar="CURVE", type=path_argument, help="measured curve")
    diagnose.add_argument("experiment", metavar="EXPERIMENT.toml", type=path_argument, nargs="?", help=beside_it)
    diagnose.add_argument("--prior", metavar="SETTINGS", default="universal", help=settings)
    diagnose.add_argument("--curves", metavar="N", type=int, default=1000, help="curves to draw (%(default)s)")
    diagnose.add_argument("--seed", metavar="N", type=int, default=SEED, help="seed (%(default)s)")
    several = "checkpoint (bundled); more of them are asked too, those of a training for instance"
    diagnose.add_argument("--network", metavar="NETWORK", nargs="+", default=["bundled"], help=several)
    add_out(diagnose, "DIR", "folder for diagnosis.md, diagnosis.nc and diagnosis.png")


def _sensitivity(arguments: argparse.Namespace) -> int:
    from hrxrd_ml.training import sensitivity

    if arguments.fit is not None:
        from hrxrd_ml.cli import run

        if len(arguments.fit) > 2:
            raise ParameterError(f"--fit takes a curve and perhaps its experiment file, got {len(arguments.fit)} paths")
        found = sensitivity.at_fit(run.fit_curve(*read_measured(*arguments.fit)).result)
        report("sensitivity", sensitivity.fit_text(found), found, None, arguments.out)
        return 0
    from hrxrd_ml.guess.network.predict import Predictor
    from hrxrd_ml.training.dataset import DatasetSettings

    at_least(arguments.curves, 10, "--curves")
    settings = DatasetSettings.read(arguments.settings, curves=arguments.curves, seed=arguments.seed)
    found = sensitivity.study(settings, Predictor.load(checkpoint(arguments.network)))
    report("sensitivity", sensitivity.text(found), found, sensitivity.plot, arguments.out)
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    from hrxrd_ml.cli import run
    from hrxrd_ml.results import plots
    from hrxrd_ml.results.plan import plan
    from hrxrd_ml.results.tables import plan_table

    curve, experiment = read_any(arguments.curve, arguments.experiment)
    if not experiment.candidates:
        raise ExperimentError(
            f"{experiment.path}: no curve that could be measured; add tables [[candidate]], each with a reflection "
            "and a range [low, high] in arcsec from the substrate's Bragg angle"
        )
    measurements = [
        run.measurement(candidate) for candidate in experiment.candidates
    ]  # before a fit that may take long
    fit = run.fit_any(curve, experiment)
    found = plan(fit.result, measurements, arguments.parameters)
    report("plan", plan_table(found) + "\n", found, plots.plan, arguments.out)
    for note in filter(None, (fit.result.verdict, *fit.result.bound_notes)):
        sys.stdout.write(f"note: {note}\n")
    return 0


def _diagnose(arguments: argparse.Namespace) -> int:
    from hrxrd_ml.cli import run
    from hrxrd_ml.guess.network.predict import Predictor
    from hrxrd_ml.training.dataset import DatasetSettings
    from hrxrd_ml.training.diagnose import check_model, diagnose
    from hrxrd_ml.training.reference import Reference
    from hrxrd_ml.training.verdict import plot, text, verdict

    at_least(arguments.curves, 400, "--curves")
    settings = DatasetSettings.read(arguments.prior, curves=arguments.curves, seed=arguments.seed)
    curve, experiment = read_measured(arguments.curve, arguments.experiment)
    check_model(run.build_model(experiment, curve))  # before a fit that may take long
    network, *others = (Predictor.load(checkpoint(name)) for name in arguments.network)
    fit = run.fit_curve(curve, experiment)
    found = diagnose(
        fit.result, Reference.draw(settings, network), dict(zip(arguments.network[1:], others, strict=True))
    )
    found.attrs["verdict"] = verdict(found)[0]
    report("diagnosis", text(found), found, plot, arguments.out)
    return 0
