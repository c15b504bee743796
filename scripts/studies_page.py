"""Run the studies of docs/studies.md and put what they print, and their pictures, into the page.

A block of the page begins with ``<!-- study: COMMAND -->``, the command to run, and ends with ``<!-- end -->``.  An
argument chooses the blocks whose command contains it.  Run it in the folder above ``src``; the set is made before by

    hrxrd-ml dataset make universal-test --curves 2000 --out build/universal-test
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "studies.md"
BLOCK = re.compile(r"<!-- study: (.+?) -->\n.*?<!-- end -->", re.DOTALL)


def block(command: str) -> str:
    """Return the block of a command, with what it prints, its picture and how long it took."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        arguments = [*shlex.split(command), "--out", folder + "/out"]
        printed = subprocess.run(
            [sys.executable, "-m", "hrxrd_ml.cli.main", *arguments], check=True, capture_output=True, text=True
        ).stdout
        if arguments[0] == "evaluate":  # of which the page of results has the other tables
            printed = printed.strip().rpartition("\n\n")[2]
        seconds = time.perf_counter() - start
        pictures = []
        for picture in sorted(Path(folder, "out").glob("*.png")):
            shutil.copy(picture, DOCS / "images" / f"study-{picture.name}")
            pictures.append(f"![What the study found](images/study-{picture.name})")
    cost = f"{seconds:.0f} s of one core"
    parts = [f"<!-- study: {command} -->", f"```sh\nhrxrd-ml {command}   # {cost}\n```", printed.strip(), *pictures]
    return "\n\n".join([*parts, "<!-- end -->"])


def main(chosen: str = "") -> None:
    """Run the studies whose command contains ``chosen``, and write the page."""
    text = PAGE.read_text(encoding="utf-8")
    done = BLOCK.sub(lambda m: block(m[1]) if chosen in m[1] else m[0], text)
    PAGE.write_text(done, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
