"""A user's own code: networks and datasets. Code runs only if whoever starts the program says so."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from segtool.errors import SegtoolError

TRUST_VARIABLE = "SEGTOOL_TRUST_CODE"  # of the environment, so that worker processes have it too
_allowed: set[str] = set()


def allow_code(source: str) -> None:
    """Lets a `python:` source be imported: for sources that the user has named himself."""
    _allowed.add(source)


def load_factory(source: str) -> Callable[..., Any]:
    """The factory that `python:MODULE:FACTORY` or `python:FILE.py:FACTORY` names.

    Raises:
        SegtoolError: it was read from a file and nobody said that it may run; or there is no such factory.
    """
    if source not in _allowed and os.environ.get(TRUST_VARIABLE) != "1":
        raise SegtoolError(
            "the model's network is built by code that is not part of the file",
            where=source,
            mend="if you trust that code: segtool --trust-code ...",
        )
    where, separator, name = source.removeprefix("python:").rpartition(":")
    if not separator:
        raise SegtoolError("not python:MODULE:FACTORY or python:FILE.py:FACTORY", where=source)
    factory = getattr(_import(where, source), name, None)
    if not callable(factory):
        raise SegtoolError(f"{where} has no function {name}", where=source)
    return factory


def run_file(path: Path) -> ModuleType:
    """Imports a file of the user's, once.

    Raises:
        SegtoolError: no such file, or it fails.
    """
    path = path.resolve()
    name = f"segtool user file {path}"  # two files may share a name
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise SegtoolError("no such file", where=path, mend="write it as FILE.py:NAME...")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise SegtoolError(f"{type(error).__name__}: {error}", where=path, mend="mend the file") from error
    return module


def _import(where: str, source: str) -> ModuleType:
    if where.endswith(".py"):
        return run_file(Path(where).expanduser())
    sys.path.insert(0, os.getcwd())  # as for `python -m`
    try:
        return importlib.import_module(where)
    except ImportError as error:
        raise SegtoolError(f"cannot be imported: {error}", where=source) from error
    finally:
        sys.path.remove(os.getcwd())
