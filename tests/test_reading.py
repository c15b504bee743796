"""Whatever is given for a file, it is looked at before it is opened: pipes, devices and giants are refused at once."""

import os
from pathlib import Path

import pytest

import hrxrd_ml as hx
from hrxrd_ml.cli.outputs import read_truth
from hrxrd_ml.errors import CrystalError, HrxrdError, InputFileError, ParameterError
from hrxrd_ml.guess.network.checkpoint import Checkpoint
from hrxrd_ml.inference.sampling.chain_file import ChainStore
from hrxrd_ml.reading import read_whole
from hrxrd_ml.training.dataset import DatasetFolder
from hrxrd_ml.training.settings import read_toml

INPUTS = {
    "curve": lambda path: hx.read_curve(path, experiment=False),
    "experiment": hx.read_experiment,
    "CIF": hx.Crystal.from_cif,
    "model": hx.load_model,
    "result": hx.load_result,
    "settings": read_toml,
    "checkpoint": Checkpoint.load,
    "simulated": read_truth,
    "data set": lambda path: DatasetFolder(path.parent),
    "chain": lambda path: ChainStore.open(path, "digest", (4, 3)),
}


def sparse(path):
    with path.open("wb") as opened:
        opened.truncate(1 << 41)


KINDS = {"pipe": os.mkfifo, "folder": Path.mkdir, "giant": sparse, "device": lambda path: path.symlink_to("/dev/zero")}


@pytest.mark.skipif(os.name != "posix", reason="needs pipes and devices")
@pytest.mark.parametrize(
    ("what", "kind"),
    # A chain may have any size: its parts are checked one by one.
    [(what, kind) for what in INPUTS for kind in KINDS if (what, kind) != ("chain", "giant")],
)
def test_refused_before_it_is_opened(what, kind, tmp_path):
    path = tmp_path / "dataset.json"  # the name matters to a data set alone
    KINDS[kind](path)
    with pytest.raises(HrxrdError) as caught:
        INPUTS[what](path)
    assert any(word in str(caught.value) for word in ("pipe or a device", "folder", "MB"))


def test_what_is_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_whole(path, 5) == b"12345"
    with pytest.raises(InputFileError, match="5 bytes, expected at most 4"):
        read_whole(path, 4)
    with pytest.raises(InputFileError, match="not a path"):
        read_whole("a\0b", 4)
    with pytest.raises(FileNotFoundError):
        read_whole(tmp_path / "b", 4)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs files that tell no size")
def test_a_file_that_tells_no_size():
    with pytest.raises(InputFileError, match="more than 4 bytes"):
        read_whole("/proc/self/stat", 4)


def cif(sites="", name="P 1", before=""):
    cell = "".join(f"_cell_length_{axis} 50\n" for axis in "abc")
    angles = "".join(f"_cell_angle_{axis} 90\n" for axis in ("alpha", "beta", "gamma"))
    columns = "".join(f"_atom_site_{tag}\n" for tag in ("label", "fract_x", "fract_y", "fract_z", "B_iso_or_equiv"))
    return f"data_x\n{before}{cell}{angles}_space_group_name_H-M_alt '{name}'\nloop_\n{columns}{sites}"


LONG = "Q" * 1_000_000
SITES = "".join(f"Si{k} 0.{k:04d} 0.1 0.2 0.5\n" for k in range(5000))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (cif(SITES), "5000 sites, expected at most"),
        (cif("\n".join(SITES.splitlines()[:1000]) + "\n", name="F d -3 m :1"), "atoms"),
        (cif("Si1 0 0 0 0.5\n", name=LONG), "unknown space group"),
        (cif(f"{LONG} 0 0 0 0.5\n"), "expected a chemical element"),
        (cif("Si1 0 0 0 0.5\n").replace(" 50\n", f" {'5' * 1_000_000}\n"), "no valid unit cell"),
    ],
    ids=["sites", "atoms", "space group", "label", "number"],
)
def test_a_cif_beyond_measure(text, words, tmp_path):
    path = tmp_path / "x.cif"
    path.write_text(text)
    with pytest.raises((InputFileError, CrystalError), match=words) as caught:
        hx.Crystal.from_cif(path)
    assert len(str(caught.value)) < 10_000


def test_a_name_of_a_megabyte_is_cut(tmp_path):
    path = tmp_path / "x.cif"
    path.write_text(cif("Si1 0 0 0 0.5\n", before=f"_chemical_formula_sum {LONG}\n"))
    assert len(hx.Crystal.from_cif(path).name) < 1000


def test_a_thousand_films():
    film = hx.Film("f", "Si", 50.0)
    with pytest.raises(ParameterError, match="films: expected at most 500, got 1000"):
        hx.RockingCurve.of(hx.Reflection("Si", (0, 0, 4), "CuKa1"), films=[film] * 1000)
