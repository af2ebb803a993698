"""What has been done: Parquet files beside the masks.

While a job runs, every block of images adds a file to `index/`; when it ends, they become one `index.parquet`.
"""

import io
import uuid
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segtool.runtime.bulk.storage import Storage

SCHEMA = pa.schema(
    [
        ("path", pa.string()),  # of the image, relative to the images
        ("mask", pa.string()),  # relative to the results; null where it failed
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("mean_confidence", pa.float32()),
        ("class_pixels", pa.list_(pa.int64())),  # by class id
        ("error", pa.string()),  # null where it did not fail
    ]
)
INDEX = "index.parquet"
_PARTS = "index"


def write_part(target: Storage, rows: list[dict[str, Any]]) -> None:
    """Adds what became of some images, all of it or nothing."""
    _write(target, f"{_PARTS}/{uuid.uuid4().hex}.parquet", pa.Table.from_pylist(rows, SCHEMA))


def read_index(target: Storage) -> pa.Table:
    """What became of every image so far, each once; a success rather than a failure."""
    parts = parts_of(target)
    files = [INDEX, *parts] if target.exists(INDEX) else parts
    tables = [pq.read_table(io.BytesIO(target.read(name)), schema=SCHEMA) for name in files]
    # Parts have no order, so that a success counts whichever came last.
    whole = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    rows: dict[str, int] = {}
    failed = whole["error"].is_valid().to_pylist()
    for row, path in enumerate(whole["path"].to_pylist()):
        if path not in rows or not failed[row]:
            rows[path] = row
    return whole.take(pa.array(sorted(rows.values()), pa.int64()))


def parts_of(target: Storage) -> list[str]:
    """The files of blocks that are not in `index.parquet` yet."""
    found = (PurePosixPath(path) for path in target.files(_PARTS))
    return sorted(str(path) for path in found if path.suffix == ".parquet" and not path.name.startswith("."))


def merge_parts(target: Storage) -> pa.Table:
    """Makes one `index.parquet` of all parts; stopped anywhere, nothing is lost."""
    parts = parts_of(target)
    table = read_index(target).sort_by("path")
    if parts or not target.exists(INDEX):
        _write(target, INDEX, table)
    for name in parts:
        target.remove(name)
    return table


def _write(target: Storage, name: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    target.write(name, buffer.getvalue())
