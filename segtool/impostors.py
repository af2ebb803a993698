"""Files that are not what their names say: what downloads and checkouts leave where the real file should be."""

from pathlib import Path

from segtool.errors import SegtoolError

_LOOK = 256  # bytes
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


def impostor(path: Path) -> SegtoolError | None:
    """The error for a file that is empty, a Git LFS pointer or a web page; None for any other, also one that is not
    there."""
    try:
        with path.open("rb") as file:
            start = file.read(_LOOK)
    except OSError:
        return None
    if not start:
        return SegtoolError("the file is empty", where=path, mend="copy or download it again")
    if start.startswith(b"version https://git-lfs"):
        return SegtoolError("a Git LFS pointer instead of the file", where=path, mend="git lfs pull")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        return SegtoolError("a web page instead of the file", where=path, mend="download the file itself")
    return None
