"""Segmenting images and videos of this machine; stopped anywhere, it can go on where it was."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from segtool.card import ModelCard
from segtool.drawing import blended, label_map_note, save_image, save_label_map
from segtool.errors import NoMoreRoom, SegtoolError
from segtool.files import digest
from segtool.images import opened_image
from segtool.prediction import Prediction, voided
from segtool.readers import Image, Missing, reader_of
from segtool.runtime.pipeline import run_overlapped
from segtool.runtime.tiles import Tiles
from segtool.sources import find, is_video, result_names

Predict = Callable[[Sequence[Image]], Sequence[Prediction]]
Progress = Callable[[int, int], None]
Outcomes = list[SegtoolError | None]


class Task(NamedTuple):
    """A file to segment, and where its results go, without their endings."""

    source: Path
    target: Path

    @property
    def mask(self) -> Path:
        return self.target.with_name(f"{self.target.name}.png")

    @property
    def overlay(self) -> Path:
        ending = "mp4" if is_video(self.source) else "jpg"
        return self.target.with_name(f"{self.target.name}_overlay.{ending}")

    @property
    def results(self) -> list[Path]:
        """For an image its mask and overlay, for a video its overlay."""
        return [self.overlay] if is_video(self.source) else [self.mask, self.overlay]


class Tasks(NamedTuple):
    """What is to be done, and the files of folders that are left alone."""

    images: list[Task]
    videos: list[Task]
    others: list[str]


@dataclass(frozen=True)
class Job:
    """How files are segmented.

    Attributes:
        origin: of results, see `origin_of`.
        batch: images of one size, or frames, in a run.
        concurrency: runs at once.
        frames: of a video, also write the mask of each frame.
    """

    predict: Predict
    card: ModelCard
    origin: str
    batch: int = 1
    concurrency: int = 1
    frames: bool = False


def tasks_of(entries: Sequence[Path], out: Path, *, check: bool = True) -> Tasks:
    """The images and videos among files, in folders and below them; `out` may be one of those below.

    Args:
        check: whether masks and overlays would overwrite an image.

    Raises:
        SegtoolError: results would lie among the images, or one would overwrite an image.
    """
    images: list[tuple[Path, str]] = []
    videos: list[tuple[Path, str]] = []
    others: list[str] = []
    for entry in entries:
        if not entry.is_dir():
            (videos if is_video(entry) else images).append((entry, entry.name))
            continue
        if os.path.realpath(entry) == os.path.realpath(out):
            raise SegtoolError("results would lie among the images", where=out, mend="choose another --out")
        found = find(entry, without=out)
        images += [(entry / path, path) for path in found.images]
        videos += [(entry / path, path) for path in found.videos]
        others += found.others
    pictures = _tasks(images, out, ())
    # A video's frames get a folder of its name.
    folders = {parent.relative_to(out).as_posix() for task in pictures for parent in _folders_below(out, task.target)}
    tasks = Tasks(pictures, _tasks(videos, out, folders), others)
    if check:
        _check_overwriting(tasks)
    return tasks


def _tasks(files: Sequence[tuple[Path, str]], out: Path, taken: Sequence[str] | set[str]) -> list[Task]:
    names = result_names([path for _, path in files], taken=taken)
    return [Task(source, out / name) for (source, _), name in zip(files, names, strict=True)]


def _folders_below(out: Path, target: Path) -> Iterator[Path]:
    return (parent for parent in target.parents if parent != out and parent.is_relative_to(out))


def _check_overwriting(tasks: Tasks) -> None:
    every = [*tasks.images, *tasks.videos]
    given = {os.path.realpath(task.source) for task in every}  # unlike resolve(), it bears loops of links
    for task in every:
        for result in task.results:
            if os.path.realpath(result) in given:
                raise SegtoolError("the result would overwrite an image", where=result, mend="choose another --out")


def origin_of(model: Path, tiles: Tiles | None, frames: bool, threshold: float | None = None) -> str:
    """Tells results of different models and options apart.

    Args:
        model: the file whose weights are run.
        threshold: below which confidence pixels are void.
    """
    return json.dumps([digest(model), tiles, frames, *([] if threshold is None else [threshold])])


def note_of(origin: str, source: Path) -> str:
    """What a result notes of how it was made: from which file, of which size and time, and its `origin_of`.

    Raises:
        SegtoolError: the file is not there.
    """
    try:
        file = source.stat()
    except OSError as error:
        raise SegtoolError("cannot read the file", where=source, mend=error.strerror) from error
    made_of = json.dumps([origin, os.path.realpath(source), file.st_size, file.st_mtime_ns])
    return hashlib.sha256(made_of.encode()).hexdigest()[:32]


def is_done(task: Task, origin: str) -> bool:
    """Whether the results are there and whole, of this model, these options and the file as it is."""
    try:
        if not all(result.is_file() for result in task.results):
            return False
        note = note_of(origin, task.source)
        if is_video(task.source):
            from segtool.runtime.video import video_note

            return video_note(task.overlay) == note
        if label_map_note(task.mask) != note:
            return False
        with opened_image(task.overlay) as image:
            image.load()  # whoever else writes there may have cut it short
        return True
    except (OSError, SegtoolError):
        return False


def segment_images(tasks: Sequence[Task], job: Job, progress: Progress) -> Outcomes:
    """Writes mask and overlay of each image; reading, inference and writing overlap.

    Returns:
        What went wrong with each, or None; up to the first that there is no room for.
    """

    reader = reader_of(job.card.input)
    notes: dict[Task, str] = {}
    missing: dict[Task, Missing] = {}

    def read(task: Task) -> Image:
        notes[task] = note_of(job.origin, task.source)  # of the file that is read, whatever takes its place
        opened = reader.open(task.source)
        missing[task] = opened.missing
        return opened.values

    def write(task: Task, image: Image, prediction: Prediction) -> None:
        labels = voided(prediction, missing.pop(task)).labels
        # The mask last: where it is, both are.
        save_image(task.overlay, blended(reader.picture(image), labels, job.card.colors))
        save_label_map(task.mask, labels, job.card.colors, notes.pop(task))

    def pixels(task: Task) -> int:
        try:
            return reader.pixels(task.source)
        except SegtoolError:
            return 0  # reading it says what is wrong

    found: Outcomes = []
    pace = {"batch": job.batch, "concurrency": job.concurrency}
    for task, error in run_overlapped(tasks, read, job.predict, write, weigh=pixels, **pace):
        found.append(None if error is None else error.about(task.source))
        progress(len(found), len(tasks))
        if isinstance(error, NoMoreRoom):
            break
    return found


def segment_film(task: Task, job: Job, progress: Progress) -> SegtoolError | None:
    """Writes the overlay of a video, and the mask of each frame if they are wanted.

    Returns:
        What went wrong, or None.
    """
    if job.card.input.bands is not None:
        what = f"a video has red, green and blue, and the model takes {len(job.card.input.bands)} bands"
        return SegtoolError(what, where=task.source)
    try:
        from segtool.runtime.video import segment_video
    except ModuleNotFoundError:
        return SegtoolError("PyAV, which reads videos, is missing", where=task.source, mend=_INSTALL_VIDEO)

    def save(number: int, prediction: Prediction) -> None:
        save_label_map(task.target / f"{number:06d}.png", prediction.labels, job.card.colors)

    try:
        run = partial(segment_video, task.source, task.overlay, job.predict, job.card.colors)
        run(
            batch=job.batch,
            concurrency=job.concurrency,
            each=save if job.frames else None,
            note=note_of(job.origin, task.source),
            progress=progress,
        )
    except SegtoolError as error:
        return error.about(task.source)
    return None


_INSTALL_VIDEO = "pip install 'segtool[video]'"
