"""Damage of the kinds that disks, networks and people do to files; the same for the same random generator."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

HOSTILE = (
    None, True, -1, 0, 2**31, 2**40, 2**70, -0.0, 1e300, 5e-324, float("nan"), float("inf"), "", "x" * 10_000,
    "\x1b[2J", "../../etc/passwd", "http://127.0.0.1:9/", [], {}, [[]], [None] * 300, {"a": {"b": [1, 2]}},
)  # fmt: skip


def damaged(data: bytes, random: Random) -> bytes:
    """Bytes with bits flipped, spans lost, doubled, overwritten or exchanged, or the end cut off."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 3)):
        start = random.randrange(len(changed) or 1)
        # Headers are where readers are led astray.
        start = random.randrange(min(len(changed), 64) or 1) if random.random() < 0.4 else start
        end = min(len(changed), start + random.choice((1, 2, 4, 16, 256)))
        span = bytes(changed[start:end])
        kind = random.choice(("flip", "cut", "lose", "double", "noise", "zero", "ones"))
        if kind == "flip" and changed:
            changed[start] ^= 1 << random.randrange(8)
        elif kind == "cut":
            del changed[max(start, 1) :]
        elif kind in ("lose", "double"):
            changed[start:end] = b"" if kind == "lose" else span * 2
        else:
            changed[start:end] = {"noise": random.randbytes(len(span)), "zero": bytes(len(span))}.get(
                kind, b"\xff" * len(span)
            )
    return bytes(changed)


def twisted(card: str, random: Random) -> str:
    """A card's JSON with one to three of its values replaced, removed or doubled."""
    found = json.loads(card)
    for _ in range(random.randint(1, 3)):
        holder, key = random.choice([*_places(found)])
        kind = random.random()
        if kind < 0.7:
            holder[key] = random.choice(HOSTILE)
        elif kind < 0.85 and isinstance(holder, dict):
            del holder[key]
        elif isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[f"{key}x"] = holder[key]
    return json.dumps(found)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in [*value] if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])
