"""What TensorRT must know of the CRF's operators: shapes, workspace, and how each starts on the CUDA library.

Nothing of TensorRT is needed here; `tensorrt_plugin` wraps these.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from segtool.crf.geometry import CORNERS
from segtool.crf.library import cuda_call

NAMESPACE, VERSION = "segtool", "1"  # of the plugins
# By which TensorRT's parser takes a node to a plugin, whatever else goes by the node's name.
NODE_ATTRIBUTES = {"plugin_namespace": NAMESPACE, "plugin_version": VERSION}
VERTICES_PER_PIXEL = 0.5  # of a lattice whose widths nobody knows; six is the most there can be
SMALLEST_CAPACITY = 1 << 14  # vertices of an image; small images have more of them a pixel

Shape = tuple[int, ...]


class Field(NamedTuple):
    """An attribute of a node."""

    name: str
    dtype: type[np.generic]
    default: float | int


class Launch(NamedTuple):
    """One start of an operator: shapes and device addresses of what is given and wanted, on a CUDA stream."""

    inputs: list[Shape]
    outputs: list[Shape]
    fields: dict[str, Any]
    given: Sequence[int]
    wanted: Sequence[int]
    workspace: int
    stream: int


class Operator(NamedTuple):
    """What TensorRT must know of one operator.

    Attributes:
        name: of the node.
        fields: its attributes.
        inputs, outputs: their data types, as names of `tensorrt.DataType`.
        shapes: the shapes of the outputs, from those of the inputs; works on numbers and, through `Extents`, on
            TensorRT's symbolic extents.
        workspace: bytes, from the shapes of inputs and outputs and the fields.
        enqueue: starts it.
    """

    name: str
    fields: tuple[Field, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Callable[..., list[list[Any]]]
    workspace: Callable[[list[Shape], list[Shape], dict[str, Any]], int]
    enqueue: Callable[[Launch], None]


def lattice_capacity(pixels: Any, images: Any, vertices_per_pixel: float, extents: Any = None) -> Any:
    """The most vertices that a lattice may have: `vertices_per_pixel`, at least 16,384 an image, at most six a pixel.

    Args:
        pixels: of all images of the batch.
        extents: arithmetic on what TensorRT calls dimensions; plain integers when not given.
    """
    e = extents or Extents()
    share = e.divided_up(e.times(pixels, round(1000 * vertices_per_pixel)), 1000)
    return e.least(e.times(pixels, CORNERS), e.most(share, e.times(images, SMALLEST_CAPACITY)))


def usual_vertices_per_pixel(spatial_sigma: float, color_sigma: float) -> float:
    """Room for the lattices of photographs, also of noisy ones, from the kernel's widths in pixels and levels.

    Photographs of 480x360 and 640x427 were found to have up to 120 / (alpha^0.8 beta^1.1) vertices a pixel, and with
    noise of 15 levels up to 290.
    """
    return min(float(CORNERS), max(0.25, 310 / (spatial_sigma**0.8 * color_sigma**1.1)))


class Extents:
    """Arithmetic on integers, with the operations that TensorRT has for dimensions."""

    def times(self, a: Any, b: Any) -> Any:
        return a * b

    def divided_up(self, a: Any, b: Any) -> Any:
        return -(-a // b)

    def least(self, a: Any, b: Any) -> Any:
        return min(a, b)

    def most(self, a: Any, b: Any) -> Any:
        return max(a, b)


def _lattice_shapes(e: Extents, fields: dict[str, Any], image: Sequence[Any]) -> list[list[Any]]:
    n, _, height, width = image
    pixels = e.times(n, e.times(height, width))
    capacity = lattice_capacity(pixels, n, fields["vertices_per_pixel"], e)
    return [[pixels, CORNERS], [pixels, CORNERS], [CORNERS, 2, capacity], [2]]


def _lattice_workspace(inputs: list[Shape], outputs: list[Shape], fields: dict[str, Any]) -> int:
    n, _, height, width = inputs[0]
    return cuda_call("segtool_cuda_lattice_workspace", n, height, width, outputs[2][2])


def _lattice_enqueue(run: Launch) -> None:
    (n, _, height, width), capacity = run.inputs[0], run.outputs[2][2]
    vertex, weight, neighbor, status = run.wanted
    arguments = (run.given[0], n, height, width, run.fields["spatial_sigma"], run.fields["color_sigma"], capacity)
    cuda_call("segtool_cuda_lattice_insert", *arguments, vertex, weight, status, run.workspace, run.stream)
    cuda_call(
        "segtool_cuda_lattice_link", *arguments, capacity, vertex, weight, neighbor, status, run.workspace, run.stream
    )


def _first_shape(e: Extents, fields: dict[str, Any], *inputs: Sequence[Any]) -> list[list[Any]]:
    return [list(inputs[0])]


def _filter_workspace(inputs: list[Shape], outputs: list[Shape], fields: dict[str, Any]) -> int:
    return cuda_call("segtool_cuda_filter_workspace", inputs[0][1], inputs[3][2], 0)


def _filter_enqueue(run: Launch) -> None:
    (n, channels, height, width), capacity = run.inputs[0], run.inputs[3][2]
    flags = (run.fields["reverse"], 0, 0)  # channels first, sums in any order
    cuda_call(
        "segtool_cuda_filter",
        *run.given,
        n,
        channels,
        height * width,
        capacity,
        *flags,
        run.wanted[0],
        run.workspace,
        run.stream,
    )


def _spatial_planes(shape: Shape) -> Shape:
    n, channels, height, width = shape
    return (n * channels, height, width, 1)


def _spatial_workspace(inputs: list[Shape], outputs: list[Shape], fields: dict[str, Any]) -> int:
    return cuda_call("segtool_cuda_spatial_workspace", *_spatial_planes(inputs[0]), fields["sigma"])


def _spatial_enqueue(run: Launch) -> None:
    planes = _spatial_planes(run.inputs[0])
    cuda_call(
        "segtool_cuda_spatial_filter",
        run.given[0],
        *planes,
        run.fields["sigma"],
        run.wanted[0],
        run.workspace,
        run.stream,
    )


def _update_enqueue(run: Launch) -> None:
    n, channels, height, width = run.inputs[0]
    flags = (run.fields["normalize"], 0)
    cuda_call(
        "segtool_cuda_mean_field_update", *run.given, n, channels, height * width, *flags, run.wanted[0], run.stream
    )


_FLOAT, _INT = np.float32, np.int32
OPERATORS = (
    Operator(
        "BilateralLattice",
        (
            Field("spatial_sigma", _FLOAT, 0.0),
            Field("color_sigma", _FLOAT, 0.0),
            Field("vertices_per_pixel", _FLOAT, VERTICES_PER_PIXEL),
        ),
        ("FLOAT",),
        ("INT32", "FLOAT", "INT32", "INT32"),
        _lattice_shapes,
        _lattice_workspace,
        _lattice_enqueue,
    ),
    Operator(
        "BilateralFilter",
        (Field("reverse", _INT, 0),),
        ("FLOAT", "INT32", "FLOAT", "INT32", "INT32"),  # the last is the lattice's status
        ("FLOAT",),
        _first_shape,
        _filter_workspace,
        _filter_enqueue,
    ),
    Operator(
        "SpatialFilter", (Field("sigma", _FLOAT, 0.0),), ("FLOAT",), ("FLOAT",), _first_shape, _spatial_workspace,
        _spatial_enqueue,
    ),
    Operator(
        "MeanFieldUpdate", (Field("normalize", _INT, 1),), ("FLOAT",) * 5, ("FLOAT",), _first_shape, lambda *_: 0,
        _update_enqueue,
    ),
)  # fmt: skip
