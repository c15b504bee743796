"""Run all examples and write docs/gallery.md with their pictures and what they print.

Usage: python scripts/make_gallery.py
"""

from __future__ import annotations

import ast
import contextlib
import io
import runpy
import sys
import tempfile
import warnings
from pathlib import Path

from hrxrd_ml.io.files import atomic_path, write_text

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images" / "gallery"
HEAD = """# Gallery

Short scripts, each of which runs as it stands (`python examples/NAME.py`) and is run by the tests. The pictures and
texts here are what they made; `python scripts/make_gallery.py` makes this page again.
"""


def main() -> None:
    """Run the examples and write the page."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    parts = [HEAD]
    for script in sorted((ROOT / "examples").glob("*.py"), key=lambda path: (path.stem != "first_fit", path.stem)):
        source = script.read_text(encoding="utf-8")
        about = (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]
        title = about.partition(":")[0]
        said = io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(said):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                runpy.run_path(str(script), run_name="__main__")
            pictures = sorted(Path(folder).glob("*.png"))
            for picture in pictures:
                with atomic_path(IMAGES / picture.name) as temporary:
                    Path(temporary).write_bytes(picture.read_bytes())
        parts.append(f"## {script.stem}\n\n{about}\n")
        parts += [f"![{title}](images/gallery/{picture.name})\n" for picture in pictures]
        parts.append(f"```python\n{source.split(chr(34) * 3, 2)[2].strip()}\n```\n")
        if said.getvalue() and len(said.getvalue()) < 2000:
            parts.append(f"prints\n\n```text\n{said.getvalue().rstrip()}\n```\n")
        print(script.name, [picture.name for picture in pictures], file=sys.stderr)
    write_text(ROOT / "docs" / "gallery.md", "\n".join(parts))


if __name__ == "__main__":
    main()
