"""Thousands of damaged files of every kind that the package reads: each is read sanely, or refused in one line.

Run by hand: ``python benchmarks/fuzz.py [FAMILY ...] [--count N] [--seed N] [--details]``; ``tests/fuzzing.py`` says
what is damaged how, and the rule. Every file is read in a process that is started anew should it crash; each refused
file is also given to the command line, which must say one line, end with code 2 and leave nothing behind.
"""

import argparse
import faulthandler
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import fuzzing

HANGS = 40.0
"""Seconds after which an input is given up, and its process with it."""


def worker(family: fuzzing.Family, begin: int, count: int, seed: int) -> None:
    """Try inputs one after the other; write what came out of each as a line of JSON."""
    for number in range(begin, count):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            files, name = fuzzing.make_input(family, number, seed)
            fuzzing.write(files, folder)
            print(json.dumps({"begins": number}), flush=True)
            faulthandler.dump_traceback_later(HANGS, exit=True)
            found = fuzzing.outcome(family, folder, name)
            faulthandler.cancel_dump_traceback_later()
            kind, what, where = found.kind, found.what, found.where
            if kind == "refused" and (wrong := fuzzing.complaint(family, folder)):
                kind, where = "bug", wrong
        about = {"number": number, "kind": kind, "what": what, "where": where}
        print(json.dumps(about | {"s": found.seconds, "mb": found.megabytes}), flush=True)


def tried(name: str, count: int, seed: int) -> list[dict]:
    """What came out of each input of a family, crashes included."""
    rows: list[dict] = []
    while len(rows) < count:
        command = [sys.executable, __file__, "--worker", name, "--begin", str(len(rows))]
        command += ["--count", str(count), "--seed", str(seed)]
        ended = subprocess.run(command, capture_output=True, text=True)
        found = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
        done = [row for row in found if "number" in row]
        rows += done
        if len(rows) < count:
            begun = any(row.get("begins") == len(rows) for row in found)
            if not begun:
                raise RuntimeError(f"{name}: {ended.stderr[-2000:]}")
            where = "hangs" if "Timeout" in ended.stderr else "crash"
            what = f"process ended with {ended.returncode}: {ended.stderr[:300]}"
            rows.append({"number": len(rows), "kind": "bug", "what": what, "where": where, "s": HANGS, "mb": 0.0})
    return rows


def main() -> None:
    names = [family.name for family in fuzzing.FAMILIES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(names))
    parser.add_argument("--count", type=int, default=400, help="inputs of each family (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--details", action="store_true", help="list what breaks the rule, and usual refusals")
    parser.add_argument("--worker", metavar="FAMILY", help=argparse.SUPPRESS)
    parser.add_argument("--begin", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.families) - set(names):
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(names)}")
    if arguments.worker:
        worker(fuzzing.FAMILIES[names.index(arguments.worker)], arguments.begin, arguments.count, arguments.seed)
        return
    print("| family | inputs | accepted | refused | break the rule | bugs | longest, s | most, MB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for family in fuzzing.FAMILIES:
        if arguments.families and family.name not in arguments.families:
            continue
        rows = tried(family.name, arguments.count, arguments.seed)
        kinds = Counter(row["kind"] for row in rows)
        bugs = Counter(row["where"] for row in rows if row["kind"] == "bug")
        longest, most = max(row["s"] for row in rows), max(row["mb"] for row in rows)
        print(
            f"| {family.group} | {len(rows)} | {kinds['accepted']} | {kinds['refused']} | {kinds['bug']} | {len(bugs)} "
            f"| {longest:.1f} | {most:.0f} |",
            flush=True,
        )
        if arguments.details:
            for where, times in bugs.most_common():
                first = next(row for row in rows if row["where"] == where)
                print(f"    {times} x {where}: e.g. {first['number']}: {first['what'][:200]!r}")
            refusals = [row["what"].partition(": ")[2][:40] for row in rows if row["kind"] == "refused"]
            print("    refusals:", Counter(refusals).most_common(12), flush=True)


if __name__ == "__main__":
    main()
