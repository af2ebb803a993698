"""Maps in an actor of Ray Data: each is read in windows where it lies, or fetched first, and written as GeoTIFF."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtool.errors import NoMoreRoom, SegtoolError
from segtool.runtime import load
from segtool.runtime.bulk.index import write_part
from segtool.runtime.bulk.storage import Storage
from segtool.runtime.bulk.worker import Work
from segtool.runtime.maps.job import map_job, segment_file
from segtool.runtime.maps.segment import Part


class MapWorker:
    """Loads the model once, and segments blocks of maps."""

    def __init__(self, work: Work) -> None:
        self.work = work
        model = load(Path(work.model), backend=work.backend, threads=work.threads)
        self._job = map_job(model, model.card, work.tiles, work.bands, work.threshold)

    def __call__(self, block: dict[str, NDArray[Any]]) -> dict[str, list[int]]:
        """As `segtool.runtime.bulk.worker.Worker`; what became of a map is written down when it is done."""
        failed = 0
        for path, name in zip(map(str, block["path"]), map(str, block["name"]), strict=True):
            try:
                row = self._segment(path, f"{name}.tif")
            except NoMoreRoom as error:  # no fault of the map: the job stops, and goes on when there is room
                raise OSError(str(error)) from error
            except SegtoolError as error:
                row = {"path": path, "error": f"{error.what}: {error.mend}" if error.mend else error.what}
                failed += 1
            write_part(self.work.out, [row])
        return {"done": [len(block["path"]) - failed], "failed": [failed]}

    def _segment(self, path: str, mask: str) -> dict[str, Any]:
        found = _Counted(len(self._job.card.classes))
        with _fetched(self.work.images, path) as source, _sent(self.work.out, mask) as target:
            segment_file(source, target, self._job, look=found.add, threads=self.work.threads)
        return {"path": path, "mask": mask, **found.row()}


class _Counted:
    """What the index says of a map, part by part."""

    def __init__(self, classes: int) -> None:
        self._pixels = np.zeros(classes, np.int64)
        self._height = self._width = self._confidence = self._seen = 0.0

    def add(self, part: Part) -> None:
        self._pixels += np.bincount(part.labels.ravel(), minlength=256)[: len(self._pixels)]
        self._height, self._width = max(self._height, part.rows.stop), max(self._width, part.columns.stop)
        self._confidence += float(part.confidence.sum(dtype=np.float64))
        self._seen += part.confidence.size

    def row(self) -> dict[str, Any]:
        return {
            "height": int(self._height),
            "width": int(self._width),
            "mean_confidence": self._confidence / max(self._seen, 1),
            "class_pixels": self._pixels.tolist(),
        }


@contextmanager
def _fetched(storage: Storage, path: str) -> Iterator[Path]:
    """A file on this machine."""
    if (local := storage.local(path)) is not None:
        yield local
        return
    with TemporaryDirectory(prefix="segtool-") as folder:
        copy = Path(folder) / Path(path).name
        storage.fetch(path, copy)
        yield copy


@contextmanager
def _sent(storage: Storage, path: str) -> Iterator[Path]:
    """A file on this machine that lies in the storage in the end."""
    if (target := storage.local(path)) is not None:
        yield target
        return
    with TemporaryDirectory(prefix="segtool-") as folder:
        copy = Path(folder) / Path(path).name
        yield copy
        storage.write(path, copy.read_bytes())
