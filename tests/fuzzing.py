"""Damaged files of every kind that the package reads, and the rule that holds for each of them.

The rule: a call succeeds with finite, sane output, or raises the package's own error with a message of one line that
names the file; it takes no more than 5 s of a processor and 500 MB. Nothing else ever comes out. ``benchmarks/fuzz.py``
tries thousands of inputs, each determined by a seed and its number; ``test_fuzz.py`` some of the same.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import re
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import bad_input_cases
import curve_files
from hostile_expressions import ESCAPES, EXPLOSIONS
from hrxrd_ml import HrxrdError

Rng = np.random.Generator
Damage = Callable[[bytes, Rng], bytes]

SECONDS, MEGABYTES = 5.0, 500.0

# --- damage ---------------------------------------------------------------------------------------------------------

NUMBERS = (
    b"nan", b"inf", b"-inf", b"1e400", b"-1e308", b"1e308", b"1e-320", b"0", b"-0.0", b"-1", b"9" * 400,
    b"9" * 5000, b"1_000",
    b"0x10", b"1e", b"--5", b"", "１２".encode(), "٣".encode(), "²".encode(), "−5".encode(), b"1,5", b"1.5.5",
    b"1e5e5", b"True",
    b"2147483648", b"18446744073709551616", b"1d5", b"NaN(1)",
)  # fmt: skip
SNIPPETS = (
    b"\0", b"\0" * 50, "\u2028".encode(), "\x85".encode(), "😀".encode(), b"\xff\xfe", b"\xef\xbb\xbf", b"\x1a",
    b'"', b"'", b"\x1b[31m",
    b"<", b"&amp;", b"&#0;", b"]]>", b"<![CDATA[", b"<!--", b"{", b"}", b"[" * 2000, b"#", b";", b"%s%n",
    b"../../", b"\\", b"\\u0000",
    b"\r", b"\n\n\n", b"=", b"1 2 3", b"data_x\n", b"loop_\n", b"*RAS_INT_END\n", b"a" * 200_000, b"\xc3",
    b"\xed\xa0\x80", b"~nobody/",
)  # fmt: skip
_NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
_WORD = re.compile(rb"[A-Za-z_]{2,}")


def _span(data: bytes, rng: Rng, most: int = 200) -> slice:
    start = int(rng.integers(len(data) + 1))
    return slice(start, min(start + int(rng.integers(1, most)), len(data)))


def _replaced(pattern: re.Pattern[bytes], data: bytes, rng: Rng, new: Callable[[bytes], bytes]) -> bytes:
    found = list(pattern.finditer(data))
    if not found:
        return data
    match = found[int(rng.integers(len(found)))]
    return data[: match.start()] + new(match[0]) + data[match.end() :]


def _lines(data: bytes, rng: Rng, change: Callable[[list[bytes], int, int], list[bytes]]) -> bytes:
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    i, j = sorted(int(k) for k in rng.integers(len(lines), size=2))
    return b"".join(change(lines, i, j))


def _encoded(data: bytes, rng: Rng) -> bytes:
    name = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp500", "latin-1", "utf-7")[int(rng.integers(7))]
    return data.decode("utf-8", "replace").encode(name, "replace")


def _swapped(data: bytes, rng: Rng) -> bytes:
    signs = (b",", b";", b"\t", b" ", b".", b"=", b"\n")
    one, two = (signs[int(k)] for k in rng.choice(len(signs), 2, replace=False))
    return data.replace(one, two, -1 if rng.random() < 0.5 else int(rng.integers(1, 5)))


def _flipped(data: bytes, rng: Rng) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 20)) if out else 0):
        out[int(rng.integers(len(out)))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def _overwritten(data: bytes, rng: Rng) -> bytes:
    where = _span(data, rng, 30)
    return data[: where.start] + rng.bytes(where.stop - where.start) + data[where.stop :]


def _inserted(data: bytes, rng: Rng) -> bytes:
    start = _span(data, rng).start
    return data[:start] + SNIPPETS[int(rng.integers(len(SNIPPETS)))] + data[start:]


def _cut(data: bytes, rng: Rng) -> bytes:
    where = _span(data, rng)
    return data[: where.start] + data[where.stop :]


def _doubled(data: bytes, rng: Rng) -> bytes:
    where = _span(data, rng)
    return data[: where.stop] + data[where] + data[where.stop :]


def _one_of(texts: tuple[bytes, ...], rng: Rng) -> bytes:
    return texts[int(rng.integers(len(texts)))]


BYTES: tuple[Damage, ...] = (
    lambda data, rng: data[: int(rng.integers(len(data) + 1))],
    lambda data, rng: data[int(rng.integers(len(data) + 1)) :],
    _flipped,
    _overwritten,
    _inserted,
    _cut,
    _doubled,
    lambda data, rng: data * int(rng.integers(2, 4)),
    lambda data, rng: rng.bytes(int(rng.integers(1, 2000))),
)
TEXT: tuple[Damage, ...] = (
    *BYTES[:-1],
    lambda data, rng: _replaced(_NUMBER, data, rng, lambda old: _one_of(NUMBERS, rng)),
    lambda data, rng: _replaced(_NUMBER, data, rng, lambda old: b"-" + old),
    lambda data, rng: _replaced(_WORD, data, rng, lambda old: _one_of(SNIPPETS, rng)),
    lambda data, rng: _replaced(_WORD, data, rng, lambda old: _one_of(tuple(_WORD.findall(data)) or (b"",), rng)),
    lambda data, rng: _lines(data, rng, lambda lines, i, j: lines[:i] + lines[i + 1 :]),
    lambda data, rng: _lines(data, rng, lambda lines, i, j: lines[:i] + lines[j:]),
    lambda data, rng: _lines(data, rng, lambda lines, i, j: [*lines[:j], lines[i], *lines[j:]]),
    lambda data, rng: _lines(data, rng, lambda lines, i, j: [*lines[:i], *lines[i:j][::-1], *lines[j:]]),
    lambda data, rng: data.replace(b"\n", (b"\r\n", b"\r", b"\n\r", b"\x0b", b"\x0c")[int(rng.integers(5))]),
    _swapped,
    _encoded,
)


def repeatedly(ways: tuple[Damage, ...]) -> Damage:
    """One to three of the ways, one after the other."""

    def damage(data: bytes, rng: Rng) -> bytes:
        for _ in range(int(rng.integers(1, 4))):
            data = ways[int(rng.integers(len(ways)))](data, rng)
        return data[:2_000_000]

    return damage


damaged_text, damaged_bytes = repeatedly(TEXT), repeatedly(BYTES)

_LAUGHS = b"".join(b'<!ENTITY %c "&%c;&%c;&%c;&%c;">' % (98 + i, *[97 + i] * 4) for i in range(20))
XML_HEADS = (
    b'<!DOCTYPE l [<!ENTITY a "ha">' + _LAUGHS + b"]>",
    b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    b'<!DOCTYPE x SYSTEM "http://localhost:1/x.dtd">',
    b'<?xml version="1.0" encoding="shift_jis"?>',
    b'<?xml version="1.0" encoding="rot13"?>',
    b'<?xml version="1.0" encoding="utf-7"?>',
    b'<?xml version="1.0" encoding="hex"?>',
    b'<?xml version="9.9"?>',
    b'<?xml version="1.0" encoding="cp1252"?>',
)  # fmt: skip


def damaged_xml(data: bytes, rng: Rng) -> bytes:
    """As text, or with a hostile head, or nested deeply, or with very many elements."""
    way = rng.random()
    if way < 0.25:
        body = re.sub(rb"^\s*(?:\xef\xbb\xbf)?<\?xml.*?\?>", b"", data)
        return _one_of(XML_HEADS, rng) + body
    if way < 0.30:
        deep = int(10 ** rng.uniform(2.0, 5.5))
        return data.replace(b">", b">" + b"<a>" * deep + b"</a>" * deep, 2)
    if way < 0.32:
        return data.replace(b">", b">" + b"<a/>" * int(10 ** rng.uniform(4.0, 6.5)), 2)
    return damaged_text(data, rng)


def _packed(members: list[tuple[str, bytes]], rng: Rng | None = None) -> bytes:
    buffer = io.BytesIO()
    ways = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    way = zipfile.ZIP_DEFLATED if rng is None else ways[int(rng.integers(4))]
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", way) as file:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


@cache
def _bomb(size: int, content: bytes = b"<a/>") -> bytes:
    """A small archive that unpacks to very much."""
    whole = (content * (size // len(content) + 1))[:size]
    return _packed([("Data0/Profile0.txt", whole), ("Experiment0/RawData0.xml", whole)])


def damaged_archive(data: bytes, rng: Rng) -> bytes:
    """The bytes of an archive damaged, or one of its members, or its list of members; or a bomb."""
    way = rng.random()
    if way < 0.2:
        return damaged_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    i = int(rng.integers(len(members)))
    name, content = members[i]
    if way < 0.75:
        change = damaged_xml if name.endswith(".xml") else damaged_text
        members[i] = name, change(content, rng)
    elif way < 0.80:
        del members[i]
    elif way < 0.84:
        members.append(members[i])
    elif way < 0.90:
        members[i] = name.replace("0", ("1", "²", "9" * 5000, "../0", "0\0")[int(rng.integers(5))]), content
    elif way < 0.92:
        unit = (b"<a/>", b"0 0 0\n", b"1,", b"\0")[int(rng.integers(4))]
        members[i] = name, unit * (int(10 ** rng.uniform(5.0, 7.9)) // len(unit))
    elif way < 0.93:
        members[i] = name, _bomb(60_000_000)
    elif way < 0.94:
        return _bomb(int(10 ** rng.uniform(6.0, 8.3)))
    elif way < 0.96:
        members += [(f"x/{k}.xml", b"") for k in range(20_000)]
    else:
        packed = bytearray(_packed(members, rng))
        sign = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")[int(rng.integers(3))]
        start = packed.find(sign)
        for _ in range(3):
            packed[min(start + int(rng.integers(4, 40)), len(packed) - 1)] = int(
                rng.integers(256)
            )  # its sizes, ways of packing, offsets
        return bytes(packed)
    return _packed(members, rng)


HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 10**6, 10**9, 2**63, 10**30, 10**400, -0.5, 0.5, 1e308, 1e-320,
    float("nan"), float("inf"),
    "", "x", "1", "nan", "v3", "mlp", "fixed", "window", "linear", "scaled", "universal", "CuKa1", "\0",
    "😀\u2028\n", "a" * 5000,
    [], [[]], [1], [1, 2, 3], ["x"], [None], {}, {"x": 1}, {"$array": [1, 2]}, {"$float": "x"},
    {"$object": "os:system", "fields": {}},
    {"$array": [[1], [1, 2]]}, {"$complex": [1]}, {"$reflection": {}}, {"$tuple": 3}, [10**400], "9" * 5000,
    {"$object": "RockingCurve", "fields": {}}, "sum(range(10**9))", "9**9**9**9", "open('x').read()",
)  # fmt: skip


def damaged_tree(tree: Any, rng: Rng) -> Any:
    """A copy of what JSON holds, with one to three of its values replaced, left out, doubled, or under another name."""
    tree = copy.deepcopy(tree)
    for _ in range(int(rng.integers(1, 4))):
        places: list[tuple[Any, Any]] = []
        waiting = [tree]
        while waiting:
            node = waiting.pop()
            keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
            places += [(node, key) for key in keys][:50]  # not all of them of a long list of numbers
            waiting += [node[key] for key in keys]
        if not places:
            return HOSTILE[int(rng.integers(len(HOSTILE)))]
        node, key = places[int(rng.integers(len(places)))]
        way = rng.random()
        if way < 0.6:
            node[key] = copy.deepcopy(HOSTILE[int(rng.integers(len(HOSTILE)))])
        elif way < 0.75:
            del node[key]
        elif way < 0.85:
            other, name = places[int(rng.integers(len(places)))]
            node[key] = copy.deepcopy(
                other.get(name) if isinstance(other, dict) else other[name % max(len(other), 1)] if other else 0
            )
        elif isinstance(node, dict):
            node[f"{key}x"] = node.pop(key)
        else:
            node.append(copy.deepcopy(node[key]))
    return tree


def damaged_json(data: bytes, rng: Rng) -> bytes:
    """The values of a JSON file changed, or its text, or a file that is nested very deeply."""
    way = rng.random()
    if way < 0.7:
        tree = damaged_tree(json.loads(data), rng)
        text = json.dumps(tree, ensure_ascii=False)  # with the NaN and Infinity that JSON has not
        return text.encode("utf-8", "surrogatepass")
    if way < 0.73:
        return b"[" * 100_000
    return damaged_text(data, rng)


def damaged_safetensors(data: bytes, rng: Rng) -> bytes:
    """The header changed, or what it says of one tensor, or the metadata, or the bytes."""
    size = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    way = rng.random()
    if way < 0.15:
        return damaged_bytes(data, rng)
    if way < 0.25:
        false = (0, 1, size - 1, size + 1, 10**6, 10**8 + 1, 2**32, 2**63, 2**64 - 1)[int(rng.integers(9))]
        return false.to_bytes(8, "little") + data[8:]
    if way < 0.45:
        header = damaged_tree(header, rng)
    elif way < 0.55:
        name = [key for key in header if key != "__metadata__"][int(rng.integers(len(header) - 1))]
        kinds = (
            "F64",
            "F32",
            "F16",
            "BF16",
            "I64",
            "I8",
            "BOOL",
            "U8",
            "F8_E4M3",
            "F8_E5M2",
            "C64",
            "F4",
            "X",
            "I32",
            "U64",
        )
        header[name]["dtype"] = kinds[int(rng.integers(len(kinds)))]
        if rng.random() < 0.5:
            header[name]["shape"] = [*header[name]["shape"][::-1], 1]
    elif way < 0.60:
        header["__metadata__"]["hrxrd_ml"] = damaged_text(header["__metadata__"]["hrxrd_ml"].encode(), rng).decode(
            "utf-8", "replace"
        )
    elif way < 0.92:
        header["__metadata__"]["hrxrd_ml"] = json.dumps(
            damaged_tree(json.loads(header["__metadata__"]["hrxrd_ml"]), rng)
        )
    else:
        values = (np.nan, np.inf, -np.inf, 0.0, 1e38, -1e38)
        spoilt = np.frombuffer(rest, dtype=np.float32).copy()
        spoilt[_span(rest[: len(spoilt)], rng)] = values[int(rng.integers(6))]
        rest = spoilt.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


def damaged_hdf5(data: bytes, rng: Rng) -> bytes:
    """Bytes changed, or one of the file's members replaced, renamed, or left out."""
    import h5py

    if rng.random() < 0.4:
        return damaged_bytes(data, rng)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        path.write_bytes(data)
        with h5py.File(path, "a") as file:
            names: list[str] = []
            file.visit(names.append)
            name = names[int(rng.integers(len(names)))]
            way = rng.random()
            held = file[name]
            if way < 0.2:
                del file[name]
            elif way < 0.3:
                file.move(name, f"{name}x")
            elif way < 0.55 or not isinstance(held, h5py.Dataset):
                owner = file if rng.random() < 0.5 else held
                keys = list(owner.attrs) or ["_Netcdf4Dimid", "iteration", "has_blobs"]
                key = keys[int(rng.integers(len(keys)))]
                values = (
                    "x",
                    "",
                    b"\xff",
                    3,
                    -1,
                    10**9,
                    np.nan,
                    [1, 2, 3],
                    np.zeros((2, 2)),
                    "😀",
                    "[" * 5000,
                    "9" * 5000,
                    True,
                )
                owner.attrs[key] = values[int(rng.integers(len(values)))]
            else:
                old = held[...]
                del file[name]
                if way < 0.65:
                    file.create_dataset(name, shape=(10**5, 10**5), dtype=float, chunks=(1000, 1000))  # takes no room
                elif way < 0.75:
                    file.create_dataset(
                        name, data=np.array(["x"] * max(len(np.atleast_1d(old)), 1), dtype=h5py.string_dtype())
                    )
                elif way < 0.85:
                    file.create_dataset(name, data=np.atleast_1d(old)[..., :-1])
                elif way < 0.9:
                    file.create_group(name)
                elif old.dtype.kind in "fiu":
                    value = (np.nan, np.inf, -1, 10**9, 0)[int(rng.integers(5))]
                    file.create_dataset(name, data=np.full(old.shape, value, dtype=float))
                else:
                    file.create_dataset(name, data=np.zeros(3, dtype=complex))
        return path.read_bytes()


# --- families of files ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """Files of one kind, and what is done with them.

    Parameters
    ----------
    name, group
        What the files are, and the row of the table.
    good
        Makes files that are whole: a folder's content by name, whose first file is the one that is damaged.
    damage
        Spoils it.
    use
        Reads the file in a folder, and fails with an `AssertionError` if what it gets is not sane.
    command
        Command line that reads the same, after which nothing may be left in ``out``; None if there is none.
    """

    name: str
    group: str
    good: Callable[[], tuple[Mapping[str, bytes], ...]]
    damage: Damage
    use: Callable[[Path], None]
    command: tuple[str, ...] | None = None


def _sane(what: str, *good: Any) -> None:
    assert all(np.all(one) for one in good), what


def _read_curve(folder: Path, name: str) -> None:
    from hrxrd_ml import read_curve
    from hrxrd_ml.io.curve import MIN_POINTS

    curve = read_curve(folder / name)
    x = curve["x"].values
    _sane("angles", curve.dims == ("x",), len(x) >= MIN_POINTS, np.isfinite(x), np.diff(x) > 0.0)
    _sane("values", np.isfinite(curve.values), curve.values >= 0.0, curve.values.any())
    for extra in ("attenuation", "counting_time", "sigma"):
        if extra in curve.coords:
            _sane(extra, np.isfinite(curve[extra].values), curve[extra].values > 0.0)
    assert 0.0 < curve.attrs.get("wavelength", 1.0) < 100.0, "wavelength"


def _curves(name: str, contents: Callable[[], tuple[str | bytes, ...]], damage: Damage, toml: str = "") -> Family:
    def good() -> tuple[Mapping[str, bytes], ...]:
        made = (c.encode() if isinstance(c, str) else c for c in contents())
        other = {"e.toml": bad_input_cases.EXPERIMENT.replace('"offset"', '"omega"').replace("arcsec", "deg").encode()}
        return tuple({name: content, **({"curve.toml": toml.encode()} if toml else {}), **other} for content in made)

    kind = name.rpartition(".")[2]
    use = lambda folder: _read_curve(folder, name)  # noqa: E731
    return Family(kind, f"curve, .{kind}", good, damage, use, ("fit", name, "e.toml", "--out", "out"))


def _texts() -> tuple[str, ...]:
    return (
        curve_files.text_of(heading="omega (deg),counts\n"),
        curve_files.text_of(delimiter="\t", heading="# made by hand\n# x\ty\n"),
        curve_files.text_of(delimiter=";", decimal=","),
        curve_files.text_of(delimiter=" ", heading="Some text\nof two lines\n"),
        bad_input_cases.CURVE,
    )


def _xrdmls() -> tuple[bytes, ...]:
    c = curve_files
    whole = c.BOTH + c.TIME + c.RAW_COUNTS
    listed = f'<positions axis="Omega" unit="deg"><listPositions>{c.listed(c.OMEGA)}</listPositions></positions>'
    corrected = f'<intensities unit="counts">{c.listed(c.COUNTS * c.FACTORS)}</intensities>'
    return (
        c.xrdml(whole), c.xrdml(c.BOTH + c.TIME + c.ATTENUATORS + c.RAW_COUNTS),
        c.xrdml(listed + c.TIME + c.ATTENUATORS + corrected, "1.5", axis="Omega"), c.xrdml(whole, scans=2),
    )  # fmt: skip


EXPERIMENT = """\
[reflection]
crystal = "Si"
hkl = [0, 0, 4]
wavelength = "CuKa1"
surface = [0, 0, 1]
exit = "high"
monochromator = ["Si 111", "Ge 220"]
lattice = 5.431
polarization_ratio = 0.7
[reflection.susceptibility]
chi0 = [-1.5e-5, 3.5e-7]
chih = [9.0e-6, 3.0e-7]
[axis]
column = "omega"
kind = "omega"
unit = "deg"
scan = 0
[intensity]
column = 1
kind = "intensity"
relative_error = 0.1
[model]
profile = "bspline"
damage = "bspline"
diffuse = "correlation"
resolution = "pseudo_voigt"
strain_knots = 6
damage_knots = 5
tolerance = 1e-3
[parameters]
fwhm = { value = 12.0, min = 5.0, max = 50.0, vary = false }
scale = { value = 1e5 }
eta = { expr = "0.01*fwhm" }
[fit]
method = "leastsq"
mask = [[33.0, 33.1]]
max_nfev = 100
"""
EXPRESSIONS = (*ESCAPES, *EXPLOSIONS, "fwhm", "scale*2", "eta", "eta + 1")


def damaged_experiment(data: bytes, rng: Rng) -> bytes:
    """As text, or one value replaced by another of TOML."""
    if rng.random() < 0.4:
        return damaged_text(data, rng)
    literals = (
        "true", "[]", "[[]]", "{}", '""', '"\\u0000"', '"x.cif"', '"~nobody/x.cif"', '"\\n\\n"',
        "1979-05-27T07:32:00Z", "nan", "inf",
        "[1, 2]", "[4.0, 4, 4]", "[1e400, 0]", "9" * 5000, "0x" + "f" * 300, "-1", "0", "1e-300", "1e300",
        "[0, 0, 0]", "[99, 99, 99]",
        '"' + "a" * 5000 + '"', "[" * 500 + "]" * 500, "[" * 5000, '["Si 111"]', '["Si ²²²"]', '["Si 1e9 1 1"]',
        "[1000000000000, 0, 0]",
        '"Si:1"', '"InGaAs"', '"/"', '"..cif"', '"\\u2028"', "2", "[[1, 2], [3]]", "[[nan, 1]]", '["a"]',
        "0.99999", '"CuKa"', "1_0",
        "[" + "9" * 200 + ", 0, 4]", "07:32:00", '"' + "a/" * 3000 + '.cif"', "1.5", "0.2", "10", '"0"', "[1,1,1]",
    )  # fmt: skip
    lines = data.decode().splitlines()
    for _ in range(int(rng.integers(1, 3))):
        i = int(rng.integers(len(lines)))
        key, sign, _value = lines[i].partition(" = ")
        if not sign or not key:
            lines[i] = ("[" + "a." * int(rng.integers(1, 3000)) + "b]", "[[reflection]]", "[model.x]", "")[
                int(rng.integers(4))
            ]
        elif key == "eta" and rng.random() < 0.8:
            text = EXPRESSIONS[int(rng.integers(len(EXPRESSIONS)))]
            lines[i] = f"eta = {{ expr = {json.dumps(text, ensure_ascii=False)} }}"
        elif "{" in lines[i]:
            inner = ("value", "min", "max", "vary", "expr")[int(rng.integers(5))]
            name = (key, "damage", '"a\\nb"', "'Ω'", "x.y")[int(rng.integers(5))]
            lines[i] = f"{name} = {{ {inner} = {literals[int(rng.integers(len(literals)))]} }}"
        else:
            lines[i] = f"{key} = {literals[int(rng.integers(len(literals)))]}"
    return "\n".join(lines).encode()


def _use_experiment(folder: Path) -> None:
    from hrxrd_ml import build_model, read_experiment

    experiment = read_experiment(folder / "sample.toml")
    model = build_model(experiment)
    params = model.make_params()
    assert all(np.isfinite(par.value) for par in params.values()), "parameters"
    reflection = model.simulation.reflection
    assert np.isfinite([reflection.bragg_angle, reflection.darwin_width(), reflection.wavelength]).all(), "reflection"


CIF = """\
# a comment
data_silicon
_cell_length_a 5.4309(2)
_cell_length_b 5.4309(2)
_cell_length_c 5.4309(2)
_cell_angle_alpha 90.0
_cell_angle_beta 90.0
_cell_angle_gamma 90.0
_chemical_formula_sum 'Si O2'
_symmetry_Int_Tables_number 1
loop_
_symmetry_equiv_pos_as_xyz
'x, y, z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
Si1 Si4+ 0.0 0.0 0.0 1 0.005(1)
O1 O2- 0.25 0.25 0.25 0.9 ?
O2 O2- 0.75 0.25 0.5 . 0.01
loop_
_atom_site_aniso_label
_atom_site_aniso_U_11
_atom_site_aniso_U_22
_atom_site_aniso_U_33
_atom_site_aniso_U_12
_atom_site_aniso_U_13
_atom_site_aniso_U_23
O1 0.01 0.01 0.01 0 0 0
"""


def _use_cif(folder: Path) -> None:
    from hrxrd_ml import Crystal, Reflection
    from hrxrd_ml.errors import CrystalError

    crystal = Crystal.from_cif(folder / "x.cif")
    assert 0.0 < crystal.volume < np.inf, "volume"
    try:
        reflection = Reflection(crystal, (2, 2, 0), "CuKa1")
    except CrystalError as error:
        # Whether there is such a reflection is no question to the file, but the rest of the rule holds.
        raise type(error)(f"{folder / 'x.cif'}: {error}") from error
    assert np.isfinite([reflection.bragg_angle, reflection.darwin_width()]).all(), "reflection"


@cache
def _checkpoints() -> tuple[Mapping[str, bytes], ...]:
    from hrxrd_ml.guess.network.checkpoint import Checkpoint
    from hrxrd_ml.guess.network.domain import Domain
    from hrxrd_ml.guess.network.plan import NetworkSettings, Plan
    from hrxrd_ml.guess.network.targets import Targets
    from hrxrd_ml.guess.network.window import Preprocessing

    rng, found = np.random.default_rng(1), []
    for kind, targets in (("fixed", "linear"), ("window", "scaled")):
        plan = Plan(Preprocessing(kind, points=64), Targets(targets), NetworkSettings(width=8, depth=1, components=2))
        arrays = {f"network.{n}": rng.normal(1.0, 0.1, shape).astype(np.float32) for n, shape in plan.shapes().items()}
        constants = rng.normal(size=(50, plan.preprocessing.constants))
        arrays |= Domain.learn(rng.normal(size=(50, 8)), constants).arrays()
        with TemporaryDirectory() as folder:
            path = Path(folder) / "x"
            Checkpoint(plan, arrays, {"version": "0", "data": {"seed": 5}, "log": [{"valid": 1.0}]}).save(path)
            found.append({"n.safetensors": path.read_bytes()} | dict(_data_set()))
    return tuple(found)


def _use_checkpoint(folder: Path) -> None:
    from hrxrd_ml.guess.network.predict import Predictor

    network = Predictor.load(folder / "n.safetensors")
    p = network.plan.preprocessing
    seen = network.predict(np.zeros((2, p.channels * p.points)), np.zeros((2, p.constants)))
    _sane("answer", *(np.isfinite(part) for part in vars(seen).values()))


@cache
def _data_set() -> Mapping[str, bytes]:
    from hrxrd_ml.training.dataset import DatasetFolder, DatasetSettings
    from hrxrd_ml.training.prior import FixedPrior

    prior = FixedPrior(points=101, zero=10, step=25.0, fwhm=30.0)
    with TemporaryDirectory() as folder:
        settings = DatasetSettings(curves=6, seed=2, shard=3, prior=prior)
        made = DatasetFolder.create(Path(folder) / "set", settings)
        from hrxrd_ml.training.dataset import _make_shard

        for number in range(2):
            _make_shard(made, number)
        return {f"set/{path.name}": path.read_bytes() for path in sorted(made.path.iterdir())}


def _first(name: str, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return {name: files[name], **files}


def _use_data_set(folder: Path) -> None:
    from hrxrd_ml.guess.network.targets import Targets
    from hrxrd_ml.guess.network.window import Preprocessing
    from hrxrd_ml.training import describe
    from hrxrd_ml.training.dataset import DatasetFolder
    from hrxrd_ml.training.features import shard_features
    from hrxrd_ml.training.shard import measurements

    data = DatasetFolder(folder / "set").complete()
    about = describe.describe(data)
    assert all(np.isfinite(row).all() for row in about["ranges"].values()), "ranges"
    for number in range(data.settings.shards):
        shard = data.shard(number)
        for measured in measurements(shard):
            _sane("curve", np.isfinite(measured.intensity), np.isfinite(measured.dtheta))
            _sane("values", np.isfinite(list(measured.values.values())))
        if "counts" in shard and shard["counts"].shape[1] == 101:
            shard_features(shard, Preprocessing("fixed", points=101), Targets("linear"))


@cache
def _fit() -> Any:
    from curve_stub import TRUTH, StubCurve
    from hrxrd_ml import RockingCurveModel

    axis = np.linspace(-1400.0, 400.0, 181)
    model = RockingCurveModel(simulation=StubCurve(), axis_kind="offset", unit="arcsec")
    params = model.make_params(**TRUTH)
    counts = np.random.default_rng(1).poisson(model.eval(params, x=axis)).astype(float)
    for name in params:
        params[name].vary = name in ("scale", "fwhm")
    return model.fit(counts, params, x=axis)


def _sample(path: Path) -> Any:
    from hrxrd_ml import sample

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the chain is too short")
        return sample(_fit(), 3, burn=20, walkers=4, progress=False, workers=1, seed=3, backend=path)


@cache
def _chains() -> tuple[Mapping[str, bytes], ...]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "chain.h5"
        _sample(path)
        return ({"chain.h5": path.read_bytes()},)


def _use_chain(folder: Path) -> None:
    found = _sample(folder / "chain.h5")
    for name in ("posterior/scale", "posterior/fwhm", "sample_stats/lp"):
        assert np.isfinite(found[name].values).all(), name


@cache
def _saved(kind: str) -> tuple[Mapping[str, bytes], ...]:
    from lmfit.models import GaussianModel

    from hrxrd_ml import Reflection, RockingCurveModel
    from hrxrd_ml.model.composite import CurveComposite

    model = RockingCurveModel(Reflection("GGG", (4, 4, 4), "CuKa1"), axis_kind="offset", unit="arcsec", diffuse="none")
    model.set_param_hint("fwhm", value=20.0, min=10.0, max=np.inf)
    things: list[Any] = [model, CurveComposite(GaussianModel(prefix="g_"), model)]
    if kind == "result":
        axis = np.linspace(-900.0, 300.0, 60)
        params = model.make_params(scale=1e4, background=3.0)
        for name in params:
            params[name].vary = name in ("scale", "background")
        counts = np.random.default_rng(0).poisson(model.eval(params, x=axis)).astype(float)
        things = [model.fit(counts, params, x=axis)]
    files = []
    with TemporaryDirectory() as folder:
        for thing in things:
            thing.save(Path(folder) / "x")
            files.append({f"{kind}.json": (Path(folder) / "x").read_bytes()})
    return tuple(files)


def _use_saved(folder: Path, kind: str) -> None:
    import hrxrd_ml as hx

    if kind == "model":
        model = hx.load_model(folder / "model.json")
    else:
        result = hx.load_result(folder / "result.json")
        model = result.model
        result.fit_report()
        _sane("curve", np.isfinite(result.best_fit), np.isfinite(result.residual))
    _sane("parameters", len(model.make_params()) > 0)


FAMILIES: tuple[Family, ...] = (
    _curves("curve.csv", _texts, damaged_text),
    _curves("curve.xrdml", _xrdmls, damaged_xml),
    _curves("curve.ras", lambda: (curve_files.ras(), curve_files.ras(scans=2), curve_files.ras(unit="cps")),
    damaged_text),
    _curves("curve.rasx", lambda: (curve_files.rasx(), curve_files.rasx(2)), damaged_archive),
    _curves(
        "curve.brml", lambda: (curve_files.brml(), curve_files.brml("Theta TwoTheta", curve_files.VIEWS)),
        damaged_archive
    ),
    _curves("curve.uxd", lambda: (curve_files.uxd(), curve_files.uxd("CPS", "THETA", ranges=2, pairs=False)),
    damaged_text),
    _curves("curve.x00", lambda: (curve_files.x00(), curve_files.x00("Omega", factor=2.0)), damaged_text),
    _curves("curve.spec", lambda: (curve_files.spec(), curve_files.spec(scans=2)), damaged_text),
    Family(
        "toml", "experiment file (TOML)", lambda: ({"sample.toml": EXPERIMENT.encode()},
        {"sample.toml": bad_input_cases.EXPERIMENT.encode()}),
        damaged_experiment, _use_experiment, ("simulate", "sample.toml", "--out", "out.csv"),
    ),
    Family(
        "cif", "crystal structure (CIF)",
        lambda: tuple(
            {"x.cif": text.encode(), "e.toml": bad_input_cases.EXPERIMENT.replace('"GGG"',
            '"x.cif"').replace("[4, 4, 4]", "[2, 2, 0]").encode()}
            for text in (CIF, bad_input_cases.CIF)
        ),
        damaged_text, _use_cif, ("simulate", "e.toml", "--out", "out.csv"),
    ),
    Family(
        "checkpoint", "checkpoint (safetensors)", _checkpoints, damaged_safetensors, _use_checkpoint,
        ("evaluate", "n.safetensors", "set", "--out", "out"),
    ),
    Family(
        "dataset", "data set, dataset.json", lambda: (_first("set/dataset.json", _data_set()),), damaged_json,
        _use_data_set,
        ("dataset", "describe", "set", "--out", "out.png"),
    ),
    Family(
        "shard", "data set, shards (netCDF)", lambda: (_first("set/shard-00001.nc", _data_set()),), damaged_hdf5,
        _use_data_set,
        ("dataset", "describe", "set", "--out", "out.png"),
    ),
    Family("chain", "chain of the posterior (HDF5)", _chains, damaged_hdf5, _use_chain),
    Family("model", "saved model (JSON)", lambda: _saved("model"), damaged_json, lambda f: _use_saved(f, "model")),
    Family("result", "saved result (JSON)", lambda: _saved("result"), damaged_json, lambda f: _use_saved(f, "result")),
)  # fmt: skip


# --- the rule -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What one input led to.

    Parameters
    ----------
    kind
        ``"accepted"``, ``"refused"`` or ``"bug"``.
    what
        The message of the refusal, or what breaks the rule.
    where
        The place in the package that a bug shows at; inputs that share it count as one bug.
    """

    kind: str
    what: str = ""
    where: str = ""
    seconds: float = field(default=0.0, compare=False)
    megabytes: float = field(default=0.0, compare=False)


def make_input(family: Family, number: int, seed: int = 1) -> tuple[Mapping[str, bytes], str]:
    """Files of one input, and the name of the one that is damaged; the same for the same numbers."""
    rng = np.random.default_rng([seed, zlib.crc32(family.name.encode()), number])
    good = family.good()
    files = dict(good[int(rng.integers(len(good)))])
    name = next(iter(files))
    files[name] = family.damage(files[name], rng)
    return files, name


def write(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def outcome(family: Family, folder: Path, name: str) -> Outcome:
    """Read the file in a folder, and judge what comes out."""
    before = _reset_peak()
    begin = time.process_time()
    kind, what, where = "accepted", "", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)  # a number has gone astray
            family.use(folder)
    except HrxrdError as error:
        kind, what = "refused", str(error)
        if len(what.splitlines()) != 1:
            kind, where = "bug", f"message of {len(what.splitlines())} lines, {_place(error)}"
        elif Path(name).name not in what and str(Path(name).parent) not in what:
            kind, where = "bug", f"message names no file, {_place(error)}"
        elif len(what) > 2000:
            kind, where = "bug", f"message of over 2000 letters, {_place(error)}"
    except AssertionError as error:
        kind, what, where = "bug", f"insane output: {error}", f"insane output: {error}"
    except Exception as error:  # whatever it is, it is what this looks for
        kind, what = "bug", f"{type(error).__name__}: {error}"[:300]
        where = f"{type(error).__name__}, {_place(error)}"
    seconds, megabytes = time.process_time() - begin, _peak() - before
    if kind != "bug" and (seconds > SECONDS or megabytes > MEGABYTES):
        too_much = f"{seconds:.1f} s" if seconds > SECONDS else f"{megabytes:.0f} MB"
        kind, what, where = "bug", f"{too_much}: {what}", "more than 5 s" if seconds > SECONDS else "more than 500 MB"
    return Outcome(kind, what, where, seconds, megabytes)


def complaint(family: Family, folder: Path) -> str:
    """What is wrong with what the command line makes of a file that is refused; "" if nothing is."""
    from hrxrd_ml.cli import main

    if family.command is None:
        return ""
    before = sorted(folder.rglob("*"))
    out, err = io.StringIO(), io.StringIO()
    home = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.main(list(family.command))
    except Exception as error:
        return f"command line: {type(error).__name__}, {_place(error)}"
    finally:
        os.chdir(home)
    lines = [line for line in err.getvalue().splitlines() if not line.startswith("hrxrd-ml: warning: ")]
    if code != 2 or len(lines) != 1 or not lines[0].startswith("hrxrd-ml: "):
        return f"command line: code {code}, {len(lines)} lines"
    left = sorted(set(folder.rglob("*")) - set(before))
    return f"command line: left {left[0].name}" if left else ""


def _place(error: BaseException) -> str:
    """Innermost function of the package that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}hrxrd_ml{os.sep}" in frame.filename]
    return f"{Path(own[-1].filename).name}:{own[-1].name}" if own else "outside the package"


def _status(key: str) -> float:
    """Memory of this process [MB]; 0 where the system does not tell."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    found = re.search(rf"{key}:\s+(\d+) kB", text)
    return int(found[1]) / 1024.0 if found else 0.0


def _reset_peak() -> float:
    """Begin to look for the largest memory anew; return what is taken now [MB]."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("inf")
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")
