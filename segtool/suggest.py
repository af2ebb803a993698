"""Errors for unknown names that point to the near one."""

import difflib
from collections.abc import Iterable

from segtool.errors import SegtoolError


def unknown(kind: str, name: str, known: Iterable[str]) -> SegtoolError:
    """The error for an unknown `name`: suggests the nearest known one, or lists them all."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    mend = f"did you mean {near[0]}?" if near else "known: " + ", ".join(known[:40])
    return SegtoolError(f"unknown {kind}", where=name, mend=mend)
