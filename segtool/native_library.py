"""Where the compiled libraries of the parts lie."""

import sys
from importlib import import_module
from pathlib import Path

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
