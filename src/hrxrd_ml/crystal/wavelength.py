"""X-ray wavelengths: named characteristic lines, and numbers in Å with a check that they are plausible."""

from __future__ import annotations

import math
import re
import tomllib
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from hrxrd_ml.errors import CrystalError

__all__ = ["HC", "MAX_WAVELENGTH", "MIN_WAVELENGTH", "photon_energy", "resolve_wavelength", "xray_lines"]

#: h·c in eV·Å (exact in the SI of 2019).
HC = 12398.419843320026
#: Shortest and longest wavelength that is taken for one in Å.
MIN_WAVELENGTH, MAX_WAVELENGTH = 0.1, 10.0


@cache
def xray_lines() -> Mapping[str, float]:
    """Named lines and their wavelengths.

    Returns
    -------
    mapping of str to float
        Wavelengths in Å, for example ``{"CuKa1": 1.5405929, ...}``; ``"CuKa"`` and its like are (2·Kα1 +
        Kα2)/3. Sources are named in ``data/xray_lines.toml``.
    """
    table = tomllib.loads(files("hrxrd_ml").joinpath("data/xray_lines.toml").read_text(encoding="utf-8"))
    lines = {name: float(value) for name, value in table.items()}
    for name in table:
        if name.endswith("Ka1"):
            lines[name[:-1]] = (2.0 * lines[name] + lines[name[:-1] + "2"]) / 3.0
    return MappingProxyType(dict(sorted(lines.items())))


def _line_key(name: str) -> str:
    """Spelling-insensitive form: "Cu K-alpha 1", "CuKα1" and "cuka1" are one line."""
    key = name.replace("α", "a").replace("β", "b").replace("₁", "1").replace("₂", "2").casefold()
    key = key.replace("alpha", "a").replace("beta", "b")
    return re.sub(r"[\s_\-]", "", key)


def resolve_wavelength(value: float | str) -> float:
    """Wavelength in Å of a named line or a number.

    Parameters
    ----------
    value : float or str
        Wavelength in Å, or a line such as ``"CuKa1"``, ``"Cu Kα1"`` or ``"MoKa"``; a number as a string is a
        number.

    Returns
    -------
    float
        Wavelength in Å.

    Raises
    ------
    CrystalError
        For an unknown line, or a number outside 0.1 … 10 Å (with a guess at the unit that was meant).

    Warns
    -----
    UserWarning
        For a number that is a named line in nm.
    """
    if isinstance(value, str):
        lines = {_line_key(name): (name, wavelength) for name, wavelength in xray_lines().items()}
        key = _line_key(value)
        if key in lines:
            return lines[key][1]
        try:
            value = float(re.sub(r"\s*(Å|Å|A|[Aa]ngstr[oö]ms?)$", "", value.strip()))
        except ValueError:
            near = get_close_matches(key, lines, n=3, cutoff=0.4)
            hint = ", ".join(lines[k][0] for k in near) or "CuKa1, CoKa1, MoKa1"
            raise CrystalError(
                f"wavelength: expected a number in Å or a named line, got {value!r}; did you mean {hint}?"
            ) from None
    try:
        wavelength = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        raise CrystalError(
            f"wavelength: expected a number in Å or the name of a line such as 'CuKa1', got {value!r}"
        ) from None
    if MIN_WAVELENGTH <= wavelength <= MAX_WAVELENGTH:
        _warn_of_nanometres(wavelength)
        return wavelength
    raise CrystalError(
        f"wavelength: expected {MIN_WAVELENGTH:g} to {MAX_WAVELENGTH:g} Å, got {wavelength:g}{_unit_hint(wavelength)}"
    )


def _warn_of_nanometres(wavelength: float) -> None:
    lines = xray_lines()
    name = min(lines, key=lambda n: abs(10.0 * wavelength - lines[n]))
    if abs(10.0 * wavelength / lines[name] - 1.0) < 1e-3:
        warnings.warn(
            f"wavelength: {wavelength:g} Å was given, but {wavelength:g} nm is {name}; is it in Å?",
            stacklevel=3,
        )


def _unit_hint(number: float) -> str:
    if not math.isfinite(number) or number <= 0.0:
        return "; give a positive number in Å"
    if number < 1e-8:
        return f"; this looks like metres: did you mean {number * 1e10:.6g} Å?"
    if number < MIN_WAVELENGTH:
        return f"; this looks like nm: did you mean {number * 10.0:.6g} Å?"
    if number >= 1000.0:
        return f"; this looks like an energy in eV: did you mean {HC / number:.6g} Å?"
    return (
        f"; this looks like pm ({number / 100.0:.6g} Å) or an energy in keV ({HC / 1000.0 / number:.6g} Å): "
        f"give the wavelength in Å"
    )


def photon_energy(wavelength: float) -> float:
    """Photon energy in eV of a wavelength in Å."""
    return HC / wavelength
