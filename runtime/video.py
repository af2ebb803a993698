"""Segmenting videos, with PyAV (FFmpeg's libraries)."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from segtool.drawing import overlay
from segtool.errors import SegtoolError
from segtool.files import atomic_path, refuse_pipe
from segtool.prediction import Prediction
from segtool.runtime.pipeline import run_overlapped

Image = NDArray[np.uint8]
Progress = Callable[[int, int], None]


def segment_video(
    source: Path,
    target: Path,
    predict: Callable[[Sequence[Image]], Sequence[Prediction]],
    colors: list[tuple[int, int, int]],
    *,
    batch: int = 1,
    concurrency: int = 1,
    each: Callable[[int, Prediction], None] | None = None,
    note: str = "",
    progress: Progress = lambda done, total: None,
) -> int:
    """Writes a video with the labels laid over it; decoding, inference and encoding overlap.

    Args:
        target: H.264 in the container that its suffix names. Frames keep their times and are upright, however the
            camera was held; sides are cut to even numbers, which the format asks for. There is no sound.
        predict: of frames uint8 [H,W,3] of one size.
        colors: of the classes.
        batch: frames at a time.
        concurrency: calls of `predict` at once.
        each: called with the number of each frame, from 0, and its prediction.
        note: text that is kept in the file, for `video_note`.

    Returns:
        How many frames there were.

    Raises:
        SegtoolError: not a readable video, or a frame cannot be predicted.
    """
    refuse_pipe(source)
    try:
        with av.open(str(source)) as reader, atomic_path(target) as temporary:
            if not reader.streams.video:
                raise SegtoolError("there is no video in it", where=source)
            stream = reader.streams.video[0]
            stream.thread_type = "AUTO"
            with av.open(str(temporary), "w", format=_container(target)) as writer:
                writer.metadata["comment"] = note
                return _copy(
                    reader, writer, predict, colors, {"batch": batch, "concurrency": concurrency}, each, progress
                )
    except FFmpegError as error:
        raise SegtoolError(f"not a readable video ({error.strerror})", where=source) from error


def video_note(path: Path) -> str:
    """The note of a video that `segment_video` wrote.

    Raises:
        SegtoolError: not a readable video.
    """
    try:
        with av.open(str(path)) as reader:
            return reader.metadata.get("comment", "")
    except FFmpegError as error:
        raise SegtoolError(f"not a readable video ({error.strerror})", where=path) from error


def _copy(
    reader: Any,
    writer: Any,
    predict: Callable[[Sequence[Image]], Sequence[Prediction]],
    colors: list[tuple[int, int, int]],
    pace: dict[str, int],
    each: Callable[[int, Prediction], None] | None,
    progress: Progress,
) -> int:
    source = reader.streams.video[0]
    decoded = reader.decode(video=0)
    first = next(decoded, None)
    if first is None:
        raise SegtoolError("there are no frames in it", where=reader.name)
    height, width = _upright(first).shape[:2]
    out = writer.add_stream("libx264", rate=source.average_rate or 25)
    out.width, out.height = width // 2 * 2, height // 2 * 2
    out.pix_fmt, out.time_base = "yuv420p", source.time_base
    out.codec_context.time_base = source.time_base

    def write(numbered: tuple[int, Any], image: Image, prediction: Prediction) -> None:
        number, frame = numbered
        mixed = overlay(image, prediction.labels, colors)[: out.height, : out.width]
        drawn = av.VideoFrame.from_ndarray(np.ascontiguousarray(mixed), format="rgb24")
        drawn.pts, drawn.time_base = frame.pts, frame.time_base
        writer.mux(out.encode(drawn))
        if each is not None:
            each(number, prediction)

    frames: Iterator[tuple[int, Any]] = enumerate(itertools.chain([first], decoded))
    done = 0
    settings = {"readers": 1, "writers": 1, **pace}
    for _, error in run_overlapped(frames, lambda f: _upright(f[1]), predict, write, weigh=lambda f: 0, **settings):
        if error is not None:
            raise error
        done += 1
        progress(done, source.frames or done)
    writer.mux(out.encode(None))
    return done


def _upright(frame: Any) -> Image:
    """The picture as it is shown: phones record lying and note how they were held."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


def _container(target: Path) -> str:
    names = {".mkv": "matroska", ".m4v": "mp4"}
    return names.get(target.suffix.lower(), target.suffix.lower().removeprefix("."))
