"""Whether a file of weights is as it was written: SHA-256 of everything in it, kept in its metadata.

This finds bits that flipped and copies that went wrong. It is no signature: who changes a file can change that too.

Files are read in blocks, not mapped: a disk that fails is then an error, not the end of the process.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from segtool.files import sha256

DIGEST_KEY = "segtool_digest"  # in ONNX metadata_props and in safetensors metadata
_METADATA_PROPS = 14  # the field of ONNX's ModelProto: pairs of a key and a value
_VARINT, _BYTES = 0, 2  # protobuf's wire types
_FIXED = {1: 8, 5: 4}  # those of numbers of a fixed size, bytes
_BLOCK = 1 << 20
_LARGEST_HEADER = 100_000_000  # of safetensors, by its specification


class _Said(NamedTuple):
    """What a digest in an ONNX file says: SHA-256 of the rest of the file, and of a file of weights with its name."""

    graph: str
    of_weights: str | None = None
    weights: str | None = None


def sign_onnx(path: Path, weights: Path | None) -> None:
    """Adds the digest of an ONNX file to it, which holds none yet.

    Args:
        weights: the file of its large weights, where there is one.
    """
    parts = [_onnx_digest(path)[0]]
    if weights is not None and weights.is_file():
        parts += [sha256(weights), weights.name]
    with path.open("ab") as file:  # a repeated field of protobuf may stand anywhere
        file.write(_entry(DIGEST_KEY, " ".join(parts)))


def onnx_is_intact(path: Path) -> bool | None:
    """Whether an ONNX file and its weights are as `sign_onnx` left them; None where it holds no digest.

    Another program that writes the file again, with the metadata but other contents, makes this False as well.
    """
    try:
        found, said = _onnx_digest(path)
    except ValueError:
        return False
    if said is None:
        return None
    if found != said.graph:
        return False
    if said.weights is None:
        return True
    weights = path.with_name(said.weights)
    return weights.is_file() and sha256(weights) == said.of_weights


def signed_weights(path: Path) -> Path | None:
    """The file of large weights that the digest of an ONNX file covers, where it covers one."""
    said = _onnx_digest(path)[1]
    return None if said is None or said.weights is None else path.with_name(said.weights)


def safetensors_digest(file: BinaryIO) -> str:
    """Of the contents of a safetensors file but the digest itself.

    Raises:
        ValueError: no safetensors.
    """
    header, start = _header(file)
    metadata = {key: value for key, value in header.pop("__metadata__", {}).items() if key != DIGEST_KEY}
    whole = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(header):
        begin, end = header[name]["data_offsets"]
        whole.update(json.dumps([name, sorted(header[name].items())]).encode())
        file.seek(start + begin)
        for block in _blocks(file, end - begin):
            whole.update(block)
    return whole.hexdigest()


def safetensors_are_intact(path: Path) -> bool | None:
    """Whether a safetensors file is what its digest says; None where it holds none."""
    with path.open("rb") as file:
        try:
            said = _header(file)[0].get("__metadata__", {}).get(DIGEST_KEY)
            return None if said is None else safetensors_digest(file) == said
        except (ValueError, KeyError, TypeError, AttributeError):  # a header that is not one
            return False


def bytes_digest(content: bytes) -> str:
    """Of what a safetensors file will hold."""
    return safetensors_digest(io.BytesIO(content))


def _header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    if size > _LARGEST_HEADER:
        raise ValueError("no header")
    return json.loads(file.read(size)), 8 + size


def _onnx_digest(path: Path) -> tuple[str, _Said | None]:
    """The digest of everything but the entry of a digest, and what that entry says."""
    whole, said = hashlib.sha256(), None
    with path.open("rb") as file:
        for number, head, size in _fields(file):
            if number == _METADATA_PROPS:
                content = b"".join(_blocks(file, size))
                key, value = _pair(content)
                if key == DIGEST_KEY.encode():
                    said = _said(value.decode("utf-8", "replace"))
                    continue
                whole.update(head + content)
                continue
            whole.update(head)
            for block in _blocks(file, size):
                whole.update(block)
    return whole.hexdigest(), said


def _said(text: str) -> _Said:
    graph, *of_weights = text.split(" ", 2)
    # Only a name beside the file, whatever the text says.
    return _Said(graph, of_weights[0], Path(of_weights[1]).name) if len(of_weights) == 2 else _Said(graph)


def _pair(content: bytes) -> tuple[bytes, bytes]:
    """Key and value of an entry; one that is left out is empty."""
    message, found = io.BytesIO(content), {}
    for number, _, size in _fields(message):
        found[number] = b"".join(_blocks(message, size))
    return found.get(1, b""), found.get(2, b"")


def _fields(message: BinaryIO) -> Iterator[tuple[int, bytes, int]]:
    """Of each field of a protobuf message its number, the bytes before its content, and the size of that, which whoever
    asks reads before going on.

    Raises:
        ValueError: no message.
    """
    while head := message.read(1):
        tag, head = _varint(message, head)
        wire = tag & 7
        if wire == _VARINT:
            yield tag >> 3, head + _varint(message, message.read(1))[1], 0
        elif wire == _BYTES:
            size, length = _varint(message, message.read(1))
            yield tag >> 3, head + length, size
        elif wire in _FIXED:
            yield tag >> 3, head, _FIXED[wire]
        else:
            raise ValueError("no such wire type")


def _varint(message: BinaryIO, first: bytes) -> tuple[int, bytes]:
    """A number and its bytes, the first of which is read already."""
    found = bytearray(first)
    while not found or found[-1] > 127:
        if not found or len(found) == 10 or not (byte := message.read(1)):
            raise ValueError("cut off")
        found += byte
    return sum((byte & 127) << 7 * place for place, byte in enumerate(found)), bytes(found)


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        block = file.read(min(size, _BLOCK))
        if not block:
            raise ValueError("cut off")
        size -= len(block)
        yield block


def _entry(key: str, value: str) -> bytes:
    return _sized(_METADATA_PROPS, _sized(1, key.encode()) + _sized(2, value.encode()))


def _sized(number: int, content: bytes) -> bytes:
    return _number(number << 3 | _BYTES) + _number(len(content)) + content


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
