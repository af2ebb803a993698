"""Writing a classes.yaml."""

import json
import re
from collections.abc import Mapping, Sequence

import yaml

from segtool.card import ClassInfo

_PLAIN = re.compile(r"[A-Za-z][\w ./-]*")


def description_text(
    classes: Sequence[ClassInfo], more: Mapping[str, object], *, ignore_index: int = 255, comment: str = ""
) -> str:
    """What a classes.yaml says of these classes.

    Args:
        more: further keys, in their order; mappings of simple things become lines of their own.
        comment: comes first.
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += ["classes:", *(f"  - {{name: {scalar(c.name)}, color: {list(c.color)}}}" for c in classes)]
    if ignore_index != 255:
        lines.append(f"ignore_index: {ignore_index}")
    for key, value in more.items():
        if isinstance(value, Mapping):
            lines += [f"{key}:", *(f"  {scalar(name)}: {scalar(one)}" for name, one in value.items())]
        else:
            lines.append(f"{key}: {scalar(value)}")
    return "\n".join(lines) + "\n"


def scalar(value: object) -> str:
    """A number or text as YAML, quoted where it would be taken for something else."""
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value == value.strip() and yaml.safe_load(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)
