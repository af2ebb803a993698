"""Segmenting all images of a folder or of object storage; stopped anywhere, it goes on where it was."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from segtool.errors import SegtoolError
from segtool.files import digest
from segtool.runtime import BackendName, Tiles, card_of
from segtool.runtime.bulk.index import INDEX, merge_parts
from segtool.runtime.bulk.map_worker import MapWorker
from segtool.runtime.bulk.storage import Storage
from segtool.runtime.bulk.worker import Work, Worker
from segtool.runtime.ray_session import check_resources, connected
from segtool.sources import no_images, result_names

if TYPE_CHECKING:
    import pyarrow as pa

_JOB = "job.json"


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        images, out: folders by path or address (s3://, gs://, file://).
        replicas: of the model.
        cpus, gpus: for each replica.
        batch: images of one size in a run.
        block: images after which a worker writes down what it has done.
        retry: also the images that failed before.
        threshold: below which confidence pixels are void.
        maps: whether images are read in windows, and results are GeoTIFFs; `bands` are then the model's channels.
    """

    model: Path
    images: str
    out: str
    backend: BackendName = "auto"
    replicas: int = 1
    cpus: float = 1
    gpus: float = 0
    batch: int = 1
    block: int = 128
    tiles: Tiles | None = None
    retry: bool = False
    threshold: float | None = None
    maps: bool = False
    bands: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Totals:
    """Numbers of images: found, with a mask, and failed; `skipped` were done before. `others` are files left alone."""

    found: int
    done: int
    failed: int
    skipped: int
    others: list[str]


def run(plan: Plan, address: str | None, progress: Callable[[int, int], None] = lambda done, total: None) -> Totals:
    """Segments the images that are not done yet.

    The results are palette PNGs (of maps GeoTIFFs) of class ids, under the names of `segtool.sources.result_names`, and
    `index.parquet`, whose columns `segtool.runtime.bulk.index.SCHEMA` names. A failed image is a row there with its
    error.

    Args:
        address: of a Ray cluster; None starts Ray on this machine.
        progress: called with the numbers of images that are finished and that there are.

    Raises:
        SegtoolError: nothing to read, nowhere to write but among the images, results of another model there, or no
            cluster.
    """
    source, target = Storage.at(plan.images), Storage.at(plan.out)
    if source.is_same(target):
        raise SegtoolError("results would lie among the images", where=plan.out, mend="choose another --out")
    found = source.found(without=target)
    paths, others = found.images, sorted([*found.videos, *found.others])
    if not paths:
        raise no_images(plan.images, others)
    _claim(target, plan)
    index = merge_parts(target)
    over = _over(index, plan.retry)
    names = dict(zip(paths, _names(paths, index), strict=True))
    left = {path: name for path, name in names.items() if path not in over}
    if left:
        skipped = len(paths) - len(left)
        work = Work(
            source,
            target,
            str(plan.model.resolve()),
            plan.backend,
            threads=max(1, int(plan.cpus)),
            batch=plan.batch,
            tiles=plan.tiles,
            threshold=plan.threshold,
            bands=plan.bands,
        )
        with connected(address):
            check_resources(plan.replicas, {"CPU": plan.cpus, "GPU": plan.gpus})
            _segment(work, left, plan, lambda done: progress(skipped + done, len(paths)))
        index = merge_parts(target)
    failed = index["error"].is_valid().to_pylist()
    there = set(paths)
    errors = sum(f for f, path in zip(failed, index["path"].to_pylist(), strict=True) if path in there)
    return Totals(len(paths), len(paths) - errors, errors, len(paths) - len(left), others)


def _over(index: "pa.Table", retry: bool) -> set[str]:
    """Images that are not to be segmented again."""
    rows = zip(index["path"].to_pylist(), index["error"].to_pylist(), strict=True)
    return {path for path, error in rows if error is None or not retry}


def _names(paths: list[str], index: "pa.Table") -> list[str]:
    """Of the masks: those that are there keep theirs, and their images' too where these are gone."""
    masks = zip(index["path"].to_pylist(), index["mask"].to_pylist(), strict=True)
    kept = {path: str(PurePosixPath(mask).with_suffix("")) for path, mask in masks if mask is not None}
    return result_names(paths, kept=kept, taken=kept.values())


def _segment(work: Work, names: dict[str, str], plan: Plan, progress: Callable[[int], None]) -> None:
    import pyarrow as pa
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # Blocks that are there from the start take no core from the workers, which may need all of them.
    whole = pa.table({"path": list(names), "name": list(names.values())})
    block = 1 if plan.maps else plan.block
    blocks = [whole.slice(i, block) for i in range(0, len(names), block)]
    finished = (
        ray.data.from_arrow(blocks)
        .map_batches(
            MapWorker if plan.maps else Worker,
            fn_constructor_args=(work,),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=plan.replicas),
            num_cpus=plan.cpus,
            num_gpus=plan.gpus,
        )
        .iter_batches(batch_size=None, prefetch_batches=0)
    )
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    done = 0
    progress(done)
    try:
        for block in finished:
            done += int(block["done"].sum() + block["failed"].sum())
            progress(done)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1][:300]
        raise SegtoolError(f"a worker failed ({reason})", mend="the same command goes on where it stopped") from error


def _claim(target: Storage, plan: Plan) -> None:
    """Results of different models are not mixed."""
    job = {
        "model_sha256": digest(plan.model),
        "images": plan.images,
        "tiles": list(plan.tiles) if plan.tiles else None,
        "classes": card_of(plan.model).names,
        "threshold": plan.threshold,
        **({"map": list(plan.bands or ())} if plan.maps else {}),
    }
    if target.exists(_JOB):
        before = json.loads(target.read(_JOB))
        different = [name for name in {**job, **before} if before.get(name) != job.get(name)]
        if different:
            raise SegtoolError(
                f"results of another job are there (other {', '.join(different)})",
                where=plan.out,
                mend="choose another --out",
            )
        return
    if target.exists(INDEX):
        raise SegtoolError(f"{INDEX} without {_JOB}", where=plan.out, mend="choose another --out")
    try:
        target.write(_JOB, json.dumps(job, indent=2).encode())
    except OSError as error:
        raise SegtoolError(f"cannot write ({error})", where=plan.out, mend="choose another --out") from error
