"""Files are written whole or not at all."""

import os
import subprocess
import sys

import pytest

from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.files import abandoned, atomic_path, sealed, staged_folder, unsealed, write_bytes, write_text


def test_written_whole(tmp_path):
    write_text(tmp_path / "a.txt", "χ² = 1\n")
    write_bytes(tmp_path / "b.bin", b"\r\n")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "χ² = 1\n"
    assert (tmp_path / "b.bin").read_bytes() == b"\r\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.bin"]


def test_a_failure_keeps_the_old_content(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_halfway():
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_temporary_name_keeps_the_suffix_and_folder(tmp_path):
    with atomic_path(tmp_path / "plot.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        assert temporary.name != "plot.png"
        temporary.write_bytes(b"x")
    assert (tmp_path / "plot.png").read_bytes() == b"x"


def test_no_folder_no_file(tmp_path):
    with pytest.raises(InputFileError, match="does not exist"):
        write_text(tmp_path / "none" / "a.txt", "x")
    with pytest.raises(InputFileError, match="is a folder"):
        write_text(tmp_path, "x")


def test_staged_files_appear_together(tmp_path):
    out = tmp_path / "deep" / "out"
    with staged_folder(out) as staging:
        (staging / "fit.json").write_text("{}")
        (staging / "fit.csv").write_text("x")
        assert not (out / "fit.json").exists()
    assert sorted(p.name for p in out.iterdir()) == ["fit.csv", "fit.json"]


def test_a_failure_stages_nothing(tmp_path):
    out = tmp_path / "out"

    def fail():
        with staged_folder(out) as staging:
            (staging / "fit.json").write_text("{}")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        fail()
    assert not out.exists()
    out.mkdir()
    (out / "kept").write_text("x")
    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in out.iterdir()] == ["kept"]


def test_staging_into_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(InputFileError, match="is a file"), staged_folder(tmp_path / "out"):
        pass


KILLED = """
import os, signal, sys
from hrxrd_ml.io.files import staged_folder

with staged_folder(sys.argv[1]) as staging:
    (staging / "fit.json").write_text("half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="processes are told from one another on POSIX systems only")
def test_what_a_killed_process_has_left_is_cleared(tmp_path):
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
    assert done.returncode < 0
    (left,) = out.iterdir()
    of_another_computer = out / left.name.replace(".staging-", ".staging-elsewhere-")
    of_another_computer.mkdir()
    (out / ".staging-notes").mkdir()
    with staged_folder(out) as running:
        assert not left.exists()
        with staged_folder(out) as second:
            (second / "fit.csv").write_text("x")
        assert running.is_dir()
        (running / "fit.json").write_text("{}")
    names = {".staging-notes", of_another_computer.name, "fit.csv", "fit.json"}
    assert {p.name for p in out.iterdir()} == names


@pytest.mark.skipif(os.name != "posix", reason="processes are told from one another on POSIX systems only")
def test_temporary_files_of_a_running_process_are_not_abandoned(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    with atomic_path(tmp_path / "shard-00001.nc") as temporary:
        temporary.write_bytes(b"half")
        left = temporary.with_name(temporary.name.replace(f"-{os.getpid()}-", f"-{int(ended.stdout)}-"))
        left.write_bytes(b"half")
        assert list(abandoned(tmp_path, "shard-[0-9]{5}")) == [left]


@pytest.mark.parametrize("content", [b"", b"netCDF" * 1000])
def test_a_seal_tells_whatever_has_changed(content):
    data = sealed(content)
    assert unsealed(data) == content
    for damaged in (data[:-1], data + b"x", b"x" + data, content, bytes([data[0] ^ 1]) + data[1:]):
        with pytest.raises(InputFileError, match="damaged"):
            unsealed(damaged)
