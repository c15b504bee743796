"""Hooks of mkdocs: pages need no network.

Formulas become MathML, which browsers draw themselves, without a script; a page that loads anything from
elsewhere is an error.
"""

import re
from html import unescape
from typing import Any
from xml.etree import ElementTree

from latex2mathml.converter import convert

# What pymdownx.arithmatex makes of \(…\) and \[…\] with `generic: true`.
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)

_FROM_ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def on_page_content(html: str, **_: Any) -> str:
    """Replace every formula of a page."""
    return _FORMULA.sub(_mathml, html)


def on_post_page(output: str, **_: Any) -> str:
    """Refuse a page that would not be whole without a network."""
    if found := _FROM_ELSEWHERE.search(output):
        raise ValueError(f"the page loads {found[0]} from elsewhere; put the file into docs/")
    return output


def _mathml(formula: re.Match[str]) -> str:
    element, latex = formula[1], unescape(formula[2]).strip()
    mathml = convert(latex, display="block" if element == "div" else "inline")
    mathml = mathml.replace(r"\_", "_")  # as it is left in \text{…}
    if unknown := [text for text in ElementTree.fromstring(mathml).itertext() if "\\" in text]:
        # The converter leaves commands that it does not know as they are.
        raise ValueError(f"no MathML for {', '.join(unknown)} in the formula {latex}; write it with other commands")
    return f'<{element} class="arithmatex">{mathml}</{element}>'
