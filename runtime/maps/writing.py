"""Writing labels of large images in windows, with the place on earth that they have."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segtool.errors import NoMoreRoom, SegtoolError
from segtool.files import atomic_path, temporary_path
from segtool.gdal import gdal, rasterio_api, window_of
from segtool.prediction import VOID
from segtool.runtime.maps.reading import Map
from segtool.runtime.maps.segment import Part

_BLOCK = 512  # pixels, side of a block of a TIFF


def write_labels(
    path: Path, source: Map, parts: Iterable[Part], colors: Sequence[tuple[int, int, int]], note: str
) -> None:
    """Writes labels as a cloud-optimised GeoTIFF with overviews and a palette, in the source's place; whole or not.

    Args:
        parts: labels with void where nothing is to be said.
        note: is kept in the file as SEGTOOL.

    Raises:
        SegtoolError: the file cannot be written, or what `parts` raises.
    """
    plain = temporary_path(path)  # a cloud-optimised file cannot be written in parts
    try:
        with gdal() as rasterio:
            with _written(path):
                file = rasterio.open(plain, "w", **_profile(source))
            with file:
                file.write_colormap(1, {i: (*color, 255) for i, color in enumerate(colors)} | {VOID: (0, 0, 0, 0)})
                file.update_tags(SEGTOOL=note)
                for part in parts:
                    with _written(path):
                        file.write(part.labels, 1, window=window_of(part.rows, part.columns))
            with atomic_path(path) as temporary, _written(path):
                options = {"compress": "deflate", "overview_resampling": "mode", "bigtiff": "if_safer"}
                rasterio.shutil.copy(plain, temporary, driver="COG", **options)
                if _checksums(plain)[0] != _checksums(temporary)[0]:  # GDAL may not say that the disk is full
                    raise OSError("what was written is not what can be read")
    finally:
        plain.unlink(missing_ok=True)


def _profile(source: Map) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "height": source.height,
        "width": source.width,
        "nodata": VOID,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "bigtiff": "if_safer",
        **source.place,
    }


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """GDAL's errors, which share no public class, as that of a file that cannot be written."""
    try:
        yield
    except SegtoolError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NoMoreRoom("cannot write the map", where=path, mend=f"{reason}; choose another --out") from error


def _checksums(path: Path) -> list[int]:
    """Of the labels and of each overview; all of the file is read.

    Raises:
        Exception: of GDAL, if it cannot be.
    """
    rasterio = rasterio_api()
    with rasterio.open(path, driver="GTiff") as file:
        levels = range(len(file.overviews(1)))
        found = [file.checksum(1)]
    for level in levels:
        with rasterio.open(path, driver="GTiff", overview_level=level) as file:
            found.append(file.checksum(1))
    return found


def note_of_map(path: Path) -> str:
    """The note of a map that is whole; empty where there is none."""
    with gdal() as rasterio:
        try:
            with rasterio.open(path, driver="GTiff") as file:
                note = str(file.tags().get("SEGTOOL", ""))
            return note if note and _checksums(path) else ""
        except Exception:  # of GDAL: whatever is wrong with it, it is to be written anew
            return ""


def is_map_of_ours(path: Path) -> bool:
    """Whether segtool wrote a file, whole or not."""
    with gdal() as rasterio:
        try:
            with rasterio.open(path, driver="GTiff") as file:
                return "SEGTOOL" in file.tags()
        except rasterio.errors.RasterioError:
            return False
