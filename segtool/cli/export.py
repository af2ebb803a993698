"""segtool export"""

from pathlib import Path

import click

from segtool.cli.options import echo, parse_size


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File to write; RUN/model.onnx when not given.")
@click.option("--iterations", type=click.IntRange(1), help="Mean-field iterations; the model's own when not given.")
@click.option("--size", metavar="HxW", help="Fix the image size; any size when not given.")
@click.option("--probabilities", is_flag=True, help="Also output all class probabilities.")
@click.option("--fp16", is_flag=True, help="The network in half precision; the CRF stays in float32.")
def command(
    run: Path, out: Path | None, iterations: int | None, size: str | None, probabilities: bool, fp16: bool
) -> None:
    """Write RUN (a run folder or checkpoint) as one ONNX file with the CRF inside."""
    from segtool.errors import SegtoolError
    from segtool.export.onnx_export import export_onnx

    if out is None:
        suffix = ".fp16.onnx" if fp16 else ".onnx"
        out = run / f"model{suffix}" if run.is_dir() else run.with_suffix(suffix)
    if out.suffix != ".onnx":
        raise SegtoolError("--out must end in .onnx", where=out)
    fixed = None if size is None else parse_size(size, "--size")
    echo("exporting, a minute or so")
    card = export_onnx(
        run,
        out,
        iterations=iterations,
        size=fixed,
        probabilities=probabilities,
        fp16=fp16,
    )
    crf = f"CRF with {card.crf.iterations} iterations" if card.crf else "no CRF"
    echo(f"written: {out} ({out.stat().st_size / 1e6:.1f} MB, {card.precision}, {crf})")
    echo(f"next:    segtool verify {run} {out}")
