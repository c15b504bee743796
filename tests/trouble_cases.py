"""What goes wrong in practice, provoked: each case returns the message that docs/troubleshooting.md quotes.

A case runs in an empty folder. Those of the command line give what stands on standard error.
"""

import contextlib
import io
import multiprocessing.spawn
import warnings
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import save_file

import curve_files
import curve_stub
import hrxrd_ml as hx
from hrxrd_ml.cli.main import main
from hrxrd_ml.guess.classical import ClassicalGuess
from hrxrd_ml.guess.network.provider import NetworkGuess

OMEGA = 25.2 + 0.0015 * np.arange(301)
OFFSET = np.arange(-800, 401, 4)
COUNTS = np.round(
    20 + 18000 * np.exp(-(((OMEGA - 25.53) / 0.002) ** 2)) + 900 * np.exp(-(((OMEGA - 25.4) / 0.03) ** 2))
)
EXPERIMENT = """\
[reflection]
crystal = "GGG"
hkl = [4, 4, 4]
wavelength = "CuKa1"
[axis]
kind = "omega"
unit = "deg"
"""
RATES = EXPERIMENT + '[intensity]\nkind = "counts"\n'
CHAIN = {"burn": 20, "stop": False, "progress": False, "workers": 1, "seed": 3}


def columns(x=OMEGA, y=COUNTS, delimiter=",", heading="omega,counts", form="g"):
    """Text of a curve."""
    return heading + "\n" + "".join(f"{a:.4f}{delimiter}{b:{form}}\n" for a, b in zip(x, y, strict=True))


def command(curve, experiment=EXPERIMENT, name="scan.csv", *arguments):
    """What ``hrxrd-ml fit`` complains of."""
    content = curve if isinstance(curve, bytes) else curve.encode()
    Path(name).write_bytes(content)
    if experiment is not None:
        Path("scan.toml").write_text(experiment)
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        assert main(arguments or ["fit", name, "--out", "out"]) == 2
    return errors.getvalue()


def raised(function, *arguments, **settings):
    """Message of the error of a call."""
    try:
        function(*arguments, **settings)
    except hx.HrxrdError as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("nothing went wrong")


def stub(misfit=1.0):
    """A fit that takes milliseconds; every second point may be off by a factor."""
    model = hx.RockingCurveModel(simulation=curve_stub.StubCurve(), axis_kind="offset", unit="arcsec")
    params = model.make_params(**curve_stub.TRUTH)
    x = np.linspace(-1400.0, 400.0, 181)
    expected = model.eval(params, x=x) * np.where(np.arange(181) % 2, misfit, 1.0)
    for par in params.values():
        par.vary = par.name in ("scale", "offset", "fwhm")
    return model.fit(np.random.default_rng(1).poisson(expected).astype(float), params, x=x)


def implanted():
    """Fit of the curve that ``hrxrd-ml simulate scan.toml --points 301 --noise --seed 1`` gives."""
    Path("scan.toml").write_text(EXPERIMENT)
    experiment = hx.read_experiment("scan.toml")
    curve, values = hx.simulate_curve(experiment, points=301, noise=True, seed=1)
    model = hx.build_model(experiment, curve)
    return model, curve, model.make_params(**values)


def notes():
    """Notes on a fit without another fault."""
    model, curve, params = implanted()
    return "\n".join(f"note: {note}" for note in model.fit(curve, params).bound_notes)


def not_converged():
    """The minimiser stops at its limit of evaluations."""
    model, curve, params = implanted()
    params["L1"].value = 4000.0
    return f"hrxrd-ml: the fit did not converge: {model.fit(curve, params, max_nfev=3).message}"


def outside():
    """Who guessed a curve whose layer lies at larger angles than the substrate."""
    model, curve, _ = implanted()
    peak = float(curve["x"][int(np.argmax(curve.values))])
    mirrored = hx.make_curve(2 * peak - curve["x"].values, curve.values, kind="omega", unit="deg")
    kept, ClassicalGuess.guess = ClassicalGuess.guess, lambda self, model, curve: model.make_params()  # takes seconds
    try:
        params = NetworkGuess().guess(model, mirrored)
    finally:
        ClassicalGuess.guess = kept
    return params["Dmax1"].user_data["guess"]["note"]


def chain():
    """Warnings of sampling a fit that misses the data, and the notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = hx.sample(stub(misfit=1.3), 20, **CHAIN)
    return "\n".join([*(f"UserWarning: {warning.message}" for warning in caught), found.attrs["notes"]])


def another_fit():
    """The chain of one fit, for another."""
    with h5py.File("chain.h5", "w") as opened:
        opened.attrs["hrxrd_ml_fit"] = "of other data"
    return raised(hx.sample, stub(), 5, backend="chain.h5", **CHAIN)


def foreign_chain():
    """Some other HDF5 file."""
    h5py.File("data.h5", "w").close()
    return raised(hx.sample, stub(), 5, backend="data.h5", **CHAIN)


def foreign_checkpoint():
    """Weights of some other program."""
    save_file({"weight": np.zeros(3, np.float32)}, "other.safetensors")
    model, curve, _ = implanted()
    return raised(model.guess, curve, provider=NetworkGuess("other.safetensors"))


def out_of_bounds():
    """A start value that no fit may take."""
    model, curve, params = implanted()
    return raised(model.fit, curve, params, fwhm=600.0)


def wrong_name():
    """A parameter that the model has not."""
    model, curve, params = implanted()
    return raised(model.fit, curve, params, fwmh=20.0)


def other_sample():
    """Two curves of which each is described by a profile of its own kind."""
    given = {"r444_": {"profile": "bspline"}, "r888_": {}}
    orders = zip((4, 8), given.items(), strict=True)
    models = [hx.RockingCurveModel(hx.Reflection("GGG", (n,) * 3), prefix=p, **kind) for n, (p, kind) in orders]
    return raised(hx.JointModel, models)


def no_guard():
    """A process that was spawned, reads the script for its main module and meets the start of processes there."""
    process = multiprocessing.current_process()
    process._inheriting = True
    try:
        multiprocessing.spawn._check_not_importing_main()
    except RuntimeError as error:
        return f"RuntimeError: {error}"
    finally:
        del process._inheriting
    raise AssertionError("nothing went wrong")


CASES = {
    "degrees called arcsec": lambda: command(columns(), EXPERIMENT.replace('"deg"', '"arcsec"')),
    "arcsec called degrees": lambda: command(columns(OFFSET), EXPERIMENT.replace('"omega"', '"offset"')),
    "offsets called omega": lambda: command(columns(OFFSET), EXPERIMENT.replace('"deg"', '"arcsec"')),
    "two decimal signs": lambda: command(columns(delimiter=";", form=".1f").replace(".", ",", 301), EXPERIMENT),
    "decimal commas and comma between columns": lambda: command(columns().replace(".", ",")),
    "some angle": lambda: command(columns(heading="Angle (deg),counts"), EXPERIMENT.partition("[axis]")[0]),
    "rates": lambda: command(columns(heading="omega,counts/sec")),
    "start, step and end": lambda: command(columns(heading="25.2 0.0015 25.65", delimiter=" ")),
    "start and number": lambda: command(columns(heading="omega,counts\n25,301")),
    "angle twice": lambda: command(columns(np.where(OMEGA[10] == OMEGA, OMEGA[9], OMEGA))),
    "there and back": lambda: command(columns(np.r_[OMEGA[::2], OMEGA[1::2][::-1]])),
    "background subtracted": lambda: command(columns(y=COUNTS - 25)),
    "nan": lambda: command(columns().replace("25.2300,20", "25.2300,nan")),
    "rates called counts": lambda: command(columns(y=COUNTS / 7), RATES),
    "no experiment": lambda: command(columns(), None),
    "two scans": lambda: command(
        curve_files.xrdml(curve_files.BOTH + curve_files.RAW_COUNTS, scans=2), name="scan.xrdml"
    ),
    "wavelength": lambda: command(
        curve_files.xrdml(curve_files.BOTH + curve_files.RAW_COUNTS), EXPERIMENT.replace("CuKa1", "MoKa1"), "scan.xrdml"
    ),
    "other reflection": lambda: command(columns(), EXPERIMENT.replace("[4, 4, 4]", "[8, 8, 8]")),
    "no peak": lambda: command(columns(y=20 + np.arange(301) % 7)),
    "forbidden": lambda: command(columns(), EXPERIMENT.replace("[4, 4, 4]", "[1, 1, 1]")),
    "out of reach": lambda: command(columns(), EXPERIMENT.replace("[4, 4, 4]", "[12, 12, 12]")),
    "misspelt key": lambda: command(columns(), EXPERIMENT.replace("crystal", "cristal")),
    "notes": notes,
    "not converged": not_converged,
    "outside the domain": outside,
    "short chain, and a misfit": chain,
    "chain of another fit": another_fit,
    "no chain": foreign_chain,
    "checkpoint": foreign_checkpoint,
    "out of bounds": out_of_bounds,
    "wrong name": wrong_name,
    "different samples": other_sample,
    "no guard": no_guard,
}
