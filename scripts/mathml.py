"""Hook of mkdocs: formulas become MathML when pages are built, so that they show without a script and offline."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(page: str, /, **_: Any) -> str:
    """Return the HTML of a page with every formula that arithmatex has marked as MathML."""
    return _FORMULA.sub(
        lambda found: convert(html.unescape(found[3]), display="block" if found[2] == "[" else "inline"), page
    )
