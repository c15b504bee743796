"""Writing files so that a reader never meets a half-written one.

A file is written under a temporary name in the folder where it is going to stay, then renamed. A rename
within one folder is atomic, so whoever reads the final name sees the old content or the new one.
"""

import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hrxrd_ml.errors import InputFileError, in_short

_SEAL = b"\nSHA-256:"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes ``path``, on an exception it disappears.

    The temporary name keeps the suffix of ``path``, by which many writers choose their format.

    Parameters
    ----------
    path
        The file to write; its folder must exist. An existing file is replaced.

    Raises
    ------
    InputFileError
        If the folder does not exist, ``path`` is a folder, or it cannot be written.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise InputFileError(f"cannot write {target}: the folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise InputFileError(f"cannot write {target}: it is a folder; give the name of a file")
    temporary = target.with_name(f".{target.stem}-{_mark()}{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise _not_written(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _not_written(target: Path, error: OSError) -> InputFileError:
    """Error that names what was to be written, as that of a full disk does not."""
    return InputFileError(
        f"cannot write {target}: {in_short(error.strerror or error)}; make room, or choose another place"
    )


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` (UTF-8, newlines as given) to ``path`` atomically; see `atomic_path`.

    Names of files need not be text in any encoding; what of them is none is written with backslashes.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` atomically; see `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def staged_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder to write several files into; they move to ``folder`` together at the end.

    On an exception nothing appears in ``folder``. Files of the same name are replaced, others stay.
    ``folder`` is created, with its parents, if need be; if it was created here, it goes again on failure.
    Temporary folders that a killed process has left there are removed.

    Raises
    ------
    InputFileError
        If ``folder`` cannot be made or written; say, it or something on the way to it is a file.
    """
    target = Path(folder)
    created = not target.exists()
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        why = "it, or a part of its path, is a file" if in_the_way else error.strerror
        raise InputFileError(f"cannot write into the folder {target}: {why}") from error
    for leftover in abandoned(target, "staging"):
        shutil.rmtree(leftover, ignore_errors=True)
    staging = target / f".staging-{_mark()}"
    done = False
    try:
        staging.mkdir()
        yield staging
        for file in sorted(staging.iterdir()):
            os.replace(file, target / file.name)
        done = True
    except OSError as error:
        raise _not_written(target, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if created and not done and not any(target.iterdir()):
            target.rmdir()


def _mark() -> str:
    """Part of a temporary name that tells who made it, and that nobody else uses."""
    return f"{platform.node()}-{os.getpid()}-{secrets.token_hex(6)}"


def abandoned(folder: Path, stem: str) -> Iterator[Path]:
    """Temporary files and folders whose maker, which their names tell, has ended.

    Of a process on another computer that shares the disk nothing is known, and on Windows nobody can ask safely.

    Parameters
    ----------
    folder
        Where they are looked for.
    stem
        Regular expression of what their names begin with, after the point.
    """
    name = re.compile(rf"\.{stem}-{re.escape(platform.node())}-([0-9]{{1,9}})-[0-9a-f]{{12}}(\.\w+)?")
    for path in folder.iterdir() if os.name == "posix" else ():
        if (maker := name.fullmatch(path.name)) and not _runs(int(maker[1])):
            yield path


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 does nothing but ask
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        pass
    return True


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other processes that ask for it away from a file that grows; a process that is killed leaves it free.

    Where the disk or the system knows no such locks, as on Windows, nobody is kept away.

    Raises
    ------
    InputFileError
        If another one has it.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise InputFileError(f"cannot write {target}: the folder {target.parent} does not exist; create it first")
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock = target.with_name(f".{target.name}.lock")
    try:
        opened = lock.open("a")
    except OSError as error:
        raise _not_written(target, error) from error
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = lock.exists() and lock.stat().st_ino == os.fstat(opened.fileno()).st_ino
        except BlockingIOError:
            held = False
        except OSError:
            held = True
        if not held:  # or the one that had it has just removed its lock
            raise InputFileError(
                f"{target}: another process is writing it; wait until that has ended, or choose another file"
            )
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def sealed(content: bytes) -> bytes:
    """Content with its SHA-256 at the end, where formats that know their own length, such as HDF5, do not look."""
    return content + _SEAL + hashlib.sha256(content).digest()


def unsealed(data: bytes) -> bytes:
    """Content of what `sealed` made: libraries written in C need not survive a damaged file.

    Raises
    ------
    InputFileError
        If anything in it has changed.
    """
    end = len(data) - len(_SEAL) - hashlib.sha256().digest_size
    if end < 0 or data != sealed(data[:end]):
        raise InputFileError("the file is damaged: it does not end with the SHA-256 of its content")
    return data[:end]
