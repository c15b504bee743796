"""Print, as constraints for pip, the lowest version that pyproject.toml allows of each requirement.

Usage: python scripts/lowest_versions.py > lowest.txt && pip install -c lowest.txt .

It fails where a requirement states no lowest version.
"""

import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def lowest(requirements: list[str]) -> list[str]:
    """Return the requirements with each at its lowest version; raise `ValueError` where one states none."""
    pinned = []
    for requirement in requirements:
        found = re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)(?:,.*)?", requirement)
        if found is None:
            raise ValueError(f'"{requirement}" must state the lowest version that is tested, as in name>=1.2')
        pinned.append("{}=={}".format(*found.groups()))
    return pinned


def main() -> None:
    """Print them all, those of the optional dependencies too."""
    settings = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    project = settings["project"]
    own = f"{project['name']}["  # one optional dependency that includes another
    stated = chain(project["dependencies"], *project["optional-dependencies"].values())
    try:
        print(*lowest([text for text in stated if not text.startswith(own)]), sep="\n")
    except ValueError as error:
        sys.exit(f"pyproject.toml: {error}")


if __name__ == "__main__":
    main()
