"""The TensorRT backend on a device and an engine that are played by the processor and ONNX Runtime.

The classes that play have the real ones' signatures (TensorRT's bindings, cuda.core), which is checked too.
"""

import ctypes
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from segtool.engine import EngineRecord, Machine, Profile, record_path, write_record
from segtool.errors import SegtoolError
from segtool.export.difference import Case
from segtool.export.parity import verify
from segtool.runtime import load, tensorrt_engine, tensorrt_slots
from segtool.runtime.cuda_device import device_view, this_machine

from ..tensorrt_api import conforming, module_of, signatures

HERE = Machine(tensorrt="11.4.0.106", gpu="Played GPU", compute_capability="9.0", driver="580.65")


class Buffer:
    """Memory of the processor behind an address; counts what is not given back."""

    alive = 0

    def __init__(self, size):
        self.memory = (ctypes.c_uint8 * size)()
        self.handle, self.size = ctypes.addressof(self.memory), size
        Buffer.alive += 1

    def copy_to(self, dst, *, stream):
        stream.do(lambda: ctypes.memmove(dst.handle, self.handle, self.size))

    def close(self):
        Buffer.alive -= 1

    def array(self, shape, dtype):
        return np.frombuffer(self.memory, dtype)[: math.prod(shape)].reshape(shape)


class Stream:
    def __init__(self, handle):
        self.handle, self.recorded = handle, None

    def do(self, call):
        """Runs a call, or remembers it while a graph is captured."""
        if self.recorded is None:
            call()
        else:
            self.recorded.append(call)

    def sync(self):
        pass

    def wait(self, event_or_stream):
        assert self.recorded is None, "a stream that is captured waits for nothing outside"

    def close(self):
        pass

    def create_graph_builder(self):
        return GraphBuilder(self)


class GraphBuilder:
    """Remembers what is run between begin and end, to run it again."""

    def __init__(self, stream):
        self.stream = stream

    def begin_building(self):
        self.stream.recorded = []

    def end_building(self):
        self.calls, self.stream.recorded = self.stream.recorded, None
        return self

    def complete(self):
        return self

    def launch(self, stream):
        assert self.calls
        for call in self.calls:
            call()

    def close(self):
        self.calls = None


class Device:
    name, compute_capability = "Played GPU", SimpleNamespace(major=9, minor=0)
    limit = 1 << 30

    def __init__(self):
        self.streams = {}

    def set_current(self):
        pass

    def create_stream(self):
        stream = Stream(7 + len(self.streams))  # the first is the one that is computed on
        self.streams[stream.handle] = stream
        return stream

    def allocate(self, size, *, stream):
        if size > self.limit:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        return Buffer(size)


class Played:
    """An execution context whose work ONNX Runtime does, on the addresses that it was given."""

    def __init__(self, model, device):
        self.model, self.device, self.addresses = model, device, {}
        self.outputs = {o.name: o for o in model.backend.session.get_outputs()}
        self.kinds = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
        self.status = (10, 0)
        self.executed = 0

    def shape_of(self, name):
        n, height, width, _ = self.shape
        if name == "lattice_status":
            return (2,)
        return (n, len(self.model.card.classes), height, width) if name == "probabilities" else (n, height, width)

    def execute(self, stream, shape, addresses):
        assert stream == 7
        self.executed += 1
        image = np.frombuffer((ctypes.c_uint8 * math.prod(shape)).from_address(addresses["image"]), np.uint8)
        found = self.model.backend.run(image.reshape(shape))
        found["lattice_status"] = np.array(self.status, np.int32)
        for name, values in found.items():
            ctypes.memmove(addresses[name], np.ascontiguousarray(values).ctypes.data, values.nbytes)


@pytest.fixture
def engine(tensorrt_bindings, tiny_onnx, tmp_path, monkeypatch):
    """An engine file, and everything that it needs, played."""
    real, card = tensorrt_bindings, load(tiny_onnx).card
    path, device = tmp_path / "m.engine", Device()
    path.write_bytes(b"plan")
    profile = Profile(min=(1, 16, 16, 3), opt=(1, 48, 64, 3), max=(4, 128, 160, 3))
    write_record(path, EngineRecord(source="m.onnx", machine=HERE, profile=profile, vertices_per_pixel=0.5, card=card))
    played = Played(load(tiny_onnx), device)
    context = conforming(real.IExecutionContext)
    checked = context.execute_async_v3.side_effect

    def execute(stream):
        checked(stream)
        shape, addresses = played.shape, dict(played.addresses)  # what is captured keeps those of its time
        device.streams[stream].do(lambda: played.execute(stream, shape, addresses))
        return True

    def set_shape(name, shape):
        played.shape = shape
        return True

    def set_address(name, address):
        played.addresses[name] = address
        return True

    context.execute_async_v3.side_effect = execute
    context.set_input_shape.side_effect = set_shape
    context.set_tensor_address.side_effect = set_address
    context.get_tensor_shape.side_effect = played.shape_of
    names = ["image", *played.outputs, "lattice_status"]
    kinds = {
        "labels": "UINT8",
        "unary_labels": "UINT8",
        "confidence": "FLOAT",
        "probabilities": "FLOAT",
        "lattice_status": "INT32",
    }
    deserialized = conforming(real.ICudaEngine, create_execution_context=context, num_io_tensors=len(names))
    deserialized.get_tensor_name.side_effect = names.__getitem__
    mode = real.TensorIOMode
    deserialized.get_tensor_mode.side_effect = lambda name: mode.INPUT if name == "image" else mode.OUTPUT
    deserialized.get_tensor_dtype.side_effect = lambda name: getattr(real.DataType, kinds[name])
    trt = module_of(
        real,
        "tensorrt_running",
        Runtime=Mock(return_value=conforming(real.Runtime, deserialize_cuda_engine=deserialized)),
        Logger=Mock(WARNING=real.ILogger.Severity.WARNING),
        get_plugin_registry=Mock(return_value=conforming(real.IPluginRegistry, register_creator=True)),
    )
    monkeypatch.setattr(tensorrt_engine, "tensorrt", lambda: trt)
    monkeypatch.setattr(tensorrt_engine, "cuda_device", lambda: device)
    monkeypatch.setattr(tensorrt_engine, "this_machine", lambda *_: HERE)
    monkeypatch.setattr(tensorrt_engine, "buffer_view", lambda buffer, *kind: buffer.array(*kind))
    monkeypatch.setattr("cuda.core.LegacyPinnedMemoryResource", lambda: SimpleNamespace(allocate=Buffer))
    return SimpleNamespace(path=path, played=played, device=device, trt=trt, onnx=tiny_onnx)


def test_verification_gives_it_what_it_takes(engine, tiny_run, photo):
    small, large = photo[:40, :56].copy(), np.tile(photo, (2, 1, 1))[:150, :60].copy()
    (record,) = verify(tiny_run, engine.path, [Case(small), Case(large)])
    assert record.passed
    assert record.shapes == ["1x128x60", "1x27x39", "1x40x56", "1x91x41", "2x128x60", "2x40x56"]


def test_the_played_device_has_the_real_ones_signatures():
    core = pytest.importorskip("cuda.core")
    from cuda.core import graph

    for real, played, names in (
        (core.Device, Device, ("set_current", "create_stream", "allocate")),
        (core.Buffer, Buffer, ("copy_to", "close")),
        (core.Stream, Stream, ("sync", "wait", "close", "create_graph_builder")),
        (graph.GraphBuilder, GraphBuilder, ("begin_building", "end_building", "complete")),
        (graph.Graph, GraphBuilder, ("launch", "close")),
    ):
        for name in names:
            (known,) = signatures(name, getattr(real, name).__doc__)
            code = getattr(played, name).__code__
            used = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
            assert set(used) <= {argument for argument, _ in known}, f"{real.__name__}.{name}"
    assert callable(core.system.get_kernel_mode_driver_version)
    assert {"name", "compute_capability"} <= set(dir(core.Device))
    assert callable(core.LegacyPinnedMemoryResource.allocate)


def test_engine_answers_as_the_file_does(engine, photo):
    model, expected = load(engine.path), load(engine.onnx)
    for size, start in (((48, 64), 0), ((97, 131), 0), ((48, 64), 9)):
        image = photo[start : start + size[0], start : start + size[1]].copy()
        got, wanted = model(image), expected(image)
        np.testing.assert_array_equal(got.labels, wanted.labels)
        np.testing.assert_array_equal(got.unary_labels, wanted.unary_labels)
        np.testing.assert_array_equal(got.confidence, wanted.confidence)
    images = [photo[:48, :64].copy(), photo[40:88, 30:94].copy()]
    for one, other in zip(model.batch(images), expected.batch(images), strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
    # One run before the graph of each of three shapes, and one for each of four calls.
    assert engine.played.executed == 3 + 4
    assert model.card.names[0] == "ground"


def test_answers_stay_when_the_next_image_comes(engine, photo):
    model = load(engine.path)
    first = model(photo[:48, :64].copy())
    kept = first.labels.copy()
    model(255 - photo[:48, :64])
    np.testing.assert_array_equal(first.labels, kept)


def test_few_shapes_are_kept_and_memory_is_given_back(engine, photo):
    model, before = load(engine.path), Buffer.alive
    for height in range(40, 40 + 2 * tensorrt_slots.SHAPES):
        model(photo[:height, :64].copy())
    tensors = 6  # image, labels, confidence, unary_labels, probabilities, lattice_status
    assert Buffer.alive - before == 2 * tensors * tensorrt_slots.SHAPES


def test_out_of_memory_is_one_line_and_not_the_end(engine, photo):
    model, before = load(engine.path), Buffer.alive
    engine.device.limit = 1000
    with pytest.raises(SegtoolError, match=r"the GPU refused .*OUT_OF_MEMORY.*smaller batches or tiles"):
        model(photo[:48, :64].copy())
    assert Buffer.alive == before
    engine.device.limit = 1 << 30
    assert model(photo[:48, :64].copy()).labels.shape == (48, 64)


def test_a_lattice_that_does_not_fit_is_refused(engine, photo):
    model = load(engine.path)
    engine.played.status = (20000, 1)
    with pytest.raises(SegtoolError, match="more lattice vertices.*segtool build m.onnx --vertices-per-pixel 1"):
        model(photo[:48, :64].copy())
    engine.played.status = (20, 0)
    model(photo[:48, :64].copy())


def test_images_that_the_engine_was_not_built_for(engine):
    model = load(engine.path)
    with pytest.raises(SegtoolError, match=r"takes images from \[1, 16, 16, 3\].*segtool build m.onnx --max"):
        model(np.zeros((8, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("tensorrt", "10.9.0", "built for TensorRT 10.9.0, and this is 11.4"),
        ("gpu", "Other GPU", r"built for GPU Other GPU \(9.0\), and this is Played GPU"),
    ],
)
def test_engine_of_another_machine(engine, field, value, message):
    record = EngineRecord.model_validate_json(record_path(engine.path).read_text())
    write_record(engine.path, record.model_copy(update={"machine": HERE.model_copy(update={field: value})}))
    with pytest.raises(SegtoolError, match=f"{message}.*segtool build m.onnx"):
        load(engine.path)


def test_broken_files(engine, tmp_path):
    engine.trt.Runtime.return_value.deserialize_cuda_engine.return_value = None
    with pytest.raises(SegtoolError, match="cannot read the engine.*segtool build m.onnx"):
        load(engine.path)
    record_path(engine.path).write_text("{")
    with pytest.raises(SegtoolError, match="not the record of an engine"):
        load(engine.path)
    record_path(engine.path).unlink()
    with pytest.raises(SegtoolError, match="record is missing"):
        load(engine.path)
    with pytest.raises(SegtoolError, match="no such engine"):
        load(tmp_path / "none.engine")


def test_threads_share_an_engine(engine, photo):
    model = load(engine.path)
    images = [np.ascontiguousarray(photo[i : i + 48, :64]) for i in range(8)]
    expected = [model(image).labels for image in images]
    with ThreadPoolExecutor(8) as pool:
        for got, labels in zip(pool.map(lambda i: model(i).labels, images * 3), expected * 3, strict=True):
            np.testing.assert_array_equal(got, labels)


def test_the_next_image_is_uploaded_while_one_is_computed(engine, photo):
    """The first run is let go only when the second image has come to the device."""
    model, shape = load(engine.path), (1, 48, 64, 3)
    images = [np.ascontiguousarray(photo[i : i + 48, :64]) for i in range(2)]
    slots = model.backend._slots
    with slots.taken(shape), slots.taken(shape):  # made now: what follows only runs
        pass
    assert len(engine.device.streams) == 3
    came, gone = threading.Semaphore(0), Buffer.copy_to

    def copy_to(self, dst, *, stream):
        gone(self, dst, stream=stream)
        if dst.size == math.prod(shape):  # an upload: no output is as large
            came.release()

    def execute(*arguments, _execute=engine.played.execute):
        assert came.acquire(timeout=10)
        assert came.acquire(timeout=10), "the second image waits for the first to be computed"
        came.release(2)  # for the second run
        return _execute(*arguments)

    engine.played.execute, Buffer.copy_to = execute, copy_to
    try:
        with ThreadPoolExecutor(model.concurrency) as pool:
            for got, image in zip(pool.map(model, images), images, strict=True):
                np.testing.assert_array_equal(got.labels, load(engine.onnx)(image).labels)
    finally:
        Buffer.copy_to = gone


def test_no_room_for_a_second_slot_is_no_failure(engine, photo):
    model, image = load(engine.path), photo[:48, :64].copy()
    slots, shape = model.backend._slots, (1, 48, 64, 3)
    with ThreadPoolExecutor(1) as pool:
        with slots.taken(shape):
            engine.device.limit = 10
            answer = pool.submit(model, image)
            while slots._shapes[shape].limit == tensorrt_slots.SLOTS:
                assert not answer.done()
        assert answer.result(10).labels.shape == (48, 64)


def test_images_of_the_device_stay_there(engine, photo, monkeypatch):
    """A NumPy array stands for one of the device: a view of it is taken in the same way."""
    from cuda.core.utils import StridedMemoryView

    monkeypatch.setattr(tensorrt_engine, "device_view", lambda array, _: StridedMemoryView.from_dlpack(array, -1))
    model, image = load(engine.path), np.ascontiguousarray(photo[None, :48, :64])
    outputs = model.on_device(image)
    expected = load(engine.onnx)(image[0])
    assert set(outputs) == {"labels", "confidence", "unary_labels", "probabilities"}
    np.testing.assert_array_equal(outputs["labels"][0], expected.labels)
    np.testing.assert_array_equal(outputs["confidence"][0], expected.confidence)
    np.testing.assert_array_equal(model(image[0]).labels, expected.labels)


def test_arrays_that_cannot_stay_on_the_device():
    pytest.importorskip("cuda.core")
    stream = Stream(-1)
    with pytest.raises(SegtoolError, match="does not lie on the device"):
        device_view(np.zeros((1, 4, 4, 3), np.uint8), stream)
    with pytest.raises(SegtoolError, match="cannot be taken over.*list"):
        device_view([1], stream)


def test_this_machine_as_cuda_core_tells_it(monkeypatch):
    core = pytest.importorskip("cuda.core")
    monkeypatch.setattr(core.system, "get_kernel_mode_driver_version", lambda: (580, 65))
    assert this_machine(SimpleNamespace(__version__="11.4.0.106"), Device()) == HERE


def test_without_a_gpu_it_says_what_is_missing():
    with pytest.raises(SegtoolError, match="segtool doctor"):
        from segtool.runtime.cuda_device import tensorrt

        tensorrt()
