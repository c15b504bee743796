"""Getting at the bytes of a data file: sizes, encodings, archives and XML, each with a clear error."""

import io
import re
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.errors import InputFileError
from hrxrd_ml.io.curve import MAX_POINTS
from hrxrd_ml.reading import read_whole

MAX_FILE_SIZE = 50_000_000
"""Largest file, and largest unpacked text of an archive, that is read [bytes]."""

MAX_LINES = 500_000
"""Most lines of a text; more take longer to read than anybody waits, and are no rocking curve."""

MAX_TAGS = 1_000_000
"""Most tags of an XML document, for each of which memory is taken many times over."""


def load(path: Path) -> bytes:
    """Content of a data file.

    Raises
    ------
    InputFileError
        If the file is missing, no plain file, empty, larger than `MAX_FILE_SIZE`, or not readable.
    """
    try:
        data = read_whole(path, MAX_FILE_SIZE)
    except FileNotFoundError:
        raise InputFileError("no such file; check the path") from None
    except OSError as error:
        raise InputFileError(f"cannot be read: {error.strerror}") from error
    if not data.strip():
        raise InputFileError("the file is empty; expected an angle and a counts column")
    return data


def decode(data: bytes) -> str:
    """Text of a data file: UTF-8 or UTF-16 with its mark, else UTF-8, else Latin-1.

    Raises
    ------
    InputFileError
        If the bytes are not text, or of more than `MAX_LINES` lines.
    """
    lines = data.count(b"\n")
    if lines > MAX_LINES:
        raise InputFileError(
            f"the text has {lines} lines; a curve has at most {MAX_LINES}: give a file with one scan alone"
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            _binary()
    if b"\0" in data:
        _binary()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    # Text has tabs and line ends; other control characters in number mean a binary file.
    control = sum(1 for c in text[:10_000] if ord(c) < 32 and c not in "\t\n\r\f\x1a")
    if control > 0.01 * min(len(text), 10_000):
        _binary()
    return text


def _binary() -> NoReturn:
    raise InputFileError(
        "a binary file of no known format; expected text columns, .xrdml, .ras, .rasx or .brml: "
        "export the scan as text from the program that wrote it"
    )


class _NoDoctype(ET.TreeBuilder):
    """A tree builder that refuses document types, and with them every kind of entity."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise InputFileError("the XML declares a document type or entities; measurement files have none")


def parse_xml(data: bytes) -> ET.Element:
    """Root of an XML document, all names without their namespaces.

    Nothing outside the document is ever read, and document types are refused.

    Raises
    ------
    InputFileError
        If it is not well-formed XML, declares a document type, or has more than `MAX_TAGS` tags.
    """
    tags = data.count(b"<")
    if tags > MAX_TAGS:
        raise InputFileError(f"the XML has {tags} tags; a measurement has at most {MAX_TAGS}: export one scan as text")
    parser = ET.XMLParser(target=_NoDoctype())
    try:
        parser.feed(data)
        root: ET.Element = parser.close()
    except (ET.ParseError, LookupError, ValueError) as error:  # the latter two from encodings that expat lacks
        raise InputFileError(
            f"damaged XML ({error}); expected a whole measurement file: copy or export it anew"
        ) from error
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    return root


def open_archive(data: bytes) -> zipfile.ZipFile:
    """A zip archive in memory, or an `InputFileError` if it is damaged or unpacks to too much."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:  # a damaged archive makes zipfile raise errors of many kinds
        raise InputFileError(f"a damaged archive ({error}); expected .rasx or .brml: copy the file anew") from error
    # zipfile unpacks no member beyond the size that is noted here.
    size = sum(member.file_size for member in archive.infolist() if member.filename.endswith((".xml", ".txt")))
    if size > MAX_FILE_SIZE:
        raise InputFileError(
            f"the archive unpacks to {size / 1e6:.0f} MB of text; a curve has less than {MAX_FILE_SIZE / 1e6:.0f} MB: "
            "export one scan as text"
        )
    return archive


def numbered_members(archive: zipfile.ZipFile, pattern: re.Pattern[str]) -> list[str]:
    """Names of the members in which a pattern is found, in the order of the two numbers that are its groups."""
    found = [(int(m[1]), int(m[2]), name) for name in archive.namelist() if (m := pattern.search(name))]
    return [name for _, _, name in sorted(found)]


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Unpacked member of an archive that `open_archive` has opened."""
    try:
        with archive.open(name) as member:
            return member.read()
    except Exception as error:  # as above, and those of each way of packing
        raise InputFileError(f"cannot unpack {name} of the archive ({error}); copy the file anew") from error


def to_number(text: str, what: str) -> float:
    """Number behind a text, or an `InputFileError` that says what it should have been."""
    try:
        return float(text.replace("_", "x"))  # float() would take 1_000, which no instrument writes
    except ValueError:
        raise InputFileError(f"{what}: expected a number, got {text.strip()[:40]!r}") from None


def to_numbers(text: str | None, what: str) -> NDArray[np.float64]:
    """Numbers of a blank-separated list [n]."""
    words = (text or "").split(maxsplit=MAX_POINTS)
    if len(words) > MAX_POINTS:
        raise InputFileError(f"{what}: more than {MAX_POINTS} numbers; is this one rocking curve?")
    try:
        return np.array(words, dtype=np.float64) if words else np.empty(0)
    except ValueError:
        return np.array([to_number(word, what) for word in words])
