"""Wrong input that users really give, and the words that the error must hold.

Each case is a folder with a curve and an experiment file, both good unless the case says otherwise, and a
command line to run there. Readers are tested with the cases of their stage, the command line with all:
exit code 2, one line on stderr, nothing written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp
from pathlib import Path

import pytest

CURVE = "offset,counts\n" + "".join(
    f"{x},{round(30 + 5e4 * exp(-((x / 40) ** 2)) + 900 * exp(-(((x + 300) / 60) ** 2)))}\n"
    for x in range(-600, 201, 10)
)
EXPERIMENT = """\
[reflection]
crystal = "GGG"
hkl = [4, 4, 4]
wavelength = 1.5405
[axis]
kind = "offset"
unit = "arcsec"
[intensity]
kind = "counts"
"""
FIXED = """
[model]
resolution = "pseudo_voigt"
[parameters]
diffuse_mix = { value = 0.5, vary = false }
substrate_diffuse_mix = { value = 1.0, vary = false }
"""
CIF = """\
data_x
_cell_length_a 5.43
_cell_length_b 5.43
_cell_length_c 5.43
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'F d -3 m :1'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_B_iso_or_equiv
Si1 0 0 0 1 0.5
"""
XRDML = """\
<xrdMeasurements xmlns="http://www.xrdml.com/XRDMeasurement/2.2"><xrdMeasurement><scan scanAxis="Omega">
<dataPoints><positions axis="Omega" unit="deg"><startPosition>25</startPosition><endPosition>26</endPosition>
</positions><commonCountingTime unit="seconds">1</commonCountingTime><counts unit="counts">{counts}</counts>
</dataPoints></scan></xrdMeasurement></xrdMeasurements>
"""
FIT = ("fit", "curve.csv", "experiment.toml", "--out", "out")


@dataclass(frozen=True)
class BadInput:
    """One case.

    Parameters
    ----------
    name
        What is wrong.
    message
        Words that the error message must hold.
    stage
        What finds it: ``"curve"`` (read_curve), ``"experiment"`` (read_experiment), ``"crystal"`` (building
        the reflection), ``"model"`` (building or fitting the model), ``"cli"`` (the command line itself).
    files
        Files that differ from the good ones; None: the file is absent.
    argv
        The command line, run in the folder of the files.
    """

    name: str
    message: str
    stage: str
    files: Mapping[str, str | bytes | None] = field(default_factory=dict)
    argv: tuple[str, ...] = FIT

    def write(self, folder: Path) -> None:
        """Write the files of the case to a folder."""
        for name, content in {"curve.csv": CURVE, "experiment.toml": EXPERIMENT, **self.files}.items():
            if content is not None:
                data = content.encode() if isinstance(content, str) else content
                (folder / name).write_bytes(data)


def _curve(name: str, content: str | bytes | None, message: str) -> BadInput:
    return BadInput(name, message, "curve", {"curve.csv": content})


def _file(name: str, file: str, content: str | bytes, message: str) -> BadInput:
    return BadInput(name, message, "curve", {file: content}, ("fit", file, "experiment.toml", "--out", "out"))


def _toml(name: str, content: str | bytes | None, message: str, stage: str = "experiment") -> BadInput:
    return BadInput(name, message, stage, {"experiment.toml": content})


def _changed(name: str, old: str, new: str, message: str, stage: str = "experiment") -> BadInput:
    assert old in EXPERIMENT, name
    return _toml(name, EXPERIMENT.replace(old, new), message, stage)


def _added(name: str, text: str, message: str, stage: str = "experiment") -> BadInput:
    return _toml(name, EXPERIMENT + text, message, stage)


def _cif(name: str, content: str, message: str) -> BadInput:
    files = {"experiment.toml": EXPERIMENT.replace('"GGG"', '"x.cif"'), "x.cif": content}
    return BadInput(name, message, "crystal", files)


def _with_line(old: str, new: str) -> str:
    assert old in CURVE, old
    return CURVE.replace(old, new)


_FIRST = "-600,30\n"
_RATES = "".join(f"{x},{0.5 + x % 7}\n" for x in range(40))

CASES: tuple[BadInput, ...] = (
    # --- the file itself
    _curve("missing curve", None, "no such file"),
    _curve("empty curve", "", "is empty"),
    _curve("blank curve", "\n \n\n", "is empty"),
    _curve("only comments", "# a scan\n# of nothing\n", "only comments"),
    _curve("only a heading", "omega,counts\n", "no row begins with numbers"),
    _curve("prose", "Dear all,\nplease find the data attached.\n", "no row begins with numbers"),
    _curve("binary junk", bytes(range(256)) * 20, "a binary file"),
    BadInput("folder as curve", "this is a folder", "curve", argv=("fit", ".", "experiment.toml", "--out", "out")),
    BadInput(
        "experiment as curve",
        "this is an experiment file",
        "curve",
        argv=("fit", "experiment.toml", "experiment.toml", "--out", "out"),
    ),
    _file("bruker raw", "curve.raw", b"RAW1.01\0" + bytes(200), "export the scan as text"),
    _file("zip of something", "curve.zip", b"PK\x03\x04broken", "damaged archive"),
    _file("xrdml cut short", "curve.xrdml", XRDML[:200], "damaged XML"),
    _file("xrdml that is text", "curve.xrdml", "1 2\n3 4\n", "damaged XML"),
    _file("other xml", "curve.xml", "<svg></svg>", "got XML with root svg"),
    _file(
        "xml with entities",
        "curve.xrdml",
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
        "document type or entities",
    ),
    _file("xrdml without counts", "curve.xrdml", "<xrdMeasurements/>", "holds no scan"),
    _file("xrdml of words", "curve.xrdml", XRDML.format(counts="1 2 three 4"), "expected a number, got 'three'"),
    _file("xrdml of five points", "curve.xrdml", XRDML.format(counts="1 2 3 4 5"), "kind 'offset' is not in"),
    _file("ras cut short", "curve.ras", "*RAS_DATA_START\n*RAS_INT_START\n1 2 1\n", "middle of its data"),
    # --- rows and columns
    _curve("too few points", "".join(CURVE.splitlines(True)[:12]), "at least 20"),
    _curve("one column", "\n".join(str(i) for i in range(50)), "only one column"),
    _curve("blank counts", _with_line(_FIRST, "-600,\n"), "line 2"),
    _curve("word in counts", _with_line("\n-500,", "\n-500,overload"), "'overload"),
    _curve("nan in counts", _with_line(_FIRST, "-600,nan\n"), "not a finite number"),
    _curve("infinite angle", _with_line(_FIRST, "inf,30\n"), "not a finite number"),
    _curve("short line", _with_line("\n-500,30\n", "\n-500\n"), "line 12"),
    _curve("decimal signs mixed", CURVE.replace(",", ";").replace("-600;30", "-600,5;30.0"), "are mixed"),
    _changed("column not there", "[axis]\n", '[axis]\ncolumn = "angle"\n', "no angle column 'angle'", "curve"),
    _changed("index too large", "[axis]\n", "[axis]\ncolumn = 7\n", "column 7 does not exist", "curve"),
    _changed("same column twice", "[intensity]\n", "[intensity]\ncolumn = 0\n", "two different columns", "curve"),
    # --- angles
    _curve("angle twice", _with_line("\n-500,", "\n-510,"), "occur more than once (-510)"),
    _curve("rows not in order", _with_line("\n-500,", "\n55,"), "change direction"),
    _changed("offset in wrong unit", '"arcsec"', '"deg"', "is it in arcsec", "curve"),
    _curve("axis in degrees called arcsec", "".join(f"{x / 99},{x}\n" for x in range(40)), "less than 1 arcsec"),
    _changed("offset called omega", '"offset"', '"omega"', "has kind offset", "curve"),
    _curve("depths as angles", "".join(f"{x * 1e4},3\n" for x in range(40)), "within 10 deg"),
    # --- counts
    _curve("negative counts", _with_line(_FIRST, "-600,-3\n"), "negative"),
    _curve("rates called counts", _RATES, 'set kind = "intensity"'),
    _curve("all zero", "".join(f"{x},0\n" for x in range(40)), "all values are zero"),
    _toml(
        "sigma of zero",
        EXPERIMENT.replace('kind = "counts"', 'kind = "intensity"\nsigma_column = "offset"'),
        "sigma is",
        "curve",
    ),
    # --- experiment files
    _toml("missing experiment", None, "no such experiment file"),
    _toml("not TOML", "crystal: GGG\n", "not valid TOML"),
    _toml("not text", b"\xff\xfe\x00junk", "not UTF-8"),
    _toml("empty experiment", "", "reflection is missing"),
    _changed("crystal missing", 'crystal = "GGG"\n', "", "crystal is missing"),
    _changed("hkl missing", "hkl = [4, 4, 4]\n", "", "hkl is missing"),
    _changed("misspelt key", "wavelength =", "wavelenght =", "did you mean 'wavelength'"),
    _changed("misspelt section", "[intensity]", "[intensities]", "did you mean 'intensity'"),
    _changed("hkl of fractions", "[4, 4, 4]", "[4.5, 4, 4]", "three integers"),
    _changed("hkl of zeros", "[4, 4, 4]", "[0, 0, 0]", "three integers"),
    _changed("hkl as text", "[4, 4, 4]", '"GGG 444"', "three integers"),
    _changed("wavelength in nm", "1.5405", "0.15405", "not nm"),
    _changed("energy for wavelength", "1.5405", "8048.0", "number from 0.2 to 10"),
    _changed("unknown unit", '"arcsec"', '"arcseconds"', "did you mean 'arcsec'"),
    _changed("unknown kind", '"offset"', '"delta"', "one of offset, omega, two_theta"),
    _changed("unknown data kind", '"counts"', '"cps"', "one of counts, intensity"),
    _changed("errors for counts", 'kind = "counts"', 'kind = "counts"\nrelative_error = 0.1', "Poisson error"),
    _changed("grazing exit of a symmetric one", "hkl =", 'exit = "low"\nhkl =', "asymmetric"),
    _changed("monochromator as text", "hkl =", 'monochromator = "Si"\nhkl =', "a list of reflections"),
    _changed(
        "unknown setting of crystals", "hkl =", 'monochromator_setting = "paralel"\nhkl =', "did you mean 'parallel'"
    ),
    _changed("miscut in arcsec", "hkl =", "miscut = 720\nhkl =", "from -10 to 10 deg"),
    _changed("CIF missing", '"GGG"', '"nowhere.cif"', "there is no CIF file"),
    _added("unknown profile", '[model]\nprofile = "gauss"\n', "one of implanted, bspline", "model"),
    _added("unknown resolution", '[model]\nresolution = "gausian"\n', "did you mean 'gaussian'", "model"),
    _added("nothing to tie to", '[model]\nprofile = "none"\ndamage = "tied"\n', "no strain to tie damage to"),
    _added("double crystal of none", '[model]\nresolution = "double_crystal"\n', "needs the crystals"),
    _added("knots of nothing", "[model]\nstrain_knots = 12\n", 'only with profile = "bspline"'),
    _added("layer without thickness", '[sample]\nlayers = [{ crystal = "YIG" }]\n', "thickness is missing"),
    _added("negative thickness", '[sample]\nlayers = [{ crystal = "YIG", thickness = -5 }]\n', "above 0"),
    _added("layer as text", '[sample]\nlayers = ["YIG"]\n', "must be a table"),
    _added(
        "strain and relaxation",
        '[sample]\nlayers = [{ crystal = "YIG", thickness = 100, strain = 0.001, relaxation = 1 }]\n',
        "not both",
    ),
    _added("bounds swapped", "[parameters]\nfwhm = { min = 50, max = 10 }\n", "must be below max"),
    _added("value out of bounds", "[parameters]\nfwhm = { value = 5, min = 10 }\n", "lies outside"),
    _added("parameter as number", "[parameters]\nfwhm = 38.0\n", "expected a table such as fwhm"),
    _added("vary as text", '[parameters]\nfwhm = { vary = "no" }\n', "true or false"),
    _added("expr with an attribute", '[parameters]\nfwhm = { expr = "scale.real" }\n', "is not understood"),
    _added("expr that opens a file", """[parameters]\nfwhm = { expr = "open('x').read()" }\n""", "is not understood"),
    _added("expr with a foreign function", '[parameters]\nfwhm = { expr = "zeros(10**9)" }\n', "no function 'zeros'"),
    _added(
        "expr that is a huge power", '[parameters]\nfwhm = { expr = "9**9**9**9" }\n', "cannot be evaluated", "model"
    ),
    _added("unknown setting", "[parameters]\nfwhm = { minimum = 3 }\n", "did you mean 'min'"),
    _added("unknown method", '[fit]\nmethod = "levenberg"\n', "one of least_squares"),
    _added("mask reversed", "[fit]\nmask = [[5, -5]]\n", "low < high"),
    # --- crystals and reflections
    _changed("unknown crystal", '"GGG"', '"GGGG"', "GGG", "crystal"),
    _changed("unknown line", "1.5405", '"CuKalpha9"', "CuKa", "crystal"),
    _changed("reflection out of reach", "[4, 4, 4]", "[40, 40, 40]", "cannot be reached", "crystal"),
    _changed("forbidden reflection", "[4, 4, 4]", "[1, 0, 0]", "forbidden", "crystal"),
    _changed("unknown monochromator", "hkl =", 'monochromator = ["Xx 111"]\nhkl =', "Xx", "crystal"),
    _changed(
        "Bartels of one crystal",
        "hkl =",
        'monochromator = "Ge 220"\nmonochromator_setting = "bartels"\nhkl =',
        "four reflections",
        "crystal",
    ),
    _cif("empty CIF", "", "x.cif"),
    _cif("CIF of words", "this is no CIF\n", "not a valid CIF"),
    _cif("CIF without cell", CIF.replace("_cell_length_a", "_cell_length_x"), "no valid unit cell"),
    _cif("CIF without sites", CIF.split("loop_", maxsplit=1)[0], "no atomic sites"),
    _cif("CIF of an unknown element", CIF.replace("Si1", "Qq1"), "chemical element"),
    _cif("CIF with occupancy 3", CIF.replace(" 1 0.5", " 3 0.5"), "occupancy"),
    # --- model, found when it is built or fitted
    _added("unknown parameter", "[parameters]\nfwmh = { value = 30 }\n", "fwmh", "model"),
    _added("expr without a value", '[parameters]\nfwhm = { expr = "1/0" }\n', "cannot be evaluated", "model"),
    _added("expr of itself", '[parameters]\nfwhm = { expr = "2*fwhm" }\n', "fwhm itself", "model"),
    _added("expr of unknown name", '[parameters]\nfwhm = { expr = "2*nothing" }\n', "nothing", "model"),
    _added("nothing left by mask", "[fit]\nmask = [[-1000, 1000]]\n", "at least 20 must remain", "model"),
    # --- the command line
    BadInput("no command", "", "cli", argv=()),
    BadInput("unknown command", "fitt", "cli", argv=("fitt", "curve.csv")),
    BadInput("unknown option", "--colour", "cli", argv=(*FIT, "--colour", "red")),
    BadInput("no experiment at all", "experiment", "cli", argv=("fit", "curve.csv", "--out", "out")),
    BadInput("output is a file", "curve.csv", "cli", argv=(*FIT[:-1], "curve.csv")),
)


def cases(*stages: str) -> list:
    """Cases found at the given stages (all of them if none is given), as parameters for pytest."""
    return [pytest.param(case, id=case.name) for case in CASES if not stages or case.stage in stages]
