"""Space group of a CIF block: operations first, then the Hall, Hermann–Mauguin and numbered symbols."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ._lattice import Site
from .errors import InputFileError

if TYPE_CHECKING:
    import gemmi

__all__ = ["cif_symmetry", "cif_value"]


def cif_value(block: gemmi.cif.Block, *tags: str) -> str | None:
    """Text of the first of the tags that has a value; None for absent, '?' and '.'."""
    from gemmi import cif

    for tag in tags:
        text = block.find_value(tag)
        if text is not None and text not in ("?", "."):
            return cif.as_string(text).strip()
    return None


def cif_symmetry(block: gemmi.cif.Block, sites: tuple[Site, ...], where: Path) -> tuple[str, tuple[Site, ...]]:
    """Space-group symbol and sites; a setting without a symbol is expanded to P 1."""
    import gemmi

    named = _named_group(block, where)
    for tag in ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz"):
        texts = [gemmi.cif.as_string(t) for t in block.find_values(tag)]
        if not texts:
            continue
        try:
            operations = gemmi.GroupOps([gemmi.Op(t) for t in texts])
        except (ValueError, RuntimeError) as error:
            raise InputFileError(f"{where}: unreadable symmetry operations: {error}") from error
        if named is not None and len(named.operations().sym_ops) != len(operations.sym_ops):
            raise InputFileError(
                f"{where}: the {len(texts)} symmetry operations listed do not make up the space group "
                f"{named.xhm()} that the file names; correct one of them"
            )
        group = gemmi.find_spacegroup_by_ops(operations)
        if group is not None:
            return group.xhm(), sites
        expanded = tuple(
            Site(s.element, (x, y, z), s.occupancy, s.b_iso) for s in sites for x, y, z in _images(operations, s)
        )
        return "P 1", expanded
    if named is None:
        raise InputFileError(
            f"{where}: the CIF file (block {block.name!r}) names no space group: "
            f"expected _space_group_symop_operation_xyz or _space_group_name_H-M_alt"
        )
    text = cif_value(block, "_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M") or ""
    hall = cif_value(block, "_space_group_name_Hall", "_symmetry_space_group_name_Hall")
    if named.ext in ("1", "2") and ":" not in text and hall is None:
        raise InputFileError(
            f"{where}: space group {named.hm} has two origin choices and the file does not say which: "
            f"add the symmetry operations, or write the symbol as '{named.hm}:1' or '{named.hm}:2'"
        )
    return named.xhm(), sites


def _named_group(block: gemmi.cif.Block, where: Path) -> gemmi.SpaceGroup | None:
    import gemmi

    hall = cif_value(block, "_space_group_name_Hall", "_symmetry_space_group_name_Hall")
    if hall is not None:
        try:
            group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(hall))
        except (ValueError, RuntimeError):
            group = None
        if group is not None:
            return group
    text = cif_value(block, "_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_space_group_name_H-M_full")
    if text is not None:
        group = gemmi.find_spacegroup_by_name(text)
        if group is not None:
            return group
    number = cif_value(block, "_space_group_IT_number", "_symmetry_Int_Tables_number")
    if number is not None and re.fullmatch(r"[0-9]{1,3}", number) and 1 <= int(number) <= 230:
        return gemmi.find_spacegroup_by_number(int(number))
    if (
        text is not None
        and not block.find_values("_symmetry_equiv_pos_as_xyz")
        and not block.find_values("_space_group_symop_operation_xyz")
    ):
        raise InputFileError(
            f"{where}: unknown space group {text!r}: expected a Hermann-Mauguin symbol such as 'F m -3 m'"
        )
    return None


def _images(operations: gemmi.GroupOps, site: Site) -> list[tuple[float, float, float]]:
    images: list[tuple[float, float, float]] = []
    for operation in operations:
        x, y, z = (float(v) % 1.0 for v in operation.apply_to_xyz(list(site.position)))
        if not any(
            all(abs((p - q + 0.5) % 1.0 - 0.5) < 2e-3 for p, q in zip((x, y, z), other, strict=True))
            for other in images
        ):
            images.append((x, y, z))
    return images
