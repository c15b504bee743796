"""Hooks of mkdocs: formulas become MathML when pages are built, so that they show without a script and offline.

A formula that would be printed as it is written, and a page that loads anything from elsewhere, are errors.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
_FROM_ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def on_page_content(page: str, /, **_: Any) -> str:
    """Return the HTML of a page with every formula that arithmatex has marked as MathML."""
    return _FORMULA.sub(_mathml, page)


def on_post_page(page: str, /, **_: Any) -> str:
    """Refuse a page that would not be whole without a network."""
    if found := _FROM_ELSEWHERE.search(page):
        raise ValueError(f"the page loads {found[0]} from elsewhere; put the file into docs/")
    return page


def _mathml(formula: re.Match[str]) -> str:
    latex = html.unescape(formula[3])
    mathml = convert(latex, display="block" if formula[2] == "[" else "inline")
    mathml = mathml.replace(r"\_", "_")  # as it is left in \text{…}
    if unknown := re.findall(r"\\\w+", html.unescape(mathml)):  # commands that the converter leaves as they are
        raise ValueError(f"no MathML for {', '.join(unknown)} in the formula {latex}; write it with other commands")
    return mathml
