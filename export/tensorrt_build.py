"""From an exported file to a TensorRT engine, on the GPU that will run it."""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, TensorProto, helper

from segtool.card import METADATA_KEY, parse_card
from segtool.crf import tensorrt_plugin
from segtool.crf.tensorrt_operators import (
    NAMESPACE,
    NODE_ATTRIBUTES,
    VERTICES_PER_PIXEL,
    usual_vertices_per_pixel,
)
from segtool.engine import INPUT, STATUS, EngineRecord, Machine, Profile, write_record
from segtool.errors import SegtoolError
from segtool.export.save import save_onnx
from segtool.files import atomic_path
from segtool.runtime.onnx_runtime import warn_if_changed

Progress = Callable[[int, int], None]


def usual_capacity(model: ModelProto) -> float:
    """Vertices a pixel that the lattice of an exported model should have room for."""
    for node in model.graph.node:
        if node.op_type == "BilateralLattice":
            widths = {attribute.name: attribute.f for attribute in node.attribute}
            return usual_vertices_per_pixel(widths["spatial_sigma"], widths["color_sigma"])
    return VERTICES_PER_PIXEL


def prepare(model: ModelProto, vertices_per_pixel: float) -> ModelProto:
    """The file as TensorRT's parser is to see it: without function bodies, with plugin attributes on the CRF's nodes.

    The lattice also gives its status, which goes to the filters and becomes the output `lattice_status` int32 [2]: the
    number of vertices, and what went wrong; see `tensorrt_plugin`.
    """
    prepared = ModelProto()
    prepared.CopyFrom(model)
    given = prepared.graph.input[0].type.tensor_type
    if given.elem_type == TensorProto.UINT16:  # of which TensorRT has none; the graph makes float32 of it in any case
        given.elem_type = TensorProto.FLOAT
    del prepared.functions[:]  # parsers differ in whether these or the plugins come first
    for node in prepared.graph.node:
        if node.domain != NAMESPACE:
            continue
        known = {attribute.name for attribute in node.attribute}
        wanted: dict[str, Any] = dict(NODE_ATTRIBUTES)
        if node.op_type == "BilateralLattice":
            wanted["vertices_per_pixel"] = vertices_per_pixel
            node.output.append(STATUS)
        if node.op_type == "BilateralFilter":
            node.input.append(STATUS)
        node.attribute.extend(helper.make_attribute(k, v) for k, v in wanted.items() if k not in known)
    if any(STATUS in node.output for node in prepared.graph.node):
        prepared.graph.output.append(helper.make_tensor_value_info(STATUS, TensorProto.INT32, [2]))
    return prepared


def build_engine(
    source: Path,
    out: Path,
    profile: Profile,
    machine: Machine,
    trt: Any,
    *,
    level: int = 3,
    timing_cache: Path | None = None,
    vertices_per_pixel: float | None = None,
    progress: Progress = lambda done, total: None,
) -> EngineRecord:
    """Builds an engine and writes it with its record.

    Args:
        source: an `.onnx` file that `segtool export` wrote.
        out: the `.engine` file.
        profile: input shapes.
        machine: this one; the record keeps it.
        trt: the module `tensorrt`.
        level: TensorRT's optimization level, 0..5.
        timing_cache: read if it is there, and written; makes the next build faster.
        vertices_per_pixel: capacity of the lattice, see `lattice_capacity`; `usual_capacity` when not given.
        progress: (steps done, steps in all) of the phase that TensorRT is in.

    Raises:
        SegtoolError: not an exported file, the parser or the builder refuses it.
    """
    model = read_exported(source)
    properties = {p.key: p.value for p in model.metadata_props}
    card = parse_card(properties.get(METADATA_KEY), source)
    vertices_per_pixel = vertices_per_pixel or usual_capacity(model)
    tensorrt_plugin.register(trt)
    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    network = _parsed(trt, builder, prepare(model, vertices_per_pixel), source)
    config = builder.create_builder_config()
    config.builder_optimization_level = level
    config.progress_monitor = _monitor(trt, progress)
    shapes = builder.create_optimization_profile()
    shapes.set_shape(INPUT, profile.min, profile.opt, profile.max)
    config.add_optimization_profile(shapes)
    if timing_cache is not None:
        cache = config.create_timing_cache(_bytes_of(timing_cache))
        config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise SegtoolError("TensorRT could not build an engine", where=source, mend="its log above says why")
    if timing_cache is not None:
        with atomic_path(timing_cache) as temporary:
            temporary.write_bytes(bytes(memoryview(config.get_timing_cache().serialize())))
    written = bytes(memoryview(plan))
    record = EngineRecord(
        source=source.name,
        machine=machine,
        profile=profile,
        vertices_per_pixel=vertices_per_pixel,
        card=card,
        digest=hashlib.sha256(written).hexdigest(),
    )
    with atomic_path(out) as temporary:
        temporary.write_bytes(written)
    write_record(out, record)
    return record


def read_exported(source: Path) -> ModelProto:
    """The model in an .onnx file.

    Raises:
        SegtoolError: missing or not ONNX.
    """
    if not source.is_file():
        raise SegtoolError("no such model", where=source)
    try:
        model = onnx.load(source)
    except Exception as error:  # protobuf's, whose class differs by its backend
        raise SegtoolError("not an ONNX file", where=source, mend="segtool export RUN writes one") from error
    warn_if_changed(source)
    return model


def fixed_size(model: ModelProto) -> tuple[int | None, int | None]:
    """Height and width that an exported model takes; None for any."""
    height, width = (side.dim_value or None for side in model.graph.input[0].type.tensor_type.shape.dim[1:3])
    return height, width


def channels_of(model: ModelProto) -> int:
    """How many channels an exported model's images have."""
    return int(model.graph.input[0].type.tensor_type.shape.dim[3].dim_value)


def _parsed(trt: Any, builder: Any, model: ModelProto, source: Path) -> Any:
    flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED  # the types of the file are the types of the engine
    network = builder.create_network(1 << int(flag))
    network.name = source.stem
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        # With weights beside it where one file is too small.
        (file, *_) = save_onnx(model, Path(folder) / source.name, check=False)
        parsed = parser.parse_from_file(str(file))
    if not parsed:
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        what = "; ".join(f"{e.node_name()} ({e.node_operator()}): {' '.join(e.desc().split())}" for e in errors[:3])
        raise SegtoolError(f"TensorRT's parser refuses the file: {what}", where=source)
    return network


def _bytes_of(timing_cache: Path) -> bytes:
    return timing_cache.read_bytes() if timing_cache.is_file() else b""


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        """Hands on the steps of TensorRT's outermost phase."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._total: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._total[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._total:
                progress(step + 1, self._total[phase_name])
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            if phase_name in self._total:
                progress(self._total[phase_name], self._total[phase_name])

    return Monitor()
