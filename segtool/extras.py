"""Libraries that only some installations have."""

from importlib import import_module
from types import ModuleType

from segtool.errors import SegtoolError


def needed(module: str, what: str, extra: str) -> ModuleType:
    """A library that an extra of segtool brings.

    Args:
        what: needs it, in words.

    Raises:
        SegtoolError: it is not installed; with the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise SegtoolError(f"{what} need {library}", mend=f"pip install 'segtool[{extra}]'") from error
