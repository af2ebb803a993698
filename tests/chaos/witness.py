"""A command under a witness: a preloaded library that notes what is asked of the C library."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/proc", "/sys", "/dev/null", "/dev/urandom", "/dev/shm"]
OF_MACHINE = [
    "/etc/ssl",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/ld.so.cache",
    "/etc/fonts",
    "/etc/mime.types",
    "/run",
    "/.dockerenv",
]
HELPERS = ["ldconfig", "gcc", "cc", "ld", "objdump", "uname", "lscpu"]  # how Python looks for a library by its name


class Witnessed:
    """Folders: `given` is what a command may read, `out` where it may write, `secret` is none of its business."""

    def __init__(self, folder, library):
        self.folder, self.library, self.log = folder, library, folder / "log"
        for name in ("given", "out", "secret", "home", "tmp"):
            (folder / name).mkdir()
        self.secret = folder / "secret" / "weights.bin"
        self.secret.write_bytes(bytes(1000))

    def start(self, *command):
        # Not what segtool has set in this process, nor what ONNX Runtime keeps quiet for: the command says it itself.
        mine = ("TORCH", "ORT_", "GRADIO_", "RAY_", "HF_", "MLFLOW_", "CI")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
        environment = inherited | {
            "HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1",
            "WITNESS": str(self.log), "LD_PRELOAD": str(self.library), "HF_HUB_OFFLINE": "0",
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, *map(str, command)], cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *command):
        process = self.start(*command)
        said, _ = process.communicate(timeout=600)
        assert "Traceback" not in said, said
        return process.returncode, said

    def misdeeds(self):
        """What was asked of the network, run, written elsewhere than to `out`, or read that was not given."""
        home = self.folder / "home"
        # Of caches matplotlib's alone: one of another library would be a record of what was run.
        caches = [home / ".cache" / "matplotlib", home / ".config" / "matplotlib"]
        may_write = [self.folder / "out", self.folder / "tmp", *caches, "/dev/null", "/dev/shm"]
        python = {sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)}
        may_read = [*SYSTEM, *OF_MACHINE, *python, PROJECT, *may_write, self.folder / "given", self.log]
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            word, _, what = line.partition(" ")
            fine = {
                "read": lambda path: path == str(self.folder) or _under(path, may_read),
                "write": lambda path: path in (str(home / ".cache"), str(home / ".config")) or _under(path, may_write),
                "run": lambda path: Path(path).name in HELPERS or path == sys.executable,
            }
            if word not in fine or not fine[word](what):
                found.append(line)
        return sorted(set(found))


def _under(path, folders):
    return any(path == str(folder) or path.startswith(f"{folder}/") for folder in folders)


def compiled(out):
    """The library, or a skipped test."""
    if sys.platform != "linux" or (compiler := shutil.which("cc")) is None:
        pytest.skip("needs Linux and a C compiler")
    subprocess.run(
        [
            compiler,
            "-shared",
            "-fPIC",
            "-O1",
            "-Wall",
            "-Werror",
            "-o",
            out,
            Path(__file__).with_name("witness.c"),
            "-ldl",
        ],
        check=True,
    )
    return out
