"""The TensorRT backend on cuda.core itself, over a driver whose device is the processor (`cuda_driver/driver.cpp`).

ONNX Runtime plays the engine, behind classes with the signatures of TensorRT's own. `test_tensorrt_engine.py` runs this
in a process of its own: a driver that is once loaded is there for all that asks for CUDA.
"""

import ctypes
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import cuda.core
import numpy as np
import pytest
from cuda.core.utils import StridedMemoryView

from segtool.engine import EngineRecord, Profile, record_path, write_record
from segtool.errors import SegtoolError
from segtool.export.comparison import Case
from segtool.export.verify import verify
from segtool.runtime import load, tensorrt_engine, tensorrt_slots
from segtool.runtime.cuda_device import cuda_device, this_machine

from ..tensorrt_api import conforming, module_of
from .played_engine import DRIVER, HERE, TENSORS, Frames, Played, on_device


@pytest.fixture(scope="session")
def tiny_run():
    return Path(os.environ["SEGTOOL_TINY_RUN"])


@pytest.fixture(scope="session")
def tiny_onnx(tiny_run):
    return tiny_run / "model.onnx"


@pytest.fixture
def engine(tensorrt_bindings, tiny_onnx, tmp_path, monkeypatch):
    """An engine file, and everything that it needs, played."""
    real, card = tensorrt_bindings, load(tiny_onnx).card
    path = tmp_path / "m.engine"
    path.write_bytes(b"plan")
    profile = Profile(min=(1, 16, 16, 3), opt=(1, 48, 64, 3), max=(4, 128, 160, 3))
    write_record(path, EngineRecord(source="m.onnx", machine=HERE, profile=profile, vertices_per_pixel=0.5, card=card))
    played = Played(load(tiny_onnx))
    context = conforming(real.IExecutionContext)
    checked = context.execute_async_v3.side_effect

    def execute(stream):
        checked(stream)
        return played.enqueue(stream)

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
    # Of the driver's version there is another library, nvidia-ml.
    monkeypatch.setattr(cuda.core.system, "get_kernel_mode_driver_version", lambda: (580, 65))
    yield SimpleNamespace(path=path, played=played, trt=trt, onnx=tiny_onnx, deserialized=deserialized)
    DRIVER.played_limit(ctypes.c_size_t(1 << 30))


def test_verification_gives_it_what_it_takes(engine, tiny_run, photo):
    small, large = photo[:40, :56].copy(), np.tile(photo, (2, 1, 1))[:150, :60].copy()
    (record,) = verify(tiny_run, engine.path, [Case(small), Case(large)])
    assert record.passed
    assert record.shapes == ["1x128x60", "1x27x39", "1x40x56", "1x91x41", "2x128x60", "2x40x56"]


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
    model, before = load(engine.path), DRIVER.played_buffers()
    for height in range(40, 40 + 2 * tensorrt_slots.SHAPES):
        model(photo[:height, :64].copy())
    assert DRIVER.played_buffers() - before == 2 * TENSORS * tensorrt_slots.SHAPES


def test_out_of_memory_is_one_line_and_not_the_end(engine, photo):
    model, before = load(engine.path), DRIVER.played_buffers()
    DRIVER.played_limit(ctypes.c_size_t(1000))
    with pytest.raises(SegtoolError, match=r"the GPU refused .*OUT_OF_MEMORY.*smaller batches or tiles"):
        model(photo[:48, :64].copy())
    assert DRIVER.played_buffers() == before
    DRIVER.played_limit(ctypes.c_size_t(1 << 30))
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
    size = ctypes.c_size_t(math.prod(shape))  # of an upload: no output is as large
    before, waited = DRIVER.played_copies(size), []

    def execute(*arguments, _execute=engine.played.execute):
        end = time.monotonic() + 10
        while DRIVER.played_copies(size) < before + 2 and time.monotonic() < end:
            time.sleep(0.001)
        waited.append(DRIVER.played_copies(size) - before)
        _execute(*arguments)

    engine.played.execute = execute
    with ThreadPoolExecutor(model.concurrency) as pool:
        for got, image in zip(pool.map(model, images), images, strict=True):
            np.testing.assert_array_equal(got.labels, load(engine.onnx)(image).labels)
    assert waited == [2, 2], "the second image waits for the first to be computed"


def test_no_room_for_a_second_slot_is_no_failure(engine, photo):
    model, image = load(engine.path), photo[:48, :64].copy()
    slots, shape = model.backend._slots, (1, 48, 64, 3)
    with ThreadPoolExecutor(1) as pool:
        with slots.taken(shape):
            DRIVER.played_limit(ctypes.c_size_t(10))
            answer = pool.submit(model, image)
            while slots._shapes[shape].limit == tensorrt_slots.SLOTS:
                assert not answer.done()
        assert answer.result(10).labels.shape == (48, 64)


@pytest.mark.parametrize("status", [True, False], ids=["with a lattice", "without"])
def test_images_of_the_device_stay_there(engine, photo, status):
    engine.deserialized.num_io_tensors -= not status  # it is the last
    model, image = load(engine.path), np.ascontiguousarray(photo[None, :48, :64])
    outputs = model.on_device(Frames(image))
    expected = load(engine.onnx)(image[0])
    assert set(outputs) == {"labels", "confidence", "unary_labels", "probabilities"}
    for name in ("labels", "confidence"):
        view = outputs[name]
        assert isinstance(view, StridedMemoryView)
        assert view.__dlpack_device__() == (2, 0)  # CUDA, the first
        np.testing.assert_array_equal(on_device(view.ptr, view.shape, view.dtype)[0], getattr(expected, name))
    np.testing.assert_array_equal(model(image[0]).labels, expected.labels)


def test_this_machine_as_cuda_core_tells_it(engine):
    assert this_machine(SimpleNamespace(__version__="11.4.0.106"), cuda_device()) == HERE
