"""Reading a file whole: its kind and its size are looked at first."""

import os
import stat
from pathlib import Path

from hrxrd_ml.errors import InputFileError

__all__ = ["read_whole", "unreadable"]


def read_whole(path: str | os.PathLike[str], most: int) -> bytes:
    """Content of a file of at most ``most`` bytes.

    Raises
    ------
    InputFileError
        If it is a folder, a pipe or a device, of which some never end and others wait for ever, or larger.
    OSError
        If there is no such file, or it cannot be read.
    """
    if reason := unreadable(path, most):
        raise InputFileError(reason)
    with Path(path).open("rb") as opened:
        data = opened.read(most + 1)
    if len(data) > most:  # files of the system, such as those of /proc, tell no size
        raise InputFileError(f"the file has more than {_size(most)}, the most that is read here; is it the right one?")
    return data


def unreadable(path: str | os.PathLike[str], most: int) -> str:
    """Why a file is not to be opened; "" if nothing speaks against it.

    Raises
    ------
    InputFileError
        If it can be no path.
    OSError
        If there is no such file.
    """
    try:
        about = Path(path).stat()
    except ValueError as error:  # such as a name with a null byte
        raise InputFileError(f"not a path: {error}") from None
    if stat.S_ISDIR(about.st_mode):
        return "this is a folder; give the path of a file"
    if not stat.S_ISREG(about.st_mode):
        return "this is a pipe or a device; give a file, such as a copy of what comes out of it"
    if about.st_size > most:
        return f"the file has {_size(about.st_size)}, expected at most {_size(most)}; is it the right one?"
    return ""


def _size(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count} bytes"
