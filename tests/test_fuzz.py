"""Damaged files of every kind: each is read sanely, or refused by the package's own error in one line."""

import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzzing
from bad_input_cases import EXPERIMENT
from hrxrd_ml import Crystal, HrxrdError, read_curve, read_experiment
from hrxrd_ml.cli import main
from hrxrd_ml.io.experiment.settings import ReflectionSettings

QUICK, MANY = 12, 400
FAMILIES = [pytest.param(family, id=family.name) for family in fuzzing.FAMILIES]


def broken(family: fuzzing.Family, numbers: range, folder: Path, command_every: int) -> list[str]:
    """What breaks the rule, among inputs of a family; some of the refused ones go to the command line as well."""
    found = []
    for number in numbers:
        place = folder / str(number)
        place.mkdir()
        files, name = fuzzing.make_input(family, number)
        fuzzing.write(files, place)
        outcome = fuzzing.outcome(family, place, name)
        if outcome.kind == "bug":
            found.append(f"{number}: {outcome.where}: {outcome.what}")
        elif outcome.kind == "refused" and number % command_every == 0 and (wrong := fuzzing.complaint(family, place)):
            found.append(f"{number}: {wrong}")
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_damaged_files(family, tmp_path):
    assert not broken(family, range(QUICK), tmp_path, command_every=3)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_many_damaged_files(family, tmp_path):
    if family.name == "shard":
        pytest.skip("the HDF5 library may end the process that reads a damaged file; run benchmarks/fuzz.py")
    assert not broken(family, range(QUICK, MANY), tmp_path, command_every=5)


# --- files that Hypothesis makes up ---

HEADS = st.sampled_from(
    [b"", b"<", b"<xrdMeasurements>", b"*RAS_INT_START\n", b"PK\x03\x04", b"RAW1", b"\xff\xfe", b"1 2\n"]
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=200).map(lambda text: text.encode())
ROWS = st.lists(
    st.lists(st.sampled_from(fuzzing.NUMBERS[:20]) | st.floats().map(lambda v: f"{v:g}".encode()), max_size=4)
)
TABLES = st.tuples(ROWS, st.sampled_from([b",", b";", b"\t", b" "])).map(lambda t: b"\n".join(map(t[1].join, t[0])))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3),
)


def refusal(read, what) -> str:
    """Message with which something is refused; "" if it is not."""
    try:
        with np.errstate(all="raise"):
            read(what)
    except HrxrdError as error:
        return str(error)
    return ""


def refused_or_fine(read, path: Path) -> None:
    message = refusal(read, path)
    assert not message or (path.name in message and len(message.splitlines()) == 1)


@settings(max_examples=150)
@given(st.builds(bytes.__add__, HEADS, st.binary(max_size=300) | TEXTS | TABLES))
def test_any_bytes_as_a_curve(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.dat"
    path.write_bytes(content)
    refused_or_fine(lambda p: read_curve(p, experiment=False), path)


@settings(max_examples=100)
@given(st.binary(max_size=300) | TEXTS)
def test_any_bytes_as_an_experiment_or_a_structure(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    for head in (b"", EXPERIMENT.encode()):
        path.write_bytes(head + content)
        refused_or_fine(read_experiment, path)
    path = path.with_suffix(".cif")
    for head in (b"", fuzzing.CIF.encode()):
        path.write_bytes(head + content)
        refused_or_fine(Crystal.from_cif, path)


@settings(max_examples=150)
@given(st.sampled_from([field.name for field in fields(ReflectionSettings)]), VALUES)
def test_any_value_in_an_experiment(key, value):
    from hrxrd_ml.io.experiment.read import experiment_from_mapping

    data = {"reflection": {"crystal": "GGG", "hkl": [4, 4, 4], key: value}}
    message = refusal(experiment_from_mapping, data)
    assert not message or (key in message and len(message.splitlines()) == 1)


# --- what a curve must not be: endless, or larger than memory ---


def test_a_device_that_never_ends_is_refused():
    if not Path("/dev/zero").exists():
        pytest.skip("there is no /dev/zero here")
    with pytest.raises(HrxrdError, match="a device"):
        read_curve("/dev/zero", experiment=False)


@pytest.mark.parametrize(
    ("line", "count", "words"),
    [
        (b"1,2\n", 600_000, "lines"),
        (b"12345,67890,12345,67890,12345,67890\n", 300_000, "MB"),
        (b"1 " * 6000, 1, "letters"),
    ],
)
def test_a_huge_text_is_refused_at_once(tmp_path, line, count, words):
    path = tmp_path / "huge.csv"
    path.write_bytes(line * count)
    family = fuzzing.FAMILIES[0]
    (tmp_path / "curve.csv").write_bytes(path.read_bytes())
    outcome = fuzzing.outcome(family, tmp_path, "curve.csv")
    assert outcome.kind == "refused"
    assert words in outcome.what
    assert outcome.seconds < 2.0


def test_a_sparse_file_of_many_gigabytes_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("e.toml").write_text(EXPERIMENT)
    with Path("huge.csv").open("wb") as opened:
        opened.truncate(20 * 10**9)
    if os.stat("huge.csv").st_blocks > 1000:
        pytest.skip("this file system has no sparse files")
    assert main.main(["fit", "huge.csv", "e.toml", "--out", "out"]) == 2
    assert "20000 MB" in capsys.readouterr().err
    assert not Path("out").exists()
