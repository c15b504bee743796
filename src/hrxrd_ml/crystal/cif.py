"""Crystal structures from CIF files, read with gemmi (imported on first use)."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrxrd_ml.crystal.lattice import Site, equivalent_positions, reciprocal_metric
from hrxrd_ml.errors import CrystalError, InputFileError, in_short
from hrxrd_ml.reading import read_whole

if TYPE_CHECKING:
    import gemmi

__all__ = ["check_overlap", "read_cif"]

MAX_FILE_SIZE = 5_000_000
"""Largest CIF file read [bytes]."""

MOST_SITES = 2000
"""Sites of the asymmetric unit; crystals that diffract as those here have some dozens."""

_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
_U_TO_B = 8.0 * math.pi**2


def read_cif(path: str | PathLike[str], block: str | None = None) -> dict[str, Any]:
    """Crystal structure of a CIF file.

    Symmetry is taken from the list of operations if there is one, else from the Hall symbol, else from the
    Hermann–Mauguin symbol, else from the number. Displacements come from U_iso, B_iso or the isotropic
    equivalent of the anisotropic ones.

    Parameters
    ----------
    path : path
        The file.
    block : str, optional
        Name of the data block, needed only if several hold a structure.

    Returns
    -------
    dict
        Arguments of `Crystal`, which is named after the formula of the file or its block.

    Raises
    ------
    InputFileError
        The file cannot be read, or lacks a cell, a symmetry or sites, or holds an unknown element or
        impossible number.

    Warns
    -----
    UserWarning
        When sites have no displacement parameters (B = 0 is used).
    """
    import gemmi

    where = Path(fspath(path))
    try:
        raw = read_whole(where, MAX_FILE_SIZE)
    except OSError as error:
        raise InputFileError(f"{where}: cannot read the CIF file: {error.strerror or error}") from error
    except InputFileError as error:
        raise InputFileError(f"{where}: not a CIF file: {error}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # older files; never fails, and the structure itself is ASCII
    try:
        document = gemmi.cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        reason = str(error).removeprefix("string:")
        raise InputFileError(f"{where}: not a valid CIF file: line {reason}") from error
    chosen = _choose_block(document, block, where)
    cell = _cell(chosen, where)
    sites = _sites(chosen, cell, where)
    spacegroup, sites = _symmetry(chosen, sites, where)
    if not gemmi.UnitCell(*cell).is_compatible_with_spacegroup(gemmi.SpaceGroup(spacegroup), 0.005):
        raise InputFileError(
            f"{where}: the unit cell a, b, c = {cell[0]:g}, {cell[1]:g}, {cell[2]:g} Å, alpha, beta, gamma = "
            f"{cell[3]:g}, {cell[4]:g}, {cell[5]:g} deg does not fit the space group {spacegroup}"
        )
    structure = {"name": _name(chosen, where), "spacegroup": spacegroup, "sites": sites, "source": str(where)}
    return structure | dict(zip(("a", "b", "c", "alpha", "beta", "gamma"), cell, strict=True))


def _number(text: str | None) -> float | None:
    """A CIF number without its standard uncertainty; None for absent, '?' and '.'."""
    from gemmi import cif

    if text is None or cif.is_null(text):
        return None
    value = float(cif.as_number(text))
    return value if math.isfinite(value) else math.nan


def _choose_block(document: gemmi.cif.Document, name: str | None, where: Path) -> gemmi.cif.Block:
    blocks = list(document)
    names = ", ".join(repr(b.name) for b in blocks)
    if name is not None:
        for candidate in blocks:
            if candidate.name.casefold() == name.removeprefix("data_").casefold():
                return candidate
        raise InputFileError(f"{where}: expected a data block {name!r}, the file holds {names or 'none'}")
    holding = [b for b in blocks if b.find_value("_cell_length_a") and b.find_loop("_atom_site_fract_x")]
    if len(holding) > 1:
        choices = ", ".join(repr(b.name) for b in holding)
        raise InputFileError(f"{where}: several data blocks hold a structure ({choices}); choose one with block=")
    if holding:
        return holding[0]
    if not blocks:
        raise InputFileError(f"{where}: the CIF file holds no data block")
    # Which of cell and sites is missing is said by the reader of each.
    return max(
        blocks,
        key=lambda b: (b.find_value("_cell_length_a") is not None, bool(b.find_loop("_atom_site_fract_x"))),
    )


def _cell(block: gemmi.cif.Block, where: Path) -> tuple[float, float, float, float, float, float]:
    values = [_number(block.find_value(f"_cell_{key}")) for key in _CELL]
    missing = [f"_cell_{key}" for key, v in zip(_CELL, values, strict=True) if v is None or not v > 0.0]
    if missing:
        raise InputFileError(
            f"{where}: the CIF file (block {block.name!r}) has no valid unit cell: {', '.join(missing)}"
        )
    a, b, c, alpha, beta, gamma = (float(v) for v in values if v is not None)
    try:
        reciprocal_metric(a, b, c, alpha, beta, gamma)
    except CrystalError as error:
        raise InputFileError(f"{where}: {error}") from error
    return a, b, c, alpha, beta, gamma


def _sites(block: gemmi.cif.Block, cell: tuple[float, ...], where: Path) -> tuple[Site, ...]:
    optional = ("label", "type_symbol", "occupancy", "U_iso_or_equiv", "B_iso_or_equiv", "calc_flag")
    tags = ("fract_x", "fract_y", "fract_z", *optional)
    table = block.find("_atom_site_", [f"?{t}" if t in optional else t for t in tags])
    if len(table) > MOST_SITES:
        raise InputFileError(
            f"{where}: the CIF file (block {in_short(block.name, 40)!r}) lists {len(table)} sites, expected at most "
            f"{MOST_SITES}: give the asymmetric unit of a crystal"
        )
    anisotropic = _anisotropic(block, cell)
    sites, without = [], []
    for row in table:
        fields: dict[str, Any] = {t: row[i] if row.has(i) else None for i, t in enumerate(tags)}
        label = fields["label"] or fields["type_symbol"] or "?"
        if fields["calc_flag"] == "dum":
            continue
        element = _element(fields["type_symbol"], fields["label"])
        if element is None:
            raise InputFileError(
                f"{where}: site {in_short(label, 40)!r}: expected a chemical element, got "
                f"{in_short(fields['type_symbol'] or label, 40)!r}"
            )
        position = tuple(_number(fields[f"fract_{axis}"]) for axis in "xyz")
        if any(p is None or math.isnan(p) for p in position):
            given = tuple(fields[f"fract_{axis}"] for axis in "xyz")
            raise InputFileError(f"{where}: site {label!r}: expected three fractional coordinates, got {given}")
        occupancy = _number(fields["occupancy"])
        occupancy = 1.0 if occupancy is None else occupancy
        if not 0.0 < occupancy <= 1.001:
            raise InputFileError(f"{where}: site {label!r}: expected an occupancy in 0 … 1, got {fields['occupancy']}")
        u_iso, b_iso = _number(fields["U_iso_or_equiv"]), _number(fields["B_iso_or_equiv"])
        b = u_iso * _U_TO_B if u_iso is not None else b_iso if b_iso is not None else anisotropic.get(label)
        if b is None:
            without.append(label)
            b = 0.0
        if not -0.2 < b < 20.0:
            raise InputFileError(
                f"{where}: site {label!r}: expected a Debye-Waller B of 0 to 20 Å^2, "
                f"got {b:g} (from U or B of the file)"
            )
        sites.append(Site(element, position, min(occupancy, 1.0), max(b, 0.0)))  # type: ignore[arg-type]
    if not sites:
        raise InputFileError(
            f"{where}: the CIF file (block {block.name!r}) holds no atomic sites: "
            f"expected a loop with _atom_site_fract_x, _y, _z"
        )
    if without:
        warnings.warn(
            f"{where}: no displacement parameters for {', '.join(without)}: B = 0 is used, "
            f"which overestimates the reflection",
            stacklevel=4,
        )
    return tuple(sites)


def _element(symbol: str | None, label: str | None) -> str | None:
    """Chemical symbol out of 'Fe3+' or, lacking a type symbol, out of a label such as 'Fe2A' or 'OW1'."""
    import gemmi

    letters = re.match(r"[A-Za-z]+", symbol or label or "")
    if letters is None:
        return None
    word = letters.group()
    for candidate in (word,) if symbol and len(word) <= 2 else (word[:2], word[:1]):
        element = gemmi.Element(candidate)
        if element.atomic_number > 0 and candidate.casefold() in (element.name.casefold(), "d"):
            return "H" if element.name == "D" else str(element.name)
    return None


def _anisotropic(block: gemmi.cif.Block, cell: tuple[float, ...]) -> dict[str, float]:
    """Isotropic equivalents B_eq [Å²] by label (Fischer & Tillmanns, Acta Cryst. C44, 775, 1988)."""
    import gemmi

    axes = gemmi.UnitCell(*cell)
    found: dict[str, float] = {}
    for kind, factor in (("B", 1.0), ("U", _U_TO_B)):
        names = (f"{kind}_{pair}" for pair in ("11", "22", "33", "12", "13", "23"))
        for row in block.find("_atom_site_aniso_", ["label", *names]):
            tensor = gemmi.SMat33d(*(gemmi.cif.as_number(row[n]) for n in range(1, 7)))
            equivalent = axes.calculate_u_eq(tensor)
            if math.isfinite(equivalent):
                found[row.str(0)] = factor * equivalent
    return found


def _symmetry(block: gemmi.cif.Block, sites: tuple[Site, ...], where: Path) -> tuple[str, tuple[Site, ...]]:
    """Space-group symbol and sites; a setting without a symbol is expanded to P 1."""
    import gemmi

    structure = gemmi.make_small_structure_from_block(block)
    structure.spacegroup_hm = name = structure.spacegroup_hm or _value(block, "_space_group_name_H-M_full") or ""
    structure.determine_and_set_spacegroup("S.H2N")
    group = structure.spacegroup
    # The operations may be those of another setting than the name's, as long as the group is the same. That a symbol is
    # not in gemmi's table matters only where nothing else tells the group.
    named = gemmi.find_spacegroup_by_name(name)
    known = ["not found in the table"]
    if group is not None and named is not None and named.number == group.number:
        known.append("H-M symbol")
    faults = [line for line in structure.check_spacegroup().splitlines() if not any(text in line for text in known)]
    if faults and (structure.symops or group is None):
        raise InputFileError(
            f"{where}: the symmetry operations and the space group that the file names do not make up one group: "
            f"{'; '.join(faults)}; correct one of them"
        )
    if group is not None:
        if not structure.symops and group.ext in ("1", "2") and ":" not in name and not structure.spacegroup_hall:
            raise InputFileError(
                f"{where}: space group {group.hm} has two origin choices and the file does not say which: "
                f"add the symmetry operations, or write the symbol as '{group.hm}:1' or '{group.hm}:2'"
            )
        return group.xhm(), sites
    if structure.symops:
        operations = gemmi.GroupOps([gemmi.Op(text) for text in structure.symops])
        return "P 1", tuple(replace(s, position=p) for s in sites for p in equivalent_positions(operations, s.position))
    if name:
        raise InputFileError(
            f"{where}: unknown space group {name!r}: expected a Hermann-Mauguin symbol such as 'F m -3 m'"
        )
    raise InputFileError(
        f"{where}: the CIF file (block {block.name!r}) names no space group: "
        f"expected _space_group_symop_operation_xyz or _space_group_name_H-M_alt"
    )


def _value(block: gemmi.cif.Block, *tags: str) -> str | None:
    """Text of the first of the tags that has a value; None for absent, '?' and '.'."""
    from gemmi import cif

    for tag in tags:
        text = block.find_value(tag)
        if text is not None and not cif.is_null(text):
            return str(cif.as_string(text)).strip()
    return None


def _name(block: gemmi.cif.Block, where: Path) -> str:
    formula = _value(block, "_chemical_formula_structural", "_chemical_formula_sum")
    return in_short(formula.replace(" ", "") if formula else block.name or where.stem)


def check_overlap(atoms: Iterable[tuple[Any, ...]], where: str) -> None:
    """Occupancies of atoms that share a place must not add up to more than one atom."""
    totals: dict[tuple[float, ...], float] = {}
    for _, occupancy, _, *position in atoms:
        key = tuple(round(p, 3) % 1.0 for p in position)
        totals[key] = totals.get(key, 0.0) + occupancy
    place, largest = max(totals.items(), key=lambda item: item[1])
    if largest > 1.01:
        raise InputFileError(f"{where}: the occupancies at {place} add up to {largest:.3g}: expected at most 1")
