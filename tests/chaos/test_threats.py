"""Nothing that comes from outside makes segtool reach the network, or files that it was not given.

A library preloaded into each command and its children notes what they ask of the C library.
"""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from segtool.card import METADATA_KEY, parse_card
from tests.runtime.serving.server import free_port
from tests.train.test_stored_network import HOSTILE

from .mutations import damaged
from .test_hostile_files import _KINDS, picture

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/proc", "/sys", "/dev/null", "/dev/urandom", "/dev/shm"]
OF_MACHINE = [
    "/etc/ssl",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/ld.so.cache",
    "/etc/fonts",
    "/etc/mime.types",
    "/run",
    "/.dockerenv",
]
HELPERS = ["ldconfig", "gcc", "cc", "ld", "objdump", "uname", "lscpu"]  # how Python looks for a library by its name


class Witnessed:
    """Folders: `given` is what a command may read, `out` where it may write, `secret` is none of its business."""

    def __init__(self, folder, library):
        self.folder, self.library, self.log = folder, library, folder / "log"
        for name in ("given", "out", "secret", "home", "tmp"):
            (folder / name).mkdir()
        self.secret = folder / "secret" / "weights.bin"
        self.secret.write_bytes(bytes(1000))

    def start(self, *command):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCH")}
        environment = inherited | {
            "HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1",
            "WITNESS": str(self.log), "LD_PRELOAD": str(self.library), "HF_HUB_OFFLINE": "0",
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, *map(str, command)], cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *command):
        process = self.start(*command)
        said, _ = process.communicate(timeout=600)
        assert "Traceback" not in said, said
        return process.returncode, said

    def misdeeds(self):
        """What was asked of the network, run, written elsewhere than to `out`, or read that was not given."""
        home = self.folder / "home"
        scratch = [self.folder / "out", self.folder / "tmp", home / ".cache" / "matplotlib", home / ".config"]
        may_write = [*scratch, home / ".cache", "/dev/null", "/dev/shm"]
        python = {sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)}
        may_read = [*SYSTEM, *OF_MACHINE, *python, PROJECT, *may_write, self.folder / "given", self.log]
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            word, _, what = line.partition(" ")
            fine = {
                "read": lambda path: path == str(self.folder) or _under(path, may_read),
                "write": lambda path: path == str(home / ".cache") or _under(path, may_write),
                "run": lambda path: Path(path).name in HELPERS or path == sys.executable,
            }
            if word not in fine or not fine[word](what):
                found.append(line)
        return sorted(set(found))


def _under(path, folders):
    return any(path == str(folder) or path.startswith(f"{folder}/") for folder in folders)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    if sys.platform != "linux" or (compiler := shutil.which("cc")) is None:
        pytest.skip("needs Linux and a C compiler")
    out = tmp_path_factory.mktemp("witness") / "witness.so"
    subprocess.run(
        [
            compiler,
            "-shared",
            "-fPIC",
            "-O1",
            "-Wall",
            "-Werror",
            "-o",
            out,
            Path(__file__).with_name("witness.c"),
            "-ldl",
        ],
        check=True,
    )
    return out


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
    from random import Random

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
    for state in (out / "run").rglob("*.ckpt"):
        _pickled(state, command)
    (out / "run" / "unary" / "last.ckpt").parent.mkdir(exist_ok=True)
    for name in ("unary", "crf", "joint"):
        _pickled(out / "run" / name / "last.ckpt", command)
        _pickled(out / "run" / name / "previous.ckpt", command)
    (out / "run" / "model.safetensors").unlink()
    witnessed.run("-m", "segtool", "train", "--data", "synthetic:64", "--out", "out/run", "--resume")
    assert not (witnessed.secret.parent / "ran").exists()
    assert witnessed.misdeeds() == []


def test_data_and_settings(witnessed):
    given = witnessed.folder / "given"
    for kind in ("images", "masks"):
        (given / "data" / kind / "train").mkdir(parents=True)
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(given / "data" / "images" / "train" / "a.png")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(given / "data" / "masks" / "train" / "a.png")
    hostile = f"!!python/object/apply:os.system ['touch {witnessed.secret.parent}/ran']\n"
    (given / "data" / "classes.yaml").write_text(hostile)
    (given / "settings.yaml").write_text(hostile)
    assert witnessed.run("-m", "segtool", "data", "check", "folder:given/data")[0] == 2
    assert witnessed.run("-m", "segtool", "train", "--config", "given/settings.yaml", "--out", "out/run")[0] == 2
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
