"""The commands about the network: data sets, training, evaluation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hrxrd_ml.cli.tables import report
from hrxrd_ml.errors import ParameterError

Command = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def path_argument(text: str) -> Path:
    """Return the path of an argument, which may not be empty: that would be the working folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    return Path(text)


def add_out(parser: argparse.ArgumentParser, metavar: str, text: str, **more: Any) -> None:
    """Add the option ``--out``, a file or a folder."""
    parser.add_argument("--out", metavar=metavar, type=path_argument, help=text, **more)


def add_commands(commands: Any, command: Command) -> None:
    """Add ``dataset``, ``train`` and ``evaluate`` to the sub-parsers of the program; ``command`` makes one of them."""
    about = "Sets of simulated, noisy curves."
    dataset = commands.add_parser("dataset", help="make or describe a set of simulated curves", description=about)
    actions = dataset.add_subparsers(title="commands", metavar="COMMAND", required=True)
    about = "Simulate curves; goes on where it was interrupted."
    make = actions.add_parser("make", help="simulate curves", description=about)
    make.set_defaults(run=_make)
    settings = "TOML file with a table [dataset], or bundled settings by name"
    make.add_argument("settings", metavar="SETTINGS", help=settings)
    add_out(make, "DIR", "folder of the data set", required=True)
    make.add_argument("--curves", metavar="N", type=int, help="number of curves")
    make.add_argument("--seed", metavar="N", type=int, help="seed")
    make.add_argument("--workers", metavar="N", type=int, help="processes (default: one a core)")
    show = actions.add_parser("describe", help="say what a data set holds", description="Say what a data set holds.")
    show.set_defaults(run=_describe)
    show.add_argument("folder", metavar="DIR", type=path_argument)
    add_out(show, "FILE", "picture of the distribution of the parameters")
    about = "Compare how ways to draw the seven parameters cover their space; without curves."
    matched = actions.add_parser("compare", help="compare how sets cover their space", description=about)
    matched.set_defaults(run=_compare)
    kinds = "random, cube, latin, sobol, stratified-NAME, the folder of a data set, or settings of data sets"
    matched.add_argument("sets", metavar="SET", nargs="*", help=f"{kinds} (default: the usual ones)")
    matched.add_argument("--count", metavar="N", type=int, default=1_000_000, help="sets of parameters (%(default)s)")
    matched.add_argument("--seed", metavar="N", type=int, default=1, help="seed (%(default)s)")
    add_out(matched, "DIR", "folder for compare.md, compare.nc and compare.png")

    train = command("train", _train, "train a network")
    train.add_argument("settings", metavar="SETTINGS", help="TOML file, or bundled settings by name")
    made = "folder made by dataset make"
    meanwhile = f"{made} (default: make what the table [dataset] of SETTINGS says, while training)"
    train.add_argument("dataset", metavar="DATASET", type=path_argument, nargs="?", help=meanwhile)
    add_out(train, "DIR", "folder; a training in it goes on", required=True)
    train.add_argument("--epochs", metavar="X", type=float, help="passes over the data")
    train.add_argument("--finish-in", metavar="X", type=float, help="finish in so many minutes, if not before")
    train.add_argument("--minutes", metavar="X", type=float, help="stop, to go on later, after this time")
    train.add_argument("--shards", metavar="N", type=int, help="use the first N files of the data set only")
    bundled = '"bundled" for the one in the package'
    train.add_argument("--start", metavar="NETWORK", help=f"checkpoint to begin with, or {bundled}")
    saved = "seconds between saved states (%(default)g)"
    train.add_argument("--save-every", metavar="S", type=float, default=120.0, help=saved)
    train.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(%(default)s)")

    evaluate = command("evaluate", _evaluate, "measure a network on curves that it has not seen")
    evaluate.add_argument("network", metavar="NETWORK", help=f"checkpoint, or {bundled}")
    evaluate.add_argument("dataset", metavar="DATASET", type=path_argument, help=made)
    ideal = "measure N of the curves beside what an ideal estimator could answer; some 40 ms each"
    evaluate.add_argument("--ideal", metavar="N", type=int, default=0, help=ideal)
    add_out(evaluate, "DIR", "folder for evaluation.json and evaluation.md")


def _make(arguments: argparse.Namespace) -> int:
    from hrxrd_ml.training.dataset import DatasetFolder, DatasetSettings

    at_least(arguments.workers, 1, "--workers")
    settings = DatasetSettings.read(arguments.settings, curves=arguments.curves, seed=arguments.seed)
    folder = DatasetFolder.create(arguments.out, settings)
    folder.make(arguments.workers or 0)
    print(f"{settings.curves} curves in {arguments.out}")
    return 0


def _describe(arguments: argparse.Namespace) -> int:
    from hrxrd_ml.training import describe
    from hrxrd_ml.training.dataset import DatasetFolder

    folder = DatasetFolder(arguments.folder)
    sys.stdout.write(describe.text(describe.describe(folder)))
    if arguments.out:
        describe.plot(folder, arguments.out)
        print(f"written: {arguments.out}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from hrxrd_ml.training import sampling

    names = dict.fromkeys(arguments.sets or sampling.USUAL)
    found = sampling.compare({name: sampling.draw(name, arguments.count, arguments.seed) for name in names})
    found.attrs["seed"] = arguments.seed
    report("compare", sampling.text(found), found, sampling.plot, arguments.out)
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from hrxrd_ml import __version__
    from hrxrd_ml.training.dataset import DatasetFolder, DatasetSettings
    from hrxrd_ml.training.recipe import Training

    at_least(arguments.shards, 1, "--shards")
    for option in ("epochs", "finish_in", "minutes"):
        _positive(getattr(arguments, option), "--" + option.replace("_", "-"))
    at_least(arguments.save_every, 0, "--save-every", "a number of seconds")
    from hrxrd_ml.training.train import Trainer  # with torch, which takes seconds or is not there

    training = Training.read(arguments.settings, epochs=arguments.epochs)
    trainer = Trainer(
        training,
        DatasetSettings.read(arguments.settings) if arguments.dataset is None else DatasetFolder(arguments.dataset),
        arguments.out,
        device=arguments.device,
        shards=arguments.shards,
        start=None if arguments.start is None else checkpoint(arguments.start),
        finish_in=None if arguments.finish_in is None else 60.0 * arguments.finish_in,
        version=__version__,
    )
    limit = None if arguments.minutes is None else 60.0 * arguments.minutes
    found = trainer.run(seconds=limit, save_every=arguments.save_every)
    if found is None:
        print(f"step {trainer.step} of {trainer.steps}; run the same command again to go on")
    else:
        print(f"written: {found}")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    import json

    from hrxrd_ml.guess.network.predict import Predictor
    from hrxrd_ml.io.files import staged_folder
    from hrxrd_ml.training import evaluate, ideal
    from hrxrd_ml.training.dataset import DatasetFolder

    path = checkpoint(arguments.network)
    folder = DatasetFolder(arguments.dataset)
    at_least(arguments.ideal, 0, "--ideal")
    found = evaluate.Evaluation.of(Predictor.load(path), folder)
    report = found.report() | {"sha256": folder.digest()}
    tables = evaluate.text(report)
    if arguments.ideal:
        report["ideal"] = ideal.beside_ideal(found, folder, arguments.ideal)
        tables += "\n" + ideal.text(report["ideal"])
    sys.stdout.write(tables)
    if arguments.out:
        with staged_folder(arguments.out) as out:
            (out / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            (out / "evaluation.md").write_text(tables, encoding="utf-8")
    return 0


def checkpoint(name: str) -> str:
    """Return the path of a checkpoint, or of the one in the package by the name "bundled"."""
    from hrxrd_ml.guess.network.predict import bundled_path

    return bundled_path() if name == "bundled" else name


def at_least(number: float | None, least: int, option: str, what: str = "a whole number") -> None:
    if number is not None and not number >= least:
        raise ParameterError(f"{option} must be {what} from {least}, got {number}")


def _positive(number: float | None, option: str) -> None:
    if number is not None and not 0.0 < number < float("inf"):
        raise ParameterError(f"{option} must be a positive number, got {number:g}")
