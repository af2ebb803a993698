"""Where errors end: each becomes one line and an exit code, here and nowhere else."""

import errno
import os

import click

from segtool.errors import SegtoolError, printable

USER, FAULT, INTERRUPTED = 2, 1, 130  # exit codes
# What PyTorch and ONNX Runtime say, in errors that are no MemoryError.
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc", "bad allocation")
_EXTRA_OF = {
    "torch": "train",
    "torchvision": "train",
    "lightning": "train",
    "segmentation_models_pytorch": "train",
    "timm": "train",
    "transformers": "transformers",
    "tensorboard": "train",
    "psutil": "train",
    "safetensors": "train",
    "matplotlib": "eval",
    "jinja2": "eval",
    "pandas": "eval",
    "pyarrow": "eval",
    "scipy": "eval",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "cpu",
    "gradio": "demo",
    "av": "video",
    "ray": "serve",
    "fastapi": "serve",
    "fastapi_offline": "serve",
}


def tell(error: BaseException) -> int:
    """Prints the line of an error that nobody handled, to standard error; the exit code."""
    line, code = _described(error)
    click.echo(f"segtool: {printable(line)}", err=True)
    return code


def _described(error: BaseException) -> tuple[str, int]:
    if isinstance(error, SegtoolError):
        return str(error), USER
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted", INTERRUPTED
    if isinstance(error, ModuleNotFoundError) and (extra := _EXTRA_OF.get((error.name or "").partition(".")[0])):
        return f"{error.name} is not installed (pip install 'segtool[{extra}]')", USER
    first = next(iter(str(error).splitlines()), "")
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
        said = f": {first}" if first else ""
        return f"there is not enough memory{said} (smaller images or batches, --tile, fewer processes)", USER
    if isinstance(error, OSError):
        return _of_system(error) if error.errno is not None else first, USER
    mend = "this is a fault of segtool: run it with segtool --debug ... and report what it prints"
    return f"{type(error).__name__}: {first} ({mend})", FAULT


def _of_system(error: OSError) -> str:
    """What the operating system refused, where, and what would help."""
    assert error.errno is not None
    named = isinstance(error.filename, str | bytes | os.PathLike)
    where = f": {os.fsdecode(error.filename)}" if named else ""
    mends = {
        errno.ENOSPC: "make room, or write elsewhere",
        errno.EDQUOT: "make room, or write elsewhere",
        errno.EROFS: "write elsewhere",
        errno.EACCES: "change its permissions, or choose another place",
        errno.EMFILE: "raise the limit of open files: ulimit -n",
        errno.ELOOP: "remove the loop of symbolic links",
    }
    mend = mends.get(error.errno)
    return f"{error.strerror or errno.errorcode.get(error.errno, 'error')}{where}" + (f" ({mend})" if mend else "")
