"""A model that runs as a Ray Serve deployment, with dynamic batching."""

import asyncio
import time
from collections import defaultdict
from pathlib import Path

from ray import serve
from ray.util.metrics import Counter, Histogram

from segtool.errors import SegtoolError
from segtool.prediction import Prediction, voided
from segtool.readers import Image, Read
from segtool.runtime import BackendName, load
from segtool.runtime.serving.answers import Answer, Form, encode
from segtool.runtime.serving.bodies import refusal_of
from segtool.runtime.serving.limits import Refusal

_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]


class Replica:
    """One loaded model. Images that arrive together and have one size are run together.

    Args:
        path: of the .onnx or .engine file, on the machine that this runs on.
        threads: of the runtime on the processor.
        batch: images at most in one run.
        batch_seconds: that an image waits for others.
        pixels: of an image.
    """

    def __init__(
        self,
        name: str,
        path: str,
        backend: BackendName,
        threads: int | None,
        batch: int,
        batch_seconds: float,
        pixels: int,
    ) -> None:
        self.model = load(Path(path), backend=backend, threads=threads)
        self.pixels = pixels
        self._predict.set_max_batch_size(batch)
        self._predict.set_batch_wait_timeout_s(batch_seconds)
        # Ray's histograms sum the middles of their buckets, so that what is to be divided is counted.
        self._runs = Counter("segtool_runs", "Runs of the model", ("model",))
        self._images = Counter("segtool_images", "Images segmented", ("model",))
        self._pixels = Counter("segtool_pixels", "Pixels segmented", ("model",))
        self._seconds = Histogram("segtool_run_seconds", "Seconds of one run of the model", _SECONDS, ("model",))
        for metric in (self._runs, self._images, self._pixels, self._seconds):
            metric.set_default_tags({"model": name})

    async def segment(self, data: bytes, form: Form) -> Answer:
        """Decodes, segments and encodes; decoding and encoding while other images are run.

        Raises:
            Refusal: damaged, or not of the size that the model takes; or the model could not run.
        """
        times = [time.perf_counter()]
        try:
            opened = await asyncio.to_thread(self._decode, data)
        except SegtoolError as error:
            raise refusal_of(error) from None
        times.append(time.perf_counter())
        prediction = await self._predict(opened.values)
        if isinstance(prediction, SegtoolError):
            raise Refusal(503, prediction.what, "try again later, or send a smaller image")
        times.append(time.perf_counter())
        prediction = voided(prediction, opened.missing)
        body, media_type = await asyncio.to_thread(encode, prediction, self.model.card, form)
        times.append(time.perf_counter())
        steps = zip(("decode", "segment", "encode"), times, times[1:], strict=False)
        return Answer(body, media_type, {name: end - start for name, start, end in steps})

    def _decode(self, data: bytes) -> Read:
        opened = self.model.reader.decode(data, self.pixels)
        self.model.check(opened.values)
        return opened

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)
    async def _predict(self, images: list[Image]) -> list[Prediction | SegtoolError]:
        return await asyncio.to_thread(self._run, images)

    def _run(self, images: list[Image]) -> list[Prediction | SegtoolError]:
        """A run for each size; what fails fails only the images of that run."""
        by_size = defaultdict(list)
        for index, image in enumerate(images):
            by_size[image.shape].append(index)
        found: dict[int, Prediction | SegtoolError] = {}
        for indices in by_size.values():
            start = time.perf_counter()
            try:
                found.update(zip(indices, self.model.batch([images[i] for i in indices]), strict=True))
            except SegtoolError as error:
                found.update(dict.fromkeys(indices, error))
            self._seconds.observe(time.perf_counter() - start)
            self._runs.inc()
            self._images.inc(len(indices))
            self._pixels.inc(sum(images[i].shape[0] * images[i].shape[1] for i in indices))
        return [found[i] for i in range(len(images))]
