"""Running the command line in a process of its own."""

import subprocess
import sys


def segtool(*arguments, cwd, **options):
    command = [sys.executable, "-m", "segtool", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, **options)
