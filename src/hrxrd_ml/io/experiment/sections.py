"""Sections of an experiment file: each function checks one table and returns its settings."""

import re
from pathlib import Path
from typing import Any

from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.io.experiment.settings import (
    BACKGROUNDS,
    DAMAGES,
    DATA_KINDS,
    DIFFUSES,
    EXITS,
    METHODS,
    PROFILES,
    RESOLUTIONS,
    AxisSettings,
    FitSettings,
    IntensitySettings,
    LayerSettings,
    ModelSettings,
    ReflectionSettings,
    SampleSettings,
    SusceptibilitySettings,
)
from hrxrd_ml.io.experiment.table import Table, is_number, shown
from hrxrd_ml.units import ANGLE_UNITS, AXIS_KINDS


def _crystal(table: Table, folder: Path) -> str:
    """Name of a built-in crystal, or the absolute path of a CIF file that exists."""
    table.require("crystal", "a built-in name such as 'GGG', or the path of a CIF file")
    name = str(table.text("crystal", None))
    if not name.lower().endswith(".cif"):
        return name
    try:
        path = (folder / Path(name).expanduser()).resolve()
        found = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long, of an unknown user, with a zero in it
        table.fail("crystal", f"the path of a CIF file ({' '.join(str(error).split())})")
    if not found:
        raise ExperimentError(
            f"{table.place('crystal')}: there is no CIF file {path} (paths are relative to the TOML file)"
        )
    return str(path)


def read_reflection(top: Table, folder: Path) -> ReflectionSettings:
    top.require("reflection", "a table [reflection] with at least crystal and hkl")
    keys = "crystal hkl wavelength surface exit monochromator lattice polarization_ratio susceptibility"
    t = top.table("reflection", tuple(keys.split()))
    crystal = _crystal(t, folder)
    t.require("hkl", "three integers such as [4, 4, 4]")
    hkl = t.indices("hkl")
    assert hkl is not None
    surface = t.indices("surface")
    exit_ = t.choice("exit", EXITS, "high")
    if exit_ == "low" and surface is None:
        raise ExperimentError(
            f"{t.place('exit')}: 'low' is for asymmetric reflections; give surface = [h, k, l] as well"
        )
    return ReflectionSettings(
        crystal=crystal,
        hkl=hkl,
        wavelength=_wavelength(t),
        surface=surface,
        exit=exit_,
        monochromator=_monochromator(t),
        lattice=t.number("lattice", 2.0, 100.0, "Å", None),
        polarization_ratio=t.number("polarization_ratio", 0.0, 1000.0, "", None),
        susceptibility=_susceptibility(t) if "susceptibility" in t else None,
    )


def _wavelength(t: Table) -> float | str:
    value = t.data.get("wavelength", "CuKa1")
    if isinstance(value, str) and value.strip():
        return value.strip()
    if not is_number(value) or not 0.2 <= value <= 10.0:
        t.fail("wavelength", "a name such as 'CuKa1', or a number from 0.2 to 10 Å (not nm, not keV)")
    return float(value)


def _monochromator(t: Table) -> tuple[str, ...]:
    value = t.data.get("monochromator", [])
    value = [value] if isinstance(value, str) else value
    if isinstance(value, list):
        value = [re.sub(r"[()\[\]]", " ", m) if isinstance(m, str) else m for m in value]  # Ge(220)
    expected = 'a list of reflections, one a crystal, such as ["Si 111", "Ge 111"] or ["4x Ge 220"]'
    if not isinstance(value, list) or not all(isinstance(m, str) and len(m.split()) >= 2 for m in value):
        t.fail("monochromator", expected)
    return tuple(" ".join(m.split()) for m in value)


def _susceptibility(reflection: Table) -> SusceptibilitySettings:
    t = reflection.table("susceptibility", ("chi0", "chih", "chihbar", "chih_pi", "chihbar_pi"))
    t.require("chi0", "two numbers [real, imaginary]")
    t.require("chih", "two numbers [real, imaginary]")
    values = {key: t.complex(key) for key in t.keys}
    chi0, chih = values["chi0"], values["chih"]
    assert chi0 is not None
    assert chih is not None
    if chi0.real > 0 or chi0.imag < 0:
        t.fail("chi0", "a real part <= 0 and an imaginary part >= 0 (fields exp[i(kr - wt)])")
    for key, value in values.items():
        if value is not None and abs(value) > 1e-2:
            t.fail(key, "a modulus below 0.01, as X-ray susceptibilities have")
    if chih == 0:
        t.fail("chih", "something else than zero")
    return SusceptibilitySettings(chi0, chih, values["chihbar"], values["chih_pi"], values["chihbar_pi"])


def read_axis(top: Table) -> AxisSettings:
    t = top.table("axis", ("column", "kind", "unit", "scan"))
    signs = {"°": "deg", "′": "arcmin", "″": "arcsec"}
    return AxisSettings(
        column=t.column("column"),
        kind=t.choice("kind", AXIS_KINDS, None),
        unit=signs.get(str(t.data.get("unit"))) or t.choice("unit", ANGLE_UNITS, None),
        scan=t.integer("scan", 0, 100_000),
    )


def read_intensity(top: Table) -> IntensitySettings:
    keys = ("column", "kind", "sigma_column", "relative_error", "attenuation_column", "counting_time_column")
    t = top.table("intensity", keys)
    settings = IntensitySettings(
        column=t.column("column"),
        kind=t.choice("kind", DATA_KINDS, None),
        sigma_column=t.column("sigma_column"),
        relative_error=t.number("relative_error", 0.0, 1.0, "", None, open_low=True),
        attenuation_column=t.column("attenuation_column"),
        counting_time_column=t.column("counting_time_column"),
    )
    for key in ("sigma_column", "relative_error"):
        if settings.kind == "counts" and key in t:
            raise ExperimentError(
                f'{t.place(key)}: counts carry their Poisson error; leave {key} out or set kind = "intensity"'
            )
    if "sigma_column" in t and "relative_error" in t:
        raise ExperimentError(f"{t.place('relative_error')}: give sigma_column or relative_error, not both")
    return settings


def read_sample(top: Table, folder: Path) -> SampleSettings:
    t = top.table("sample", ("layers",))
    layers = t.data.get("layers", [])
    if not isinstance(layers, list):
        t.fail("layers", "a list of tables { crystal = ..., thickness = ... }, from the substrate up")
    read = tuple(_layer(top, layer, number, folder) for number, layer in enumerate(layers, start=1))
    names = [layer.name for layer in read]
    for name in names:
        if names.count(name) > 1:
            raise ExperimentError(f"{t.place('layers')}: two layers are named {name!r}; names must differ")
    return SampleSettings(read)


def _layer(top: Table, data: Any, number: int, folder: Path) -> LayerSettings:
    section = f"sample.layers #{number}"
    keys = ("name", "crystal", "thickness", "x", "strain", "relaxation", "roughness", "density", "damage")
    t = Table(data, top.source, section, keys)
    name = t.text("name", f"layer{number}")
    if not name.isidentifier() or name == "substrate":
        t.fail("name", "a name of letters, digits and _ (it begins parameter names), other than 'substrate'")
    crystal = _crystal(t, folder)
    t.require("thickness", "a number in Å")
    thickness = t.number("thickness", 0.0, 1e7, "Å", None, open_low=True)
    assert thickness is not None
    if "strain" in t and "relaxation" in t:
        raise ExperimentError(f"{t.place('relaxation')}: give strain or relaxation, not both")
    return LayerSettings(
        name=name,
        crystal=crystal,
        thickness=thickness,
        x=t.number("x", 0.0, 1.0, "", None),
        strain=t.number("strain", -0.1, 0.1, "", None),
        relaxation=t.number("relaxation", 0.0, 1.0, "", None),
        roughness=t.number("roughness", 0.0, 1e5, "Å", None),
        density=t.number("density", 0.0, 2.0, "times the nominal one", None, open_low=True),
        damage=t.number("damage", 0.0, 20.0, "", None),
    )


def read_model(top: Table, films: bool) -> ModelSettings:
    keys = ("profile", "damage", "diffuse", "resolution", "background", "strain_knots", "damage_knots", "tolerance")
    t = top.table("model", keys)
    # What is not written follows from what is: films are seldom implanted, without a profile there is nothing to tie
    # damage to, and without damage nothing to scatter diffusely.
    profile = t.choice("profile", PROFILES, "none" if films else "implanted")
    damage = t.choice("damage", DAMAGES, "none" if profile == "none" else "tied")
    diffuse = t.choice("diffuse", DIFFUSES, "none" if damage == "none" else "correlation")
    if damage == "tied" and profile == "none":
        t.fail("damage", 'none or bspline with profile = "none", which has no strain to tie damage to')
    for key, chosen in (("strain_knots", profile), ("damage_knots", damage)):
        if key in t and chosen != "bspline":
            which = "profile" if key == "strain_knots" else "damage"
            raise ExperimentError(f'{t.place(key)}: only with {which} = "bspline", but {which} is {chosen!r}')
    return ModelSettings(
        profile=profile,
        damage=damage,
        diffuse=diffuse,
        resolution=t.choice("resolution", RESOLUTIONS, "gaussian"),
        background=t.choice("background", BACKGROUNDS, "constant"),
        strain_knots=t.integer("strain_knots", 4, 100),
        damage_knots=t.integer("damage_knots", 4, 100),
        tolerance=t.number("tolerance", 0.0, 0.1, "", None, open_low=True),
    )


def read_fit(top: Table) -> FitSettings:
    t = top.table("fit", ("method", "mask", "max_nfev"))
    ranges = t.data.get("mask", [])
    expected = "a list of ranges [[low, high], ...] in the unit of the axis, low < high"
    if not isinstance(ranges, list):
        t.fail("mask", expected)
    for pair in ranges:
        is_pair = isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair))
        if not is_pair or pair[0] >= pair[1]:
            raise ExperimentError(f"{t.place('mask')}: expected {expected}, got {shown(pair)}")
    return FitSettings(
        method=t.choice("method", METHODS, None),
        mask=tuple((float(low), float(high)) for low, high in ranges),
        max_nfev=t.integer("max_nfev", 1, 10_000_000),
    )
