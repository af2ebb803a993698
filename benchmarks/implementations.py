"""Dense CRF inference by each implementation, behind one interface. Libraries are imported only when one is used."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

GAMMA, ALPHA, BETA = 3.0, 80.0, 13.0
WEIGHTS = (3.0, 10.0)  # Potts, of the spatial and the bilateral kernel
Array = NDArray[np.float32]


class Implementation(Protocol):
    """Made for logits [1,C,H,W] and an image [1,3,H,W], levels 0..255. Steps that it cannot do apart are missing."""

    def mean_field(self, iterations: int) -> Array:
        """Everything, the lattice too: class probabilities or logits [1,C,H,W]."""


def _potts(classes: int) -> tuple[Array, Array]:
    spatial, bilateral = (w * np.eye(classes, dtype=np.float32) for w in WEIGHTS)
    return spatial, bilateral


class Native:
    """The library's C functions, through ctypes."""

    def __init__(self, logits: Array, image: Array, _: Path) -> None:
        from segtool.crf import native

        self.native, self.logits, self.image = native, logits, image
        self.tables = _potts(logits.shape[1])
        self.built = self.lattice()
        self.vertices = self.built.neighbor.shape[2]

    def lattice(self) -> Any:
        return self.native.bilateral_lattice(self.image, ALPHA, BETA)

    def filter(self) -> Array:
        return self.native.bilateral_filter(self.logits, self.built)

    def mean_field(self, iterations: int) -> Array:
        return self.native.mean_field(self.logits, self.image, (GAMMA, ALPHA, BETA), self.tables, iterations)


class Torch:
    """`DenseCRF`, as in training and evaluation: the library's functions as torch operators."""

    def __init__(self, logits: Array, image: Array, _: Path) -> None:
        import torch

        from segtool.allocator import keep_freed_memory
        from segtool.crf.layer import DenseCRF, KernelWidths

        keep_freed_memory()  # as training and evaluation do
        self.inference = torch.inference_mode
        self.logits, self.image = torch.from_numpy(logits), torch.from_numpy(image)
        self.crf = DenseCRF(logits.shape[1], KernelWidths(GAMMA, ALPHA, BETA), WEIGHTS)

    def mean_field(self, iterations: int) -> Array:
        with self.inference():
            return self.crf(self.logits, self.image, iterations).numpy()  # type: ignore[no-any-return]


class PlainTorch:
    """The same in plain torch, without the library."""

    def __init__(self, logits: Array, image: Array, _: Path) -> None:
        import torch

        from segtool.crf import plain

        self.inference, self.face, self.plain = torch.inference_mode, plain, plain
        self.logits, self.image = torch.from_numpy(logits), torch.from_numpy(image)
        self.tables = [torch.from_numpy(t) for t in _potts(logits.shape[1])]
        self.built = self.lattice()

    def lattice(self) -> Any:
        return self.face.bilateral_lattice(self.image, ALPHA, BETA)

    def filter(self) -> Any:
        with self.inference():
            return self.face.bilateral_filter(self.logits, *self.built)

    def mean_field(self, iterations: int) -> Array:
        with self.inference():
            lattice = self.lattice()
            q = self.logits.softmax(1)
            for _ in range(iterations):
                messages = self.plain.spatial_filter(q, GAMMA), self.face.bilateral_filter(q, *lattice)
                q = self.plain.mean_field_update(self.logits, *messages, *self.tables, True)
            return q.numpy()  # type: ignore[no-any-return]


class OnnxRuntime:
    """An exported CRF of ten iterations; `native` says whether the library is registered."""

    native = True

    def __init__(self, logits: Array, image: Array, folder: Path) -> None:
        import os

        import onnxruntime

        from segtool.crf.library import library_path

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self.native:
            options.register_custom_ops_library(str(library_path()))
        path = str(folder / f"crf_{logits.shape[1]}.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = {"logits": logits, "image": image}

    def mean_field(self, iterations: int) -> Array:
        assert iterations == 10
        return self.session.run(None, self.inputs)[0]  # type: ignore[no-any-return]


class OnnxRuntimeBodies(OnnxRuntime):
    """Standard operators alone."""

    native = False


class PyDenseCrf:
    """pydensecrf, if it is importable. It has one thread."""

    def __init__(self, logits: Array, image: Array, _: Path) -> None:
        from pydensecrf import densecrf

        self.densecrf, self.shape = densecrf, logits.shape
        self.energy = np.ascontiguousarray(-logits[0].reshape(logits.shape[1], -1))
        self.rgb = np.ascontiguousarray(image[0].transpose(1, 2, 0).astype(np.uint8))

    def lattice(self) -> Any:
        _, classes, height, width = self.shape
        crf = self.densecrf.DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(self.energy)
        crf.addPairwiseGaussian(sxy=GAMMA, compat=WEIGHTS[0])
        crf.addPairwiseBilateral(sxy=ALPHA, srgb=BETA, rgbim=self.rgb, compat=WEIGHTS[1])
        return crf

    def mean_field(self, iterations: int) -> Array:
        return np.asarray(self.lattice().inference(iterations)).reshape(self.shape)


IMPLEMENTATIONS: dict[str, Any] = {
    "native": Native,
    "torch": Torch,
    "onnxruntime, library": OnnxRuntime,
    "onnxruntime, bodies": OnnxRuntimeBodies,
    "plain torch": PlainTorch,
    "pydensecrf": PyDenseCrf,
}


def export_crf(classes: int, path: Path) -> None:
    """Writes the CRF of ten iterations as ONNX: logits and image to logits, function bodies inside."""
    import onnx
    import torch

    from segtool.crf.layer import DenseCRF, KernelWidths
    from segtool.export.bodies import function_bodies
    from segtool.export.operators import translation_table
    from segtool.export.tidy import tidy
    from segtool.export.trace import trace

    crf = DenseCRF(classes, KernelWidths(GAMMA, ALPHA, BETA), WEIGHTS, iterations=10).eval()
    dims = {0: torch.export.Dim("N"), 2: torch.export.Dim("H"), 3: torch.export.Dim("W")}
    examples = [torch.zeros(2, classes, 40, 50), torch.zeros(2, 3, 40, 50)]
    model = tidy(trace(crf, examples, [dims, dims], inputs=["logits", "image"], translations=translation_table()))
    model.functions.extend(function_bodies(crf.to_card()))
    onnx.save(model, path)
