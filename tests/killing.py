"""Starting the command line in a process of its own, and killing it without warning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

COMMAND = "from hrxrd_ml.cli import main; import sys; sys.exit(main(sys.argv[1:]))"


def run_and_kill(arguments: list[str], delay: float) -> None:
    """Run ``hrxrd-ml`` with arguments; after ``delay`` seconds kill it, and all processes that it has started."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
