"""What goes wrong with files, libraries and memory, and what the runtime says then."""

import threading
import warnings

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest

from segtool.errors import SegtoolError, SegtoolWarning
from segtool.runtime import load, onnx_runtime
from segtool.runtime.stages import STAGES, _by_stage, stage_shares


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_one_line(tiny_onnx, tmp_path, share):
    whole = tiny_onnx.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SegtoolError, match="ONNX Runtime cannot load the file|no segtool model card") as caught:
        load(tmp_path / "cut.onnx")
    assert "\n" not in str(caught.value)
    assert caught.value.mend is not None


@pytest.mark.parametrize("threads", [0, -1, "2", 1.5, True])
def test_threads_that_are_no_number_of_threads(tiny_onnx, threads):
    with pytest.raises(SegtoolError, match="threads is not a number of 1 or more"):
        load(tiny_onnx, threads=threads)


def test_a_file_with_a_node_that_nobody_knows(tiny_onnx, tmp_path):
    model = onnx.load(tiny_onnx)
    model.graph.node[5].op_type = "Unheard"
    onnx.save(model, tmp_path / "edited.onnx")
    with pytest.raises(SegtoolError, match="ONNX Runtime cannot load the file .*Unheard"):
        load(tmp_path / "edited.onnx")


@pytest.mark.parametrize("broken", ["missing", "not a library"])
def test_without_the_library_the_bodies_run_with_one_warning(tiny_onnx, photo, tmp_path, monkeypatch, broken):
    expected = load(tiny_onnx, native=False)(photo)

    def gone():
        if broken == "missing":
            raise SegtoolError("the native library was not found")
        (tmp_path / "lib.so").write_text("hello")
        return tmp_path / "lib.so"

    monkeypatch.setattr(onnx_runtime, "library_path", gone)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = load(tiny_onnx)
        got = model(photo)
    assert ["portable definition" in str(w.message) for w in said] == [True]
    assert "function bodies" in model.backend.name
    np.testing.assert_array_equal(got.labels, expected.labels)


def test_backends_that_are_not_there(tiny_onnx, tmp_path):
    if onnx_runtime.cuda_is_there():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(SegtoolError, match=r"built without CUDA.*segtool\[gpu\]"):
        load(tiny_onnx, backend="cuda")
    with pytest.raises(SegtoolError, match=r"tensorrt does not run .onnx files.*segtool build"):
        load(tiny_onnx, backend="tensorrt")
    with pytest.raises(SegtoolError, match="cpu does not run .engine files"):
        load(tmp_path / "m.engine", backend="cpu")


@pytest.mark.parametrize(
    ("driver", "reason"), [(False, "there is no NVIDIA driver"), (True, "ONNX Runtime cannot start on the CUDA device")]
)
def test_where_cuda_cannot_start_it_says_so_and_goes_on(tiny_onnx, photo, monkeypatch, driver, reason):
    if onnx_runtime.cuda_is_there():
        pytest.skip("this ONNX Runtime has CUDA")
    expected = load(tiny_onnx)(photo)
    monkeypatch.setattr(onnx_runtime, "cuda_is_there", lambda: True)
    monkeypatch.setattr(onnx_runtime, "has_driver", lambda: driver)
    with pytest.warns(SegtoolWarning, match=f"going on on the CPU: {reason}"):
        model = load(tiny_onnx)
    np.testing.assert_array_equal(model(photo).labels, expected.labels)
    with pytest.raises(SegtoolError, match=reason):
        load(tiny_onnx, backend="cuda")
    with pytest.raises(SegtoolError, match=reason):
        onnx_runtime.try_cuda()


def test_an_onnxruntime_that_is_overwritten_is_told(tiny_onnx, monkeypatch):
    if onnx_runtime.cuda_is_there():
        pytest.skip("this ONNX Runtime has CUDA")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tiny_onnx)
    monkeypatch.setattr(onnx_runtime.metadata, "distribution", lambda package: package)
    with pytest.warns(SegtoolWarning, match="overwritten onnxruntime-gpu .pip uninstall -y onnxruntime"):
        load(tiny_onnx)


def test_the_smallest_model_is_one():
    model = onnx.load_from_string(onnx_runtime._IDENTITY)
    onnx.checker.check_model(model, full_check=True)
    (got,) = onnxruntime.InferenceSession(onnx_runtime._IDENTITY).run(None, {"x": np.ones(1, np.float32)})
    assert got.tolist() == [1]


def test_images_of_several_sizes_are_no_batch(tiny_onnx, photo):
    model = load(tiny_onnx)
    with pytest.raises(SegtoolError, match="must have one size.*97x131, 50x131"):
        model.batch([photo, photo[:50]])
    assert model.batch([]) == []


def test_eight_threads_share_a_model(tiny_onnx, photo):
    model = load(tiny_onnx)
    images = [np.ascontiguousarray(photo[: 30 + 5 * i, : 60 + i]) for i in range(8)]
    expected = [model(image).labels for image in images]
    wrong = []

    def work(i):
        for _ in range(5):
            if not np.array_equal(model(images[i]).labels, expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_shares_of_the_stages_add_up(tiny_onnx, photo):
    shares = stage_shares(tiny_onnx, photo[None], runs=2)
    assert set(shares) == set(STAGES) - {"context"}  # of which the model has none
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0


def test_the_crfs_definition_counts_for_the_crf(tiny_onnx, photo):
    assert stage_shares(tiny_onnx, photo[None], native=False, runs=1)["crf"] > 0.5


def test_nodes_count_for_the_stage_that_their_name_begins_with():
    names = ["input/Cast", "segmenter/Pad", "network/a/Conv", "reorder", "crf/iteration_1/update", "output/ArgMax"]
    runs = [(number, place, name) for number in range(3) for place, name in enumerate(names)]
    events = [{"name": n, "ts": 10 * run + place, "dur": 1 if run else 100} for run, place, n in runs]
    # The first of three runs warms up and does not count.
    assert _by_stage(events, runs=2) == {"input": 4, "network": 4, "crf": 2, "output": 2}


@pytest.mark.slow
def test_ten_thousand_predictions_of_changing_sizes_keep_memory_flat(tiny_onnx):
    model, process = load(tiny_onnx, threads=1), psutil.Process()
    random = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in random.integers(8, 56, (200, 2))]
    images = [random.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    after = []
    for number in range(10_000):
        model(images[number % 200])
        if number % 1000 == 999:
            after.append(process.memory_info().rss)
    assert after[-1] - after[1] < 32 << 20, [rss >> 20 for rss in after]
