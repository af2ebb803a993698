"""segtool export"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segtool.cli.options import check_suffix, echo, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from segtool.data import SegmentationDataset
    from segtool.export.int8 import Target
    from segtool.export.onnx_export import Calibration
    from segtool.readers import Image


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: RUN/model.onnx]")
@click.option("--iterations", type=click.IntRange(1), help="Mean-field iterations.  [default: the model's own]")
@click.option("--size", metavar="HxW", help="Fix the image size.  [default: any size]")
@click.option("--probabilities", is_flag=True, help="Also output all class probabilities.")
@click.option("--logits", is_flag=True, help="Also output what the CRF starts from, for predict --map.")
@click.option("--no-crf", is_flag=True, help="Leave the dense CRF out, for engines that cannot run it.")
@click.option("--fp16", is_flag=True, help="Network and potentials in half precision; mean field stays in float32.")
@click.option("--int8", is_flag=True, help="The network in 8 bits; needs --calibrate.")
@click.option("--calibrate", metavar="SPEC", help="Dataset whose training images set the scales of --int8.")
@click.option(
    "--calibration-images",
    default=64,
    show_default=True,
    type=click.IntRange(1),
    help="Number of images to calibrate with.",
)
@click.option(
    "--int8-for",
    "target",
    default="tensorrt",
    show_default=True,
    type=click.Choice(["tensorrt", "cpu"]),
    help="What runs the 8-bit file: TensorRT takes signed numbers only, ONNX Runtime on a CPU unsigned ones too.",
)
def command(
    run: Path,
    out: Path | None,
    iterations: int | None,
    size: str | None,
    probabilities: bool,
    logits: bool,
    no_crf: bool,
    fp16: bool,
    int8: bool,
    calibrate: str | None,
    calibration_images: int,
    target: "Target",
) -> None:
    """Write RUN (a run folder or checkpoint) as one ONNX file with the CRF inside."""
    from segtool.export.onnx_export import export_onnx

    _check_together(fp16, int8, calibrate, no_crf, iterations)
    if out is None:
        suffix = ".no-crf" * no_crf + (".fp16.onnx" if fp16 else ".int8.onnx" if int8 else ".onnx")
        out = run / f"model{suffix}" if run.is_dir() else run.with_suffix(suffix)
    check_suffix(out, ".onnx")
    fixed = None if size is None else parse_size(size, "--size")
    calibration = _calibration(run, calibrate, calibration_images, target) if calibrate is not None else None
    echo("exporting, half a minute or so")
    card = export_onnx(
        run,
        out,
        iterations=iterations,
        size=fixed,
        probabilities=probabilities,
        logits=logits,
        fp16=fp16,
        int8=calibration,
        crf=not no_crf,
    )
    crfs = {"contextual CRF": card.context, "CRF": card.crf}
    told = [f"{name} with {crf.iterations} iterations" for name, crf in crfs.items() if crf is not None] or ["no CRF"]
    echo(f"written: {out} ({out.stat().st_size / 1e6:.1f} MB, {card.precision}, {', '.join(told)})")
    echo(f"next:    segtool verify {run} {out}")


def _check_together(fp16: bool, int8: bool, calibrate: str | None, no_crf: bool, iterations: int | None) -> None:
    from segtool.errors import SegtoolError

    if int8 and fp16:
        raise SegtoolError("--fp16 and --int8 are two precisions", mend="choose one of them")
    if int8 != (calibrate is not None):
        raise SegtoolError("--int8 and --calibrate go together", mend="--int8 --calibrate SPEC, such as camvid:PATH")
    if no_crf and iterations is not None:
        raise SegtoolError("--iterations is of the CRF, which --no-crf leaves out", mend="give one of them")


def _calibration(run: Path, spec: str, count: int, target: "Target") -> "Calibration":
    from segtool.data import even_choice, open_dataset
    from segtool.export.onnx_export import Calibration
    from segtool.readers import reader_of
    from segtool.train.checkpoint_file import checkpoint_path, read_card

    dataset = open_dataset(spec, "train")
    dataset.reader = reader_of(read_card(checkpoint_path(run)).input)
    return Calibration(_Images(dataset, even_choice(len(dataset), count)), target)


class _Images:
    """Images of a dataset, read each time that they are iterated over."""

    def __init__(self, dataset: "SegmentationDataset", chosen: "Sequence[int]") -> None:
        self._dataset, self._chosen = dataset, chosen

    def __iter__(self) -> "Iterator[Image]":
        return (self._dataset.load(i).image for i in self._chosen)
