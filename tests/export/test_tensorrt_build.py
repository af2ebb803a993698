"""Building engines, against TensorRT's real classes with nothing behind them: its calls, not its work."""

from types import SimpleNamespace
from unittest.mock import Mock

import onnx
import pytest
from click.testing import CliRunner

from segtool.cli import build, cli
from segtool.crf.tensorrt_operators import usual_vertices_per_pixel
from segtool.engine import Machine, Profile, read_record
from segtool.errors import SegtoolError
from segtool.export.operators import translation_table
from segtool.export.tensorrt_build import build_engine, prepare

from ..tensorrt_api import conforming, module_of

HERE = Machine(tensorrt="11.4.0", gpu="Some GPU", compute_capability="9.0", driver="580.1")
PROFILE = Profile(min=(1, 32, 32, 3), opt=(1, 64, 64, 3), max=(2, 128, 128, 3))


@pytest.fixture(autouse=True)
def schemas():
    """The operators' schemas are known, as they are after an export in the same process."""
    import segtool.crf.operators  # noqa: F401

    translation_table()


@pytest.fixture
def trt(tensorrt_bindings):
    """A TensorRT that builds the plan b"plan" of whatever it is given."""
    real = tensorrt_bindings
    cache = conforming(real.ITimingCache, serialize=b"cache")
    config = conforming(real.IBuilderConfig, create_timing_cache=cache, get_timing_cache=cache)
    network = conforming(real.INetworkDefinition)
    shapes = conforming(real.IOptimizationProfile)
    builder = conforming(
        real.Builder,
        create_network=network,
        create_builder_config=config,
        create_optimization_profile=shapes,
        build_serialized_network=b"plan",
    )
    parser, parsed = conforming(real.OnnxParser, num_errors=0), []
    checked = parser.parse_from_file.side_effect

    def parse_from_file(path):
        checked(path)
        parsed.append(onnx.load(path))  # the file is there while it is parsed
        return True

    parser.parse_from_file.side_effect = parse_from_file
    fake = module_of(
        real,
        "tensorrt_building",
        Builder=Mock(return_value=builder),
        OnnxParser=Mock(return_value=parser),
        Logger=Mock(WARNING=real.ILogger.Severity.WARNING),
        get_plugin_registry=Mock(return_value=conforming(real.IPluginRegistry, register_creator=True)),
    )
    fake.made = SimpleNamespace(builder=builder, parser=parser, config=config, shapes=shapes, parsed=parsed)
    return fake


def test_the_parser_gets_plugins_and_no_function_bodies(tiny_onnx):
    before = onnx.load(tiny_onnx)
    prepared = prepare(before, 0.25)
    onnx.checker.check_model(before)
    assert before.functions
    assert not prepared.functions
    assert "lattice_status" not in [o.name for o in before.graph.output], "the file itself is left alone"
    nodes = [n for n in prepared.graph.node if n.domain == "segtool"]
    assert {n.op_type for n in nodes} == {"BilateralLattice", "BilateralFilter", "SpatialFilter", "MeanFieldUpdate"}
    for node in nodes:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert (given["plugin_namespace"], given["plugin_version"]) == (b"segtool", b"1")
        assert ("vertices_per_pixel" in given) == (node.op_type == "BilateralLattice")
        assert ("lattice_status" in node.input) == (node.op_type == "BilateralFilter")
    assert prepared.graph.output[-1].name == nodes[0].output[-1] == "lattice_status"


def test_engine_is_written_with_its_record(trt, tiny_onnx, tmp_path):
    out, cache, seen = tmp_path / "m.engine", tmp_path / "timing.cache", []
    cache.write_bytes(b"old")
    build_engine(tiny_onnx, out, PROFILE, HERE, trt, level=4, timing_cache=cache, progress=lambda *a: seen.append(a))
    assert out.read_bytes() == b"plan"
    assert cache.read_bytes() == b"cache"
    record = read_record(out)
    assert (record.machine, record.profile, record.source) == (HERE, PROFILE, tiny_onnx.name)
    assert record.card.names[0] == "ground"
    trt.made.config.create_timing_cache.assert_called_once_with(b"old")
    trt.made.shapes.set_shape.assert_called_once_with("image", *(PROFILE.min, PROFILE.opt, PROFILE.max))
    assert trt.made.config.builder_optimization_level == 4
    flags = trt.made.builder.create_network.call_args.args[0]
    assert flags == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    (parsed,) = trt.made.parsed
    assert not parsed.functions
    assert len(parsed.graph.initializer) == len(onnx.load(tiny_onnx).graph.initializer)
    monitor = trt.made.config.progress_monitor
    assert isinstance(monitor, trt.IProgressMonitor)
    monitor.phase_start("build", None, 3)
    monitor.phase_start("inner", "build", 50)
    assert monitor.step_complete("inner", 7)
    assert monitor.step_complete("build", 0)
    assert seen == [(1, 3)]


def test_refusals_of_parser_and_builder_leave_nothing(trt, tiny_onnx, tmp_path):
    out = tmp_path / "m.engine"
    trt.made.builder.build_serialized_network.return_value = None
    with pytest.raises(SegtoolError, match="could not build"):
        build_engine(tiny_onnx, out, PROFILE, HERE, trt)
    error = conforming(trt.ParserError, node_name="crf/lattice", node_operator="BilateralLattice", desc="no plugin")
    trt.made.parser.parse_from_file.side_effect = lambda _: False
    trt.made.parser.num_errors = 1
    trt.made.parser.get_error.return_value = error
    with pytest.raises(SegtoolError, match=r"crf/lattice \(BilateralLattice\): no plugin"):
        build_engine(tiny_onnx, out, PROFILE, HERE, trt)
    (tmp_path / "bad.onnx").write_bytes(b"hello")
    with pytest.raises(SegtoolError, match="not an ONNX file"):
        build_engine(tmp_path / "bad.onnx", out, PROFILE, HERE, trt)
    assert {p.name for p in tmp_path.iterdir()} == {"bad.onnx"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max", "1x32x32"], "--min, --opt and --max must rise"),
        (["--opt", "480x640"], "--opt must be BATCHxHEIGHTxWIDTH"),
        ([], "TensorRT cannot be imported"),
    ],
)
def test_command_refuses(tiny_onnx, monkeypatch, options, message):
    result = CliRunner().invoke(cli, ["build", str(tiny_onnx), *options])
    assert message in str(result.exception)


FIXED = (48, 64)


@pytest.mark.parametrize(
    ("given", "fixed", "expected"),
    [
        ((None, None, None), (None, None), [(1, 64, 64), (1, 480, 640), (1, 1080, 1920)]),
        ((None, None, "4x256x800"), (None, None), [(1, 64, 64), (1, 256, 640), (4, 256, 800)]),
        ((None, None, None), FIXED, [(1, *FIXED)] * 3),
        (("1x48x64", None, "8x48x64"), FIXED, [(1, *FIXED), (1, *FIXED), (8, *FIXED)]),
    ],
)
def test_profiles(given, fixed, expected):
    profile = build._profile(*given, fixed, 3)
    assert [shape[:3] for shape in (profile.min, profile.opt, profile.max)] == expected
    assert profile.size == fixed


def test_nothing_but_its_size_can_be_asked_of_a_model_of_fixed_size():
    with pytest.raises(SegtoolError, match="exported for 48x64: --max 1x64x64"):
        build._profile(None, None, "1x64x64", FIXED, 3)


def test_nearest_shape_of_a_profile():
    assert PROFILE.nearest((4, 20, 100)) == (2, 32, 100)
    assert PROFILE.holds((*PROFILE.nearest((0, 1000, 1)), 3))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "model.plan"], "--out must end in .engine"),
        (["--prepare-only", "--out", "model.engine"], "--out must end in .onnx"),
        (["--prepare-only", "--out", "MODEL"], "it would overwrite the model"),
    ],
)
def test_command_refuses_other_names(tiny_onnx, options, said):
    before = tiny_onnx.read_bytes()
    options = [str(tiny_onnx) if option == "MODEL" else option for option in options]
    result = CliRunner().invoke(cli, ["build", str(tiny_onnx), *options])
    assert said in str(result.exception)
    assert tiny_onnx.read_bytes() == before


@pytest.mark.parametrize("folder", [False, True])
def test_command_writes_the_file_for_other_builders(tiny_onnx, tmp_path, folder):
    out = tmp_path / "t.onnx"
    model = tiny_onnx.parent if folder else tiny_onnx
    result = CliRunner().invoke(cli, ["build", str(model), "--prepare-only", "--out", str(out)])
    assert result.exit_code == 0, result.output
    model = onnx.load(out)
    assert not model.functions
    lattice = next(node for node in model.graph.node if node.op_type == "BilateralLattice")
    given = {attribute.name: attribute.f for attribute in lattice.attribute}
    usual = usual_vertices_per_pixel(given["spatial_sigma"], given["color_sigma"])
    assert given["vertices_per_pixel"] == pytest.approx(usual)
