"""What the machine around the program does: odd paths, full and read-only disks, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bad_input_cases import EXPERIMENT, FIXED
from hrxrd_ml import read_curve
from hrxrd_ml.cli import main, outputs, run
from hrxrd_ml.training.dataset import DatasetFolder, DatasetSettings
from hrxrd_ml.training.prior import FixedPrior

SET = """
[dataset]
curves = {curves}
shard = 200
[dataset.prior]
kind = "fixed"
points = 101
zero = 10
step = 25.0
fwhm = 30.0
"""
TRAIN = """
[input]
kind = "fixed"
points = 101
[output]
kind = "linear"
[network]
width = 48
depth = 1
components = 2
[train]
epochs = 4000
patience = 1000000
batch = 64
validation = 0.1
precision = "fp32"
"""


@pytest.fixture
def known_start(monkeypatch):
    monkeypatch.setattr(run.RockingCurveModel, "guess", lambda model, curve, **_: model.make_params())


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """Working folder with an experiment, and a curve simulated from it."""
    monkeypatch.chdir(tmp_path)
    Path("sample.toml").write_text(EXPERIMENT + FIXED, encoding="utf-8")
    assert (
        main.main(["simulate", "sample.toml", "--noise", "--seed", "5", "--points", "181", "--out", "sample.csv"]) == 0
    )
    return tmp_path


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> DatasetFolder:
    """A small set of curves for a network."""
    prior = FixedPrior(points=101, zero=10, step=25.0, fwhm=30.0)
    settings = DatasetSettings(curves=600, seed=2, shard=300, prior=prior)
    folder = DatasetFolder.create(tmp_path_factory.mktemp("data") / "set", settings)
    folder.make(1, progress=False)
    return folder


@pytest.fixture
def mounted(tmp_path):
    """Function that mounts a file system of its own, such as one that is small or read-only, and gives its folder."""
    folders = []

    def mount(options: str) -> Path:
        folder = tmp_path / "mounted"
        folder.mkdir()
        try:
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
        except OSError as error:
            pytest.skip(f"cannot mount: {error}")
        if done.returncode:
            pytest.skip(f"not permitted to mount: {done.stderr.decode().strip()}")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=True)


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command line ends with code 2."""
    capsys.readouterr()
    assert main.main([str(a) for a in argv]) == 2
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line and "%|" not in line]  # without bars
    assert len(lines) == 1
    assert lines[0].startswith("hrxrd-ml: ")
    return lines[0]


@pytest.mark.usefixtures("known_start")
def test_paths_with_blanks_and_letters_of_any_language(sample, capsys):
    folder = sample / "Messung 1, Probe α – 日本 'x' %s {y}"
    folder.mkdir()
    for name in ("sample.csv", "sample.toml"):
        os.rename(sample / name, folder / name.replace("sample", "Kurve (über 5°)"))
    curve = folder / "Kurve (über 5°).csv"
    assert read_curve(curve).attrs["experiment"] == str(curve.with_suffix(".toml"))
    out = folder / "Ergebnis №1" / "ä b"
    assert main.main(["fit", str(curve), "--out", str(out), "--report"]) == 0
    assert {path.name for path in out.iterdir()} == {*outputs.FILES, "fit.html"}
    assert str(out) in capsys.readouterr().out
    assert "Kurve (über 5°)" in (out / "fit.html").read_text(encoding="utf-8")
    assert main.main(["guess", str(curve), "--out", str(folder / "Start ß.toml")]) == 0
    assert (folder / "Start ß.toml").is_file()


def nowhere(folder: Path, data: DatasetFolder) -> list[list[str]]:
    """Each command that writes, made to write into a folder."""
    settings, train = Path("set.toml"), Path("train.toml")
    settings.write_text(SET.format(curves=400))
    train.write_text(TRAIN)
    commands = [
        ["fit", "sample.csv", "--out", folder / "fit"],
        ["guess", "sample.csv", "--out", folder / "start.toml"],
        ["simulate", "sample.toml", "--out", folder / "curve.csv"],
        ["dataset", "make", settings, "--out", folder / "set", "--workers", "1"],
        ["dataset", "describe", data.path, "--out", folder / "set.png"],
    ]
    if find_spec("torch") is not None:
        commands.append(["train", train, data.path, "--out", folder / "run", "--device", "cpu"])
    return commands


@pytest.mark.usefixtures("known_start")
def test_no_folder_can_be_made_below_a_file(sample, data, capsys):
    for argv in nowhere(sample / "sample.csv" / "out", data):
        refused(argv, capsys)


@pytest.mark.usefixtures("known_start")
def test_read_only_folders(sample, data, capsys, mounted):
    folder = mounted("ro,size=1m")
    for argv in nowhere(folder, data):
        assert str(folder) in refused(argv, capsys), argv[0]
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("known_start")
@pytest.mark.parametrize("size", ["4k", "32k"])
def test_a_full_disk_leaves_nothing_half_written(sample, data, capsys, mounted, size):
    folder = mounted(f"size={size}")
    for argv in nowhere(folder, data):
        if argv[0] in ("guess", "simulate") and size != "4k":
            continue  # these are small enough
        (folder / "there before").write_bytes(b"x" * 2000)
        capsys.readouterr()
        assert main.main([str(a) for a in argv]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line and "%|" not in line]
        # After a fit each file that does not fit on the disk is named, and those that do are whole.
        assert lines
        assert argv[0] == "fit" or len(lines) == 1
        assert all(line.startswith("hrxrd-ml: ") for line in lines)
        left = [
            path for path in folder.rglob("*") if path.is_file() and path.name not in ("there before", "dataset.json")
        ]
        whole = {name for name in outputs.FILES if argv[0] == "fit" and not any(name in line for line in lines)}
        assert all(path.name.startswith("shard-") or path.name in {"log.csv", *whole} for path in left), argv[0]
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.usefixtures("known_start")
def test_a_disk_that_fills_while_a_chain_grows(sample, capsys, mounted):
    folder = mounted("size=4m")
    message = refused(["fit", "sample.csv", "--out", folder, "--emcee", "20"], capsys)
    assert "MB left" in message
    assert {path.name for path in folder.iterdir()} == set(outputs.FILES)  # the fit was good, and stays


def test_an_interruption_inside_compiled_code(sample, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    monkeypatch.setattr(run, "simulate_curve", interrupted)
    assert main.main(["simulate", "sample.toml"]) == 130
    assert capsys.readouterr().err == "hrxrd-ml: interrupted\n"


# --- Ctrl-C ---

TWO_WORKERS = "import os; os.sched_getaffinity = lambda *_: {0, 1}; "
COMMAND = TWO_WORKERS + "from hrxrd_ml.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"


def interrupt(argv: list[object], delay: float, folder: Path) -> bool:
    """Press Ctrl-C after a while, which reaches all processes; the program must end in order.

    False if it was through before that, as it may be on a fast machine.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, argv)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(delay)
    if process.poll() is not None:
        assert process.returncode == 0, f"ended before: {process.communicate()}"
        process.communicate()
        return False
    os.killpg(process.pid, signal.SIGINT)
    err = process.communicate(timeout=120)[1]
    assert "Traceback" not in err
    if process.returncode == -signal.SIGINT:  # the interpreter was leaving already, or not in our code yet
        return False
    assert process.returncode == 130, err
    assert "Exception ignored" not in err
    assert err.splitlines()[-1].endswith("hrxrd-ml: interrupted")
    return True


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends the signal of a POSIX terminal")
@pytest.mark.parametrize("command", ["dataset make", "train", "evaluate", "demo", "fit --emcee"])
def test_ctrl_c(command, data, tmp_path):
    if command == "train":
        pytest.importorskip("torch", reason="trains, which needs torch")
    (tmp_path / "set.toml").write_text(SET.format(curves=40_000))
    (tmp_path / "train.toml").write_text(TRAIN)
    with as_file(files("hrxrd_ml") / "data" / "demo.csv") as demo:
        argv, delays = {
            "dataset make": (["dataset", "make", "set.toml", "--out", "set"], (2.0, 5.0, 8.0)),
            "train": (["train", "train.toml", data.path, "--out", "run", "--device", "cpu"], (3.0, 8.0, 15.0)),
            "evaluate": (["evaluate", "bundled", data.path, "--out", "out"], (1.0, 1.5, 2.0)),
            "demo": (["demo"], (0.8, 2.0, 4.0)),
            "fit --emcee": (["fit", demo, "--out", "out", "--emcee", "100000"], (3.0, 12.0, 20.0, 30.0, 40.0)),
        }[command]
        interrupted = [interrupt(argv, delay, tmp_path) for delay in delays]
        assert any(interrupted)
    assert not list(tmp_path.rglob(".*")), "a temporary file is left"
    if command == "dataset make":
        folder = DatasetFolder(tmp_path / "set")
        made = [number for number in range(folder.settings.shards) if number not in folder.missing()]
        assert all(np.isfinite(folder.shard(number)["values"]).all() for number in made)
