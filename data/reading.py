"""Reading text files that people and tools write, which may hold anything."""

import json
import reprlib
from pathlib import Path
from typing import Any

import yaml

from segtool.errors import SegtoolError
from segtool.files import refuse_pipe


def read_text(path: Path, mend: str | None = None) -> str:
    """A text file.

    Args:
        mend: what to do if it is not there.

    Raises:
        SegtoolError: missing, unreadable, or not UTF-8.
    """
    refuse_pipe(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SegtoolError("no such file", where=path, mend=mend) from error
    except OSError as error:
        raise SegtoolError(f"cannot be read ({error.strerror})", where=path) from error
    except UnicodeDecodeError as error:
        raise SegtoolError("not UTF-8", where=f"{path}, byte {error.start}", mend="save it as UTF-8") from error


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        SegtoolError: missing, unreadable, or not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        place = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise SegtoolError("not valid JSON", where=f"{path}{place}", mend="export it again") from error


def read_yaml(path: Path, mend: str | None = None) -> Any:
    """A YAML file without aliases, with which a few lines become gigabytes, and without keys that are there twice.

    Args:
        mend: what to write instead.

    Raises:
        SegtoolError: missing, unreadable, or not such a file.
    """
    try:
        return yaml.load(read_text(path, mend), _StrictLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f", line {mark.line + 1}"
        what = f"not valid YAML ({error.problem})" if isinstance(error, _Refused) else "not valid YAML"
        raise SegtoolError(what, where=f"{path}{place}", mend=mend) from error


def short(value: object) -> str:
    """A value as Python writes it, cut where it is long."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that is not taken."""


class _StrictLoader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # it has no types
            raise _Refused(problem="aliases are not read", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else id(key)
            if name in seen:
                raise _Refused(problem=f"the key {short(name)} is there twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)
