"""Whether a file of weights is as it was written: SHA-256 of everything in it, kept in its metadata.

This finds bits that flipped and copies that went wrong. It is no signature: who changes a file can change that too.
"""

import hashlib
import json
import mmap
from collections.abc import Iterator
from pathlib import Path

DIGEST_KEY = "segtool_digest"  # in ONNX metadata_props and in safetensors metadata
_METADATA_PROPS = 14  # the field of ONNX's ModelProto: pairs of a key and a value
_BYTES = 2  # protobuf's wire type of what has a length


def sign_onnx(path: Path, weights: Path) -> None:
    """Adds the digest of an ONNX file to it, which holds none yet.

    Args:
        weights: the file of its large weights, where there is one.
    """
    parts = [_onnx_digest(path)[0]]
    if weights.is_file():
        parts += [_file_digest(weights), weights.name]
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
    expected, *of_weights = said.split(" ", 2)
    if found != expected:
        return False
    if not of_weights:
        return True
    weights = path.with_name(Path(of_weights[-1]).name)
    return weights.is_file() and _file_digest(weights) == of_weights[0]


def tensors_digest(data: bytes | mmap.mmap) -> str:
    """Of the contents of a safetensors file, without its metadata, in whatever order the tensors lie.

    Raises:
        ValueError: no safetensors.
    """
    header, start = _header(data)
    whole = hashlib.sha256()
    view = memoryview(data)
    for name in sorted(header.keys() - {"__metadata__"}):
        begin, end = header[name]["data_offsets"]
        whole.update(json.dumps([name, header[name]["dtype"], header[name]["shape"]]).encode())
        whole.update(view[start + begin : start + end])
    return whole.hexdigest()


def tensors_are_intact(path: Path) -> bool | None:
    """Whether the tensors of a safetensors file are those whose digest it holds; None where it holds none."""
    data = _mapped(path)
    try:
        said = _header(data)[0].get("__metadata__", {}).get(DIGEST_KEY)
        return None if said is None else tensors_digest(data) == said
    except (ValueError, KeyError, TypeError, AttributeError):  # a header that is not one
        return False


def _header(data: bytes | mmap.mmap) -> tuple[dict, int]:
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), start


def _onnx_digest(path: Path) -> tuple[str, str | None]:
    """The digest of everything but the entry of a digest, and what that entry says."""
    whole, said = hashlib.sha256(), None
    view = memoryview(_mapped(path))
    for number, begin, payload, end in _fields(view):
        if number == _METADATA_PROPS:
            pair = view[payload:end]
            key, value = (bytes(pair[first:last]) for _, _, first, last in _fields(pair))
            if key == DIGEST_KEY.encode():
                said = value.decode("ascii", "replace")
                continue
        whole.update(view[begin:end])
    return whole.hexdigest(), said


def _fields(message: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Of each field of a protobuf message its number, and where it begins, its content begins, and it ends.

    Raises:
        ValueError: no message.
    """
    at = 0
    while at < len(message):
        begin = at
        tag, at = _varint(message, at)
        payload = at
        match tag & 7:
            case 0:  # a number of any length
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:  # _BYTES
                size, payload = _varint(message, at)
                at = payload + size
            case 5:
                at += 4
            case _:
                raise ValueError("no such wire type")
        if at > len(message):
            raise ValueError("cut off")
        yield tag >> 3, begin, payload, at


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("cut off")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("no number")


def _entry(key: str, value: str) -> bytes:
    pair = _sized(1, key.encode()) + _sized(2, value.encode())
    return _sized(_METADATA_PROPS, pair)


def _sized(number: int, content: bytes) -> bytes:
    return _number(number << 3 | _BYTES) + _number(len(content)) + content


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mapped(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (ValueError, OSError):  # an empty file; a file system that maps none
            return file.read()
