"""Running the command line: in this process, which has loaded PyTorch already, or in a process of its own."""

import contextlib
import io
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace
from unittest.mock import patch

from segtool.cli import main


def segtool(*arguments, cwd):
    """What `segtool ARGUMENTS` returns and prints, run in this process with everything put back afterwards."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch.object(sys, "argv", ["segtool", *map(str, arguments)]),
        patch.dict(os.environ),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


def segtool_process(*arguments, cwd, **options):
    """The same in a process: for what a process starts with, and for what its own processes print."""
    command = [sys.executable, "-m", "segtool", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, **options)
