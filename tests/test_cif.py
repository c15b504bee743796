"""Crystal structures from CIF files: what is read, and what is refused."""

import math
import pickle
import warnings
from pathlib import Path

import pytest

from hrxrd_ml import Crystal, HrxrdError
from hrxrd_ml.errors import CrystalError, InputFileError

CU = 1.5405929


CELL = """_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90.0(0)
_cell_angle_gamma 90
"""

MGO = (
    "data_mgo\n_chemical_formula_sum 'Mg O'\n"
    + CELL.format(a="4.2117(3)")
    + """_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_B_iso_or_equiv
Mg1 Mg2+ 0 0 0 1 0.31
O1 O2- 0.5 0.5 0.5 1.0 0.34(2)
"""
)


def _cif(tmp_path: Path, text: str, **kwargs) -> Crystal:
    path = tmp_path / "crystal.cif"
    path.write_text(text)
    return Crystal.from_cif(path, **kwargs)


def test_cif_gives_the_built_in_crystal(tmp_path: Path) -> None:
    crystal = _cif(tmp_path, MGO)
    assert crystal.name == "MgO"
    assert crystal.susceptibility((2, 0, 0), CU) == Crystal.named("MgO").susceptibility((2, 0, 0), CU)
    assert Crystal.resolve(str(tmp_path / "crystal.cif")) == crystal
    pickle.loads(pickle.dumps(crystal)).atoms()


def test_cif_displacements(tmp_path: Path) -> None:
    """U → B = 8π²U; anisotropic to its isotropic equivalent; the three spellings agree."""
    u = 0.31 / (8 * math.pi**2)
    with_u = MGO.replace("B_iso_or_equiv", "U_iso_or_equiv").replace("1 0.31", f"1 {u:.10f}").replace("0.34(2)", "?")
    anisotropic = (
        with_u
        + f"""loop_
_atom_site_aniso_label
_atom_site_aniso_U_11
_atom_site_aniso_U_22
_atom_site_aniso_U_33
_atom_site_aniso_U_12
_atom_site_aniso_U_13
_atom_site_aniso_U_23
O1 {u:.8f} {2 * u:.8f} {3 * u:.8f} 0.001 0 0
"""
    )
    magnesium, oxygen = _cif(tmp_path, anisotropic).sites
    assert magnesium.b_iso == pytest.approx(0.31, rel=1e-6)
    assert oxygen.b_iso == pytest.approx(0.62, rel=1e-5)
    with pytest.warns(UserWarning, match="O1"):
        assert _cif(tmp_path, with_u).sites[1].b_iso == 0.0


def test_cif_hexagonal_isotropic_equivalent(tmp_path: Path) -> None:
    """An isotropic atom in a hexagonal cell has U12 = U11/2: U_eq must come out as U11."""
    text = """data_x
_cell_length_a 3.1884
_cell_length_b 3.1884
_cell_length_c 5.18524
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_space_group_name_H-M_alt 'P 63 m c'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Ga1 0.3333 0.6667 0
N1 0.3333 0.6667 0.377
loop_
_atom_site_aniso_label
_atom_site_aniso_U_11
_atom_site_aniso_U_22
_atom_site_aniso_U_33
_atom_site_aniso_U_12
_atom_site_aniso_U_13
_atom_site_aniso_U_23
Ga1 0.005 0.005 0.005 0.0025 0 0
N1 0.005 0.005 0.005 0.0025 0 0
"""
    crystal = _cif(tmp_path, text)
    assert [s.b_iso for s in crystal.sites] == pytest.approx([8 * math.pi**2 * 0.005] * 2)
    assert [s.element for s in crystal.sites] == ["Ga", "N"]
    # 1/3 printed as 0.3333 is still one special position.
    assert len(crystal.atoms()) == 4


def test_cif_symmetry_operations(tmp_path: Path) -> None:
    """Operations without a symbol; and a setting that has no symbol at all."""
    import gemmi

    symbol = "_symmetry_space_group_name_H-M 'F m -3 m'\n"
    triplets = [op.triplet() for op in gemmi.SpaceGroup("F m -3 m").operations()]
    loop = "loop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(f"'{t}'\n" for t in triplets)
    listed = _cif(tmp_path, MGO.replace(symbol, loop))
    assert listed.susceptibility((2, 0, 0), CU) == Crystal.named("MgO").susceptibility((2, 0, 0), CU)
    odd = "loop_\n_space_group_symop_operation_xyz\n'x,y,z'\n'-x+1/8,-y,-z'\n"
    expanded = _cif(tmp_path, MGO.replace(symbol, odd))
    assert expanded.spacegroup == "P 1"
    assert len(expanded.atoms()) == 4


def test_cif_origin_choice(tmp_path: Path) -> None:
    """F d -3 m without operations could be either origin; with the choice written out it is silicon."""
    text = (
        "data_si\n"
        + CELL.format(a=5.43102)
        + "_space_group_name_H-M_alt 'F d -3 m{}'\nloop_\n_atom_site_label\n_atom_site_fract_x\n"
        + "_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_B_iso_or_equiv\nSi 0 0 0 0.4613\n"
    )
    with pytest.raises(InputFileError, match="origin"):
        _cif(tmp_path, text.format(""))
    crystal = _cif(tmp_path, text.format(":1"))
    assert crystal.susceptibility((1, 1, 1), CU) == Crystal.named("Si").susceptibility((1, 1, 1), CU)


def test_cif_partial_occupancy(tmp_path: Path) -> None:
    mixed = MGO.replace("Mg1 Mg2+ 0 0 0 1 0.31", "Mg1 Mg2+ 0 0 0 0.7 0.31\nFe1 Fe2+ 0 0 0 0.3 0.31")
    crystal = _cif(tmp_path, mixed)
    assert [s.occupancy for s in crystal.sites] == [0.7, 0.3, 1.0]
    with pytest.raises(InputFileError, match=r"add up to 1\.2"):
        _cif(tmp_path, mixed.replace("0.7 0.31", "0.9 0.31"))


def test_cif_data_blocks(tmp_path: Path) -> None:
    assert _cif(tmp_path, "data_global\n_journal_year 1999\n" + MGO).name == "MgO"
    second = MGO.replace("data_mgo", "data_other").replace("4.2117", "4.3")
    with pytest.raises(InputFileError, match="'mgo', 'other'"):
        _cif(tmp_path, MGO + second)
    assert _cif(tmp_path, MGO + second, block="other").a == 4.3
    with pytest.raises(InputFileError, match="the file holds 'mgo'"):
        _cif(tmp_path, MGO, block="nothing")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("data_mgo", "hello", "not a valid CIF"),
        ("_cell_length_b 4.2117(3)\n", "", "_cell_length_b"),
        ("_cell_length_b 4.2117(3)", "_cell_length_b ?", "_cell_length_b"),
        ("_cell_angle_gamma 90", "_cell_angle_gamma 250", "span a cell"),
        ("_cell_length_b 4.2117(3)", "_cell_length_b 4.3", "does not fit the space group"),
        ("_symmetry_space_group_name_H-M 'F m -3 m'\n", "", "names no space group"),
        ("'F m -3 m'", "'F m 9 m'", "F m 9 m"),
        ("Mg1 Mg2+", "Xx1 Xx", "Xx"),
        ("0.5 0.5 0.5", "0.5 ? 0.5", "O1.*fractional"),
        ("0.5 0.5 0.5", "0.5 abc 0.5", "O1.*fractional"),
        ("0.5 0.5 0.5 1.0", "0.5 0.5 0.5 1.7", "occupancy"),
        ("1 0.31", "1 77", "Debye-Waller"),
        ("_atom_site_", "_atom_sight_", "no atomic sites"),
        ("4.2117(3)", "0.42117", "did you mean 4.2117"),
    ],
)
def test_bad_cifs(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MGO
    with pytest.raises(InputFileError, match=message) as caught:
        _cif(tmp_path, MGO.replace(old, new))
    assert "crystal.cif" in str(caught.value)
    assert isinstance(caught.value, HrxrdError)


def test_cif_symmetry_must_not_contradict_itself(tmp_path: Path) -> None:
    text = MGO.replace("loop_\n_atom", "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'-x,-y,-z'\nloop_\n_atom", 1)
    with pytest.raises(InputFileError, match="operations"):
        _cif(tmp_path, text)


def test_cif_in_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "old.cif"
    path.write_bytes(MGO.replace("'Mg O'", "'Mg O, Müller'").encode("latin-1"))
    assert Crystal.from_cif(path).name == "MgO,Müller"


def test_missing_cif(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="cannot read"):
        Crystal.from_cif(tmp_path / "nothing.cif")
    with pytest.raises(InputFileError):
        Crystal.from_cif(tmp_path)
    with pytest.raises(CrystalError, match="expected a Crystal"):
        Crystal.resolve(3)  # type: ignore[arg-type]


def test_oddities_do_not_warn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _cif(tmp_path, MGO)


GROUP = "_symmetry_space_group_name_H-M 'F m -3 m'\n"


def _operations(symbol: str) -> str:
    """The loop of symmetry operations of a space group."""
    import gemmi

    triplets = [operation.triplet() for operation in gemmi.SpaceGroup(symbol).operations()]
    return "loop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(f"'{t}'\n" for t in triplets)


def test_operations_must_make_up_a_group_that_the_file_does_not_deny(tmp_path: Path) -> None:
    """The number of another group, half of the operations, and those of a primitive lattice are refused."""
    listed = _operations("F m -3 m")
    assert _cif(tmp_path, MGO.replace(GROUP, f"_symmetry_Int_Tables_number 225\n{listed}")).spacegroup == "F m -3 m"
    half = "".join(listed.splitlines(keepends=True)[:-40])
    for wrong in (f"_symmetry_Int_Tables_number 221\n{listed}", GROUP + half, GROUP + _operations("P m -3 m"), half):
        with pytest.raises(InputFileError, match="operations"):
            _cif(tmp_path, MGO.replace(GROUP, wrong))


def test_operations_may_be_of_another_setting_than_the_name(tmp_path: Path) -> None:
    """A file that names F d -3 m without the origin, lists the operations of one origin, and puts the atoms there."""
    crystal = _cif(
        tmp_path, MGO.replace(GROUP, "_symmetry_space_group_name_H-M 'F d -3 m'\n" + _operations("F d -3 m:1"))
    )
    assert crystal.spacegroup == "F d -3 m:1"
    misspelt = "_symmetry_space_group_name_H-M 'F m3m (Nr. 225)'\n" + _operations("F m -3 m")
    assert _cif(tmp_path, MGO.replace(GROUP, misspelt)).spacegroup == "F m -3 m"


@pytest.mark.parametrize(("angle", "gamma", "setting"), [(90, 120, "R -3 m:H"), (70, 70, "R -3 m:R")])
def test_axes_tell_the_setting_of_a_rhombohedral_group(tmp_path: Path, angle: int, gamma: int, setting: str) -> None:
    text = MGO.replace("'F m -3 m'", "'R -3 m'").replace("alpha 90", f"alpha {angle}")
    text = text.replace("beta 90.0(0)", f"beta {angle}").replace("gamma 90", f"gamma {gamma}")
    assert _cif(tmp_path, text).spacegroup == setting


def test_only_the_full_name_is_given(tmp_path: Path) -> None:
    assert _cif(tmp_path, MGO.replace(GROUP, "_space_group_name_H-M_full 'F m -3 m'\n")).spacegroup == "F m -3 m"
