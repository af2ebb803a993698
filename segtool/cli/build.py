"""segtool build"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segtool.cli.options import check_suffix, echo, exported, progress_bar

if TYPE_CHECKING:
    from segtool.engine import Profile


@click.command("build")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.engine]")
@click.option("--min", "smallest", metavar="NxHxW", help="Smallest batch and image.  [default: 1x64x64]")
@click.option("--opt", "usual", metavar="NxHxW", help="Batch and image to be fastest at.  [default: 1x480x640]")
@click.option("--max", "largest", metavar="NxHxW", help="Largest batch and image.  [default: 1x1080x1920]")
@click.option("--level", default=3, show_default=True, type=click.IntRange(0, 5), help="Optimization level.")
@click.option(
    "--timing-cache", type=click.Path(path_type=Path), help="File that makes the next build faster; read and written."
)
@click.option(
    "--vertices-per-pixel",
    type=click.FloatRange(0.001, 6),
    help="Capacity of the CRF's lattice; an image that needs more is refused.  [default: by the CRF's widths]",
)
@click.option("--prepare-only", is_flag=True, help="Only write the .onnx that trtexec or Triton can build from.")
def command(
    model: Path,
    out: Path | None,
    smallest: str | None,
    usual: str | None,
    largest: str | None,
    level: int,
    timing_cache: Path | None,
    vertices_per_pixel: float | None,
    prepare_only: bool,
) -> None:
    """Build a TensorRT engine of MODEL (.onnx, or a run folder that was exported), on the GPU that will run it.

    A MODEL that was exported for one size has that as height and width of all three.
    """
    from segtool.errors import SegtoolError

    model = exported(model)
    if model.suffix != ".onnx":
        raise SegtoolError("segtool build takes an .onnx file", where=model, mend="segtool export RUN writes one")
    if prepare_only:
        _prepare(model, out or model.with_suffix(".tensorrt.onnx"), vertices_per_pixel)
        return
    out = out or model.with_suffix(".engine")
    check_suffix(out, ".engine")
    from segtool.export.tensorrt_build import build_engine, channels_of, fixed_size, read_exported
    from segtool.runtime.cuda_device import cuda_device, tensorrt, this_machine

    exported_model = read_exported(model)
    profile = _profile(smallest, usual, largest, fixed_size(exported_model), channels_of(exported_model))
    trt, device = tensorrt(), cuda_device()
    with progress_bar("building") as progress:
        record = build_engine(
            model,
            out,
            profile,
            this_machine(trt, device),
            trt,
            level=level,
            timing_cache=timing_cache,
            vertices_per_pixel=vertices_per_pixel,
            progress=progress,
        )
    echo(f"written: {out} ({out.stat().st_size / 1e6:.1f} MB, for {record.machine.gpu})")


def _prepare(source: Path, out: Path, vertices_per_pixel: float | None) -> None:
    from segtool.errors import SegtoolError
    from segtool.export.save import save_onnx
    from segtool.export.tensorrt_build import prepare, read_exported, usual_capacity

    check_suffix(out, ".onnx")
    if out.resolve() == source.resolve():  # what is prepared is for TensorRT alone
        raise SegtoolError("it would overwrite the model", where=out, mend="choose another --out")
    model = read_exported(source)
    save_onnx(prepare(model, vertices_per_pixel or usual_capacity(model)), out, check=False)
    echo(f"written: {out}")


def _profile(
    smallest: str | None,
    usual: str | None,
    largest: str | None,
    fixed: tuple[int | None, int | None],
    channels: int,
) -> "Profile":
    from segtool.engine import Profile
    from segtool.errors import SegtoolError

    least = _shape("--min", smallest, (1, 64, 64), fixed)
    most = _shape("--max", largest, (1, 1080, 1920), fixed)
    n, height, width = (max(a, min(s, b)) for a, s, b in zip(least, (1, 480, 640), most, strict=True))
    opt = _shape("--opt", usual, (n, height, width), fixed)
    if not all(a <= b <= c for a, b, c in zip(least, opt, most, strict=True)):
        where = ", ".join("x".join(map(str, shape)) for shape in (least, opt, most))
        raise SegtoolError("--min, --opt and --max must rise", where=where)
    return Profile(min=(*least, channels), opt=(*opt, channels), max=(*most, channels))


def _shape(
    option: str, text: str | None, default: tuple[int, int, int], fixed: tuple[int | None, int | None]
) -> tuple[int, int, int]:
    """Of a model of fixed size that is the default, and nothing else can be asked for."""
    from segtool.errors import SegtoolError

    if text is None:
        return default[0], fixed[0] or default[1], fixed[1] or default[2]
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise SegtoolError(f"{option} must be BATCHxHEIGHTxWIDTH", where=text)
    n, height, width = map(int, parts)
    if (fixed[0] or height, fixed[1] or width) != (height, width):
        raise SegtoolError(f"the model was exported for {fixed[0]}x{fixed[1]}", where=f"{option} {text}")
    return n, height, width
