"""Files in a folder of this machine or in object storage."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyarrow import ArrowException, fs

from segtool.errors import SegtoolError
from segtool.sources import Found, sort_out

_PIECE = 8 << 20  # bytes


@dataclass(frozen=True)
class Storage:
    """A folder, wherever it is; can be sent to other processes.

    Attributes:
        name: as the user wrote it.
        system: the file system.
        base: the folder in it.
    """

    name: str
    system: fs.FileSystem
    base: str

    @classmethod
    def at(cls, name: str) -> "Storage":
        """A folder by path or address (s3://, gs://, file://).

        Raises:
            SegtoolError: an address that is not understood.
        """
        with _in_one_line(name):
            address = name if "://" in name else Path(name).resolve().as_uri()
            system, base = fs.FileSystem.from_uri(address)
            return cls(name, system, base)

    def is_same(self, other: "Storage") -> bool:
        """Whether another folder is this one."""
        return self.system.equals(other.system) and PurePosixPath(other.base) == PurePosixPath(self.base)

    def files(self, folder: str = "") -> list[str]:
        """All files below a folder, relative to the base."""
        with _in_one_line(self.name):
            found = self.system.get_file_info(
                fs.FileSelector(self._path(folder), recursive=True, allow_not_found=bool(folder))
            )
        return [str(PurePosixPath(info.path).relative_to(self.base)) for info in found if info.is_file]

    def found(self, without: "Storage") -> Found:
        """The images and what else there is, but for what is in another folder."""
        below = f"{without.base}/"
        inside = self.system.equals(without.system)
        return sort_out(path for path in self.files() if not (inside and self._path(path).startswith(below)))

    def read(self, path: str) -> bytes:
        """A file's bytes.

        Raises:
            SegtoolError: it cannot be read.
        """
        with _in_one_line(path), self.system.open_input_stream(self._path(path)) as stream:
            return stream.read()

    def local(self, path: str) -> Path | None:
        """Where a file lies on this machine; None in object storage."""
        return Path(self._path(path)) if isinstance(self.system, fs.LocalFileSystem) else None

    def fetch(self, path: str, copy: Path) -> None:
        """Copies a file to this machine, a piece at a time.

        Raises:
            SegtoolError: it cannot be read, or the copy not be written.
        """
        with _in_one_line(path), self.system.open_input_stream(self._path(path)) as stream, copy.open("wb") as file:
            while piece := stream.read(_PIECE):
                file.write(piece)

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        with _in_one_line(path):
            return self.system.get_file_info(self._path(path)).is_file

    def write(self, path: str, data: bytes) -> None:
        """Writes a file, whole or not at all; folders are made.

        Raises:
            OSError: it cannot be written, which is no fault of one image.
        """
        full = self._path(path)
        if not isinstance(self.system, fs.LocalFileSystem):
            with self.system.open_output_stream(full) as stream:  # an object is there when it is closed
                stream.write(data)
            return
        folder = PurePosixPath(full).parent
        temporary = str(folder / f".{uuid.uuid4().hex}.tmp")
        self.system.create_dir(str(folder), recursive=True)
        try:
            with self.system.open_output_stream(temporary) as stream:
                stream.write(data)
            self.system.move(temporary, full)
        except BaseException:
            with suppress(OSError):  # what went wrong is to be seen, not that nothing is there to be removed
                self.system.delete_file(temporary)
            raise

    def remove(self, path: str) -> None:
        """Removes a file."""
        self.system.delete_file(self._path(path))

    def _path(self, path: str) -> str:
        return str(PurePosixPath(self.base) / path)


@contextmanager
def _in_one_line(where: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise SegtoolError("no such file or folder", where=where) from error
    except (OSError, ArrowException) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise SegtoolError(f"cannot be read ({reason[:200]})", where=where) from error
