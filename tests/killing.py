"""Starting the command line in a process of its own, and killing it without warning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMAND = "from hrxrd_ml.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"


def run_and_kill(arguments: list[str], delay: float, sign_of_life: Path | None = None) -> None:
    """Run ``hrxrd-ml`` with arguments; after ``delay`` seconds kill it, and all processes that it has started.

    The delay begins when the file ``sign_of_life`` has been written anew, if one is given.
    """
    begin = time.time()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while sign_of_life is not None and process.poll() is None and time.time() < begin + 120.0:
        if sign_of_life.exists() and sign_of_life.stat().st_mtime > begin:
            break
        time.sleep(0.05)
    time.sleep(delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
