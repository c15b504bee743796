"""Errors of the package.

Every error that a user can cause derives from :class:`HrxrdError` (itself a ``ValueError``) and carries one
message that says what was expected, what came, and what to do. The command line prints that message on one
line and exits with code 2.
"""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "CrystalError",
    "CurveError",
    "ExperimentError",
    "HrxrdError",
    "InputFileError",
    "MissingPackageError",
    "ParameterError",
    "in_short",
    "installed_by",
]


def in_short(value: object, most: int = 200) -> str:
    """Text of a value or of another library's error, on one line and not longer than ``most`` letters."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _ends(text: str, most: int = 2000) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


class HrxrdError(ValueError):
    """Base class of all errors of the package that come from the user's input.

    Of a message that quotes a megabyte of it, beginning and end are kept.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(_ends(arg) if isinstance(arg, str) else arg for arg in args))


class InputFileError(HrxrdError):
    """A data file cannot be read, or does not hold what its format promises."""


class ExperimentError(HrxrdError):
    """An experiment file (TOML) holds an unknown key, a wrong type or an impossible value."""


class CrystalError(HrxrdError):
    """A crystal, a reflection, a wavelength or a geometry is unknown or impossible."""


class CurveError(HrxrdError):
    """A curve has the wrong axis, unit, shape or values."""


class ParameterError(HrxrdError):
    """A parameter is unknown, out of its bounds, or breaks a nested constraint."""


class MissingPackageError(HrxrdError, ImportError):
    """A package is not installed that only some functions need: those of training, which need torch."""


@contextmanager
def installed_by(extra: str) -> Iterator[None]:
    """Import what an optional dependency of the package installs, or say how to install it.

    Parameters
    ----------
    extra : str
        Name of the optional dependency, such as "train".

    Raises
    ------
    MissingPackageError
        If a package is missing that is imported inside.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f'this needs {error.name}, which is not installed: pip install "hrxrd_ml[{extra}]"'
        ) from error
