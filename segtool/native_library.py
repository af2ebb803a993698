"""Where the compiled libraries of the parts lie, and how they are loaded."""

import ctypes
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from segtool.errors import SegtoolError

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")


def native_library(part: str, name: str) -> Path:
    """The file of a compiled library.

    Args:
        part: the package that it belongs to, such as `segtool.crf`.
        name: without prefix and suffix.

    Raises:
        SegtoolError: it was not built.
    """
    file = f"lib{name}{_SUFFIX}"
    # An editable install keeps compiled files beside the installed packages, not beside the sources.
    installed = (Path(folder, *part.split(".")) for folder in sys.path)
    for folder in (*map(Path, import_module(part).__path__), *installed):
        if (path := folder / file).is_file():
            return path
    raise SegtoolError("the native library was not found", where=file, mend="reinstall segtool: pip install .")


def load_library(path: Path, arguments: Mapping[str, Sequence[Any]]) -> ctypes.CDLL:
    """A library whose functions are told the types of their arguments.

    Raises:
        SegtoolError: a function is missing: it was built from other sources.
    """
    library = ctypes.CDLL(str(path))
    for name, types in arguments.items():
        if not hasattr(library, name):
            raise SegtoolError(f"the native library has no {name}", where=path, mend="reinstall segtool: pip install .")
        getattr(library, name).argtypes = types
    return library
