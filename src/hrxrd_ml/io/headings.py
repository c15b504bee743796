"""What the heading of a column says: quantity, reference and unit, by one grammar for angles, counts and the rest.

A heading is taken apart whatever its spelling (``2θ − 2θ_B [″]``, ``two_theta offset arcsec``, ``cts·s⁻¹``).
What it leaves open is left open here: who reads the file asks.
"""

import re
import unicodedata
from dataclasses import dataclass

UNIT_WORDS = (
    ("arcsec", r"arc ?sec\w*|asec|seconds? of arc|″|''|bogensek\w*|угл\w*\.? ?сек\w*|(?<=[(\[])(?:sec|\")(?=[)\]])"),
    ("arcmin", r"arc ?min\w*|amin|minutes? of arc|′|bogenmin\w*|угл\w*\.? ?мин\w*"),
    ("mrad", r"mrad\w*|millirad\w*"),
    ("mdeg", r"mdeg\w*|millideg\w*"),
    ("rad", r"rad(?:ians?)?"),
    ("deg", r"deg(?:rees?)?|°|град\w*|(?<!角)度"),
)
_FOREIGN = re.compile(r"(?:[(\[] *(min|gon|grad)\.? *[)\]])|(?:^|[^a-zµμ])([µμu]rad|micro ?rad\w*)(?:$|[^a-z])")

_SIGNS = str.maketrans(
    {"θ": " theta ", "ω": " omega ", "δ": " delta ", "∆": " delta ", "χ": " chi ", "φ": " phi ", "ψ": " psi "}
    | dict.fromkeys("−–—‐‑", "-")
    | dict.fromkeys("·×⋅_'\"’", " ")
)  # fmt: skip
_ANGLE = re.compile(r"((?:2|two)[\s*-]*|(?=tth))(?:theta|tth|th(?![a-z]))|theta|omega|\bd?om\b|\bd?th(?![a-z])")
_TWICE = re.compile(r"(?:theta|omega|th|om)[\s)\]]*-\s*(?:2|two)?[\s*]*(?:theta|omega|t?th|om)")
_HALF = re.compile(r"/\s*2(?![\w.])|\bhalf\b")
_RELATIVE = re.compile(
    r"offset|delta|\brel\b|\brelativ|\bd(?=(?:2|two)? ?(?:theta|omega|th|om)\b)|deviation|displace|shift|difference"
    r"|-\s*(?:\d|peak|bragg|cent|max|ref|sub)|minus|(?:from|to|about|around) (?:the )?(?:peak|bragg|sub|cent|max)"
    r"|verschiebung|abweichung|differenz|versatz|смещ|отклон|偏|差|d[ée]calage|[ée]cart"
)
_SOME_ANGLE = re.compile(
    r"angle|winkel|угол|角|\b[áa]ngul|\bangol|\bk[ąa]t\b|\bhoek|\bvinkel|incidence|\bgonio|\bmotor|\bpos(?:ition)?\b"
)
_DATA = re.compile(
    r"counts?\b|\bcounter|\bcts\b|\bk?m?cps\b|\bc\.p\.s|\bcpm\b|intens|\bdet(?:ector)?\d*\b|\bsignal|\bphotons?\b|\bevents\b"
    r"|\bhits\b|\brates?\b|countrate|\bk?m?hz\b|reflectivity|yield|impuls|zähl|ereignis|интенс|имп|отсч|счет|счёт|скорост"
    r""
    r"|强度|強度|计数|計数|カウント|coups|conteggi|cuentas|^\s*i\s*(?:$|[(\[/])"
)
_TIME = re.compile(r"\btimes?\b|\bseconds\b|\bt ?(?:count|step)\b|\bs/(?:step|point)\b|\bzeit|врем|时间|時間")
_RATE = re.compile(
    r"\bk?m?cps\b|\bc\.p\.s|\bcpm\b|\bk?m?hz\b|\bc/s"
    r"|/\s*(?:s|sec\w*|sek\w*|min\w*|hours?|h|с|сек|秒)\b|\bper (?:s|sec\w*|min\w*|hour)\b"
    r"|(?:s|sec|min)\.?\s*\^?\s*[({]?\s*-\s*1\b|\brates?\b|countrate|zählrate|impulsrate|скорост|计数率|計数率"
)
_PER_SECOND = (
    (1e3, r"\bkcps\b|\bkhz\b|\bkcts\b|\bkcounts\b"),
    (1e6, r"\bmcps\b|\bmhz\b"),
    (1.0 / 60.0, r"\bcpm\b|(?:/|per) ?min|\bmin\.?\s*\^?\s*-\s*1"),
    (1.0 / 3600.0, r"(?:/|per) ?h(?:our)?\b"),
)
_SCALED = re.compile(
    r"\bnorm|\ba\.? ?u\.?(?:$|[^a-z])|\barb|%|\brel\b|\brelativ|scaled|reflectivity|willk|отн"
    r"|任意|smooth|average|mean\b"
    r"|/\s*\d|x\s*10|10\s*\^|\bk(?:cts|counts)\b|/\s*(?:max|i ?0|mon)"
)
_NO_COUNTS = (
    ("logarithms", re.compile(r"\b(?:log|log ?10|ln|lg)\b")),
    ("square roots", re.compile(r"\bsqrt\b|√|\broot\b|wurzel")),
    ("errors", re.compile(r"\bsigma\b|\berr(?:or)?s?\b|\bstd\b|\besd\b|uncertaint|fehler|ошибк")),
    ("attenuation factors", re.compile(r"attenuat|absor|\bfilter|dämpf")),
)
_COUNTS = re.compile(r"counts?\b|\bcts\b|impuls|zählereig|имп|отсч|计数|計数|coups|conteggi|cuentas")
_OTHER = re.compile(
    r"^\s*(?:h|k|l|q|no|nr|#|index|points?)\s*$|\bq[xyz]?\b|\bphi\b|\bchi\b|\bpsi\b|\btemp|\bmon(?:itor)?\d*\b|\benergy\b"
    r"|thick|strain|\bdepth|pressure|[(\[] ?(?:k|°? ?c|mm|nm|å|ev|kev|v|kv|a|ma) ?[)\]]"
    r"|\bepoch\b|\bcurrent\b|\bvoltage\b|\bmiller\b|\bdate\b|\bring\b"
)


@dataclass(frozen=True)
class Heading:
    """A heading, understood.

    Parameters
    ----------
    text
        As it stands in the file.
    quantity
        ``"angle"``, ``"data"`` (what a detector tells), ``"time"``, ``"other"`` (known too) or ``""``.
    kind
        Kind of an angle, one of ``hrxrd_ml.units.AXIS_KINDS``; ``""`` where the heading leaves it open.
    unit
        Unit of an angle, one of ``hrxrd_ml.units.ANGLE_UNITS``, or ``""``.
    foreign_unit
        Unit of an angle that is none of those, or ``""``.
    scale
        Of data: ``"rate"``, ``"scaled"`` (divided by something), or ``""``: counts, if they are whole numbers.
    per_second
        Factor that makes a rate one per second.
    broken
        What data are that are no counts and no intensities (``"logarithms"``, ``"errors"``, …), or ``""``.
    """

    text: str
    quantity: str = ""
    kind: str = ""
    unit: str = ""
    foreign_unit: str = ""
    scale: str = ""
    per_second: float = 1.0
    broken: str = ""

    @property
    def counts(self) -> bool:
        """Whether it speaks of counts, and of nothing by which they were divided."""
        return self.quantity == "data" and not self.scale and bool(_COUNTS.search(_words(self.text)))


def mentions_rate(line: str) -> bool:
    """Whether a line of free text speaks of counts per time."""
    words = _words(line)
    return bool(re.search(r"\bk?m?cps\b|(?:count|impuls\w*) ?rate|zählrate|скорость сч", words)) or bool(
        _COUNTS.search(words)
        and re.search(r"(?:counts|cts|\bc|имп\w*|impulse) ?(?:/|per )", words)
        and _RATE.search(words)
    )


def mentions_two_theta(line: str) -> bool:
    """Whether a line of free text speaks of 2θ."""
    return any(match[1] is not None for match in _ANGLE.finditer(_words(line)))


def understand(text: str) -> Heading:
    """Take a heading apart."""
    words = _words(text)
    unit, foreign = unit_of(text), _foreign(text)
    broken = next((name for name, pattern in _NO_COUNTS if pattern.search(words)), "")
    if _DATA.search(words) and not re.search(
        r"(?:time|zeit)\b|\bdet(?:ector)? ?-?(?:angle|pos|(?:2|two)[ -]?th)", words
    ):
        factor = next((factor for factor, pattern in _PER_SECOND if re.search(pattern, words)), 1.0)
        scale = "rate" if _RATE.search(words) else "scaled" if _SCALED.search(words) else ""
        if broken in ("errors", "attenuation factors"):
            return Heading(text, "other", broken=broken)
        return Heading(text, "data", scale=scale, per_second=factor if scale == "rate" else 1.0, broken=broken)
    if broken:
        return Heading(text, "data" if broken in ("logarithms", "square roots") else "other", broken=broken)
    if _TIME.search(words) and not _ANGLE.search(words) and unit in ("", "arcsec"):
        return Heading(text, "time")
    if _OTHER.search(words) and not _ANGLE.search(words):
        return Heading(text, "other")
    if unit or foreign or any(pattern.search(words) for pattern in (_ANGLE, _SOME_ANGLE, _RELATIVE)):
        return Heading(text, "angle", kind=_kind(words), unit=unit, foreign_unit=foreign)
    return Heading(text)


def _kind(words: str) -> str:
    """Kind of an angle: which ones are named, and whether from a reference."""
    named = {"two_theta" if match[1] is not None else "omega" for match in _ANGLE.finditer(words)}
    if len(named) > 1 or (_HALF.search(words) and named):  # of a scan "omega/2theta" either may be listed
        return ""
    if not named:
        return "offset" if "offset" in words else ""
    kind = named.pop()
    if _RELATIVE.search(words) or _TWICE.search(words):
        return "two_theta_offset" if kind == "two_theta" else "offset"
    return kind


def unit_of(text: str) -> str:
    """Angle unit that a text names, or ``""``."""
    lowered = text.lower().replace("_", " ")
    for unit, words in UNIT_WORDS:
        if re.search(rf"(?:^|[^a-zа-я])(?:{words})(?:$|[^a-zа-я])", lowered):
            return unit
    return ""


def is_unit(cell: str) -> bool:
    """Whether a cell is nothing but an angle unit, in brackets or not."""
    text = cell.lower().strip(" []()")
    return any(re.fullmatch(words, text) for _, words in UNIT_WORDS)


def _foreign(text: str) -> str:
    found = _FOREIGN.search(text.lower().replace("_", " "))
    return next(filter(None, found.groups())) if found else ""


def _words(text: str) -> str:
    """Text in small letters, with the names of Greek ones, one kind of minus and no superscripts."""
    # Before compatibility forms: a double prime would become two single ones.
    text = re.sub(r"″|''", " arcsec ", text)
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(_SIGNS).split())
