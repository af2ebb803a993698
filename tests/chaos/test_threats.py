"""Nothing that comes from outside makes segtool reach the network, or files that it was not given.

A library preloaded into each command and its children notes what they ask of the C library.
"""

import json
import os
import pickle
import shutil
import signal
import zipfile
from pathlib import Path
from random import Random

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from segtool.card import METADATA_KEY, parse_card
from segtool.files import write_json
from tests.runtime.serving.server import free_port
from tests.train.test_stored_network import HOSTILE

from .mutations import damaged
from .test_hostile_files import _KINDS, picture
from .witness import Witnessed, compiled

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("witness") / "witness.so")


@pytest.fixture
def witnessed(tmp_path, library):
    return Witnessed(tmp_path, library)


def test_the_witness_sees_what_is_done(witnessed):
    """Misdeeds of Python, of native code and of children are noted."""
    program = f"""
import ctypes, os, socket, subprocess
open({str(witnessed.secret)!r}).close()
open({str(witnessed.secret.with_name("new"))!r}, "w").close()
ctypes.CDLL(None).fopen({str(witnessed.secret.with_name("native"))!r}.encode(), b"w")
os.rename({str(witnessed.secret)!r}, {str(witnessed.secret)!r} + "2")
subprocess.run(["cat", {str(witnessed.secret.with_name("child"))!r}])
try: socket.create_connection(("127.0.0.1", 9))
except OSError: pass
"""
    witnessed.start("-c", program).communicate()
    found = "\n".join(witnessed.misdeeds())
    secret = str(witnessed.secret)
    folder = str(witnessed.secret.parent)
    for expected in (
        f"read {secret}", f"write {folder}/new", f"write {folder}/native", f"write {secret}2", f"read {folder}/child",
        "connect 127.0.0.1:9", "ask 127.0.0.1",
    ):  # fmt: skip
        assert expected in found, found


def test_images(witnessed, tiny_onnx):
    random = Random(8)
    for i in range(60):
        name = random.choice([*_KINDS])
        (witnessed.folder / "given" / f"{i}{Path(name).suffix}").write_bytes(damaged(picture(name), random))
    secret = str(witnessed.secret)
    strange = {
        "a.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(" + secret.encode() + b") run\n",
        "b.png": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1:9/a.png'/></svg>",
        "c.jpg": b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1:9/a.png'\n",
        "d.mp4": b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n",
        "e.avi": b"#EXTM3U\n#EXTINF:1,\nfile://" + secret.encode() + b"\n",
        "f.mkv": b"ffconcat version 1.0\nfile '" + secret.encode() + b"'\n",
    }  # fmt: skip
    for name, content in strange.items():
        (witnessed.folder / "given" / name).write_bytes(content)
    model = shutil.copy(tiny_onnx, witnessed.folder / "given" / "m.onnx")
    code, said = witnessed.run("-m", "segtool", "predict", model, "given", "--out", "out")
    assert code == 2, said
    assert witnessed.misdeeds() == []


def test_models(witnessed, tiny_run, tiny_onnx):
    given = witnessed.folder / "given"
    checkpoint, tensors = tiny_run / "model.safetensors", load_file(tiny_run / "model.safetensors")
    with safe_open(checkpoint, "np") as file:
        card = parse_card(file.metadata()[METADATA_KEY], checkpoint)
    for i, (settings, options) in enumerate(HOSTILE.values()):
        model = settings | {"options": _with(options, str(witnessed.secret))}
        hostile = card.model_copy(update={"config": card.config | {"model": model}})
        save_file(tensors, given / f"{i:02d}.safetensors", {METADATA_KEY: hostile.to_json()})
    for name, place in {"a": str(witnessed.secret), "b": "../secret/weights.bin"}.items():
        proto = onnx.load(tiny_onnx)
        tensor = next(t for t in proto.graph.initializer if t.raw_data)
        external_data_helper.set_external_data(tensor, place)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        (given / f"{name}.onnx").write_bytes(proto.SerializeToString())
    code, said = witnessed.run(Path(__file__).with_name("open_hostile.py"), given)
    assert code == 0, said
    ends = [line for line in said.splitlines() if '"end"' in line]
    assert len(ends) == len(HOSTILE) + 2
    assert all('"refused"' in line for line in ends), said
    assert witnessed.misdeeds() == []


def _with(options, secret):
    text = {"/etc/passwd": secret, "local-dir:/etc": f"local-dir:{Path(secret).parent}"}
    if isinstance(options, dict):
        return {key: _with(value, secret) for key, value in options.items()}
    if isinstance(options, list):
        return [_with(value, secret) for value in options]
    return text.get(options, options) if isinstance(options, str) else options


class _Runs:
    """A pickle that runs something."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def _pickled(path, command):
    """A file as torch.save writes it, with code in its pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": _Runs(command)}, 2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


def test_weights_and_states_of_training(witnessed, tiny_run):
    given, out = witnessed.folder / "given", witnessed.folder / "out"
    command = f"touch {witnessed.secret.parent}/ran"
    _pickled(given / "w.pth", command)
    data = ["--preset", "quickstart", "--data", "synthetic:64"]
    code, said = witnessed.run("-m", "segtool", "train", *data, "--out", "out/a", "--set", "model.weights=given/w.pth")
    assert code == 2, said
    shutil.copytree(tiny_run, out / "run")
    for name in ("unary", "crf", "joint"):
        _pickled(out / "run" / name / "last.ckpt", command)
        _pickled(out / "run" / name / "previous.ckpt", command)
    (out / "run" / "model.safetensors").unlink()
    state = json.loads((out / "run" / "state.json").read_text())
    write_json(out / "run" / "state.json", state | {"done": {}})  # so that the first stage goes on
    again = ["--preset", "out/run/config.yaml", "--data", "synthetic:64", "--out", "out/run", "--resume"]
    code, said = witnessed.run("-m", "segtool", "train", *again)
    assert code == 2, said
    assert "last.ckpt" in said
    assert not (witnessed.secret.parent / "ran").exists()
    assert witnessed.misdeeds() == []


def test_data_and_settings(witnessed):
    given = witnessed.folder / "given"
    for split in ("train", "val"):
        for kind, shape in (("images", (40, 40, 3)), ("masks", (40, 40))):
            folder = given / "data" / split / kind
            folder.mkdir(parents=True)
            Image.fromarray(np.zeros(shape, np.uint8)).save(folder / "a.png")
    hostile = f"!!python/object/apply:os.system ['touch {witnessed.secret.parent}/ran']\n"
    (given / "data" / "classes.yaml").write_text(hostile)
    (given / "settings.yaml").write_text(hostile)
    for command, file in {
        ("data", "check", "folder:given/data"): "classes.yaml",
        ("train", "--preset", "given/settings.yaml", "--data", "synthetic:64", "--out", "out/run"): "settings.yaml",
    }.items():
        code, said = witnessed.run("-m", "segtool", *command)
        assert code == 2, said
        assert file in said
    assert not (witnessed.secret.parent / "ran").exists()
    assert witnessed.misdeeds() == []


def test_requests_to_the_demo(witnessed, tiny_onnx):
    port = free_port()
    model = shutil.copy(tiny_onnx, witnessed.folder / "given" / "m.onnx")
    process = witnessed.start("-m", "segtool", "demo", model, "--port", port)
    try:
        assert "serving on" in process.stdout.readline()
        root = f"http://127.0.0.1:{port}/gradio_api"
        for hostile in (
            str(witnessed.secret),
            "http://127.0.0.1:9/a.png",
            f"file://{witnessed.secret}",
            "out",
            "/etc/passwd",
        ):
            for name, inputs in {"segment": 5, "segment_zip": 2, "measure": 2}.items():
                data = [{"path": hostile, "url": hostile, "meta": {"_type": "gradio.FileData"}}] * inputs
                called = httpx.post(f"{root}/call/{name}", json={"data": data}).json()
                assert "event_id" in called or name == "measure", called
                if "event_id" in called:
                    with httpx.stream("GET", f"{root}/call/{name}/{called['event_id']}", timeout=60) as answer:
                        assert "event: error" in "".join(answer.iter_text())
            assert httpx.get(f"{root}/file={hostile}").status_code in (403, 404)
            httpx.get(f"{root}/proxy={hostile}")
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert "Traceback" not in said
    own = {f"connect 127.0.0.1:{port}", "ask 127.0.0.1", "ask localhost"}
    assert [deed for deed in witnessed.misdeeds() if deed not in own] == []


def test_requests_to_serve(witnessed, tiny_onnx):
    model = shutil.copy(tiny_onnx, witnessed.folder / "given" / "m.onnx")
    code, said = witnessed.run("-m", "tests.chaos.ask_hostile", model, witnessed.secret)
    assert code == 0, said
    assert witnessed.misdeeds() == []
