"""segtool train"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segtool.cli.options import data_option, echo, run_or_say_how_to_resume

if TYPE_CHECKING:
    from segtool.train.config.settings import TrainConfig


@click.command("train")
@click.option("--preset", required=True, help="One of the names below, or a YAML file of your own.")
@data_option
@click.option(
    "--also",
    multiple=True,
    metavar="SPEC",
    help="Train on these images, too, such as pseudo-labels; validation stays that of --data.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder to write.")
@click.option("--stages", help="Any of unary,context,crf,joint,control.  [default: the preset's, unary,crf,joint]")
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path),
    help="Start from a run, a checkpoint, or a state_dict of the whole network.",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option("--sanity", is_flag=True, help="Only check whether the network can learn one image by heart.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting, e.g. unary.epochs=50."
)
def command(
    preset: str,
    data: str,
    also: tuple[str, ...],
    out: Path,
    stages: str | None,
    start: Path | None,
    resume: bool,
    sanity: bool,
    overrides: tuple[str, ...],
) -> None:
    """Train a network and its CRFs in stages.

    \b
    presets  quickstart, camvid-small, piecewise-crf, lin-context, voc-resnet-skip, smp-hybrid,
             cityscapes-deeplab, ade20k-unet

    \b
    unary    the network alone
    context  the contextual CRF: potentials between distant places, the network fixed
    crf      the dense CRF: kernel widths by search, then compatibilities by gradient, all before it fixed
    joint    everything together
    control  the network trained on like joint but without a CRF, for a fair comparison

    Several GPUs or machines: torchrun --nproc-per-node N -m segtool train ... with the same options.
    """
    from segtool.train.config.presets import load_config
    from segtool.train.config.stages import in_order, parse_stages

    further = [f"data.also={json.dumps(also)}"] if also else []
    config = load_config(preset, [*overrides, *further])
    wanted = in_order(config.stages, preset) if stages is None else parse_stages(stages)
    if sanity:
        _check_sanity(config, data, out)
        return
    from segtool.cli.tables import print_stages  # what needs PyTorch, after what may be wrong in the options
    from segtool.train.distributed import is_first
    from segtool.train.stages.piecewise import PiecewiseTrainer

    trainer = PiecewiseTrainer(config, data, out, wanted, start=start, resume=resume, report=echo)
    run_or_say_how_to_resume(trainer)
    if not is_first():
        return
    print_stages(trainer.state.done)
    echo(f"model: {out}\nnext:  segtool export {out}")


def _check_sanity(config: "TrainConfig", data: str, out: Path) -> None:
    """Exits with 1 if the network did not learn the image."""
    from segtool.train.stages.sanity import ENOUGH, overfit_one_image

    picture = out / "sanity.png"
    found = overfit_one_image(config, data, picture, echo)
    verdict = "the network learned" if found.passed else "the network did NOT learn"
    echo(
        f"{verdict} {found.image} by heart in {found.steps} steps: mIoU {found.miou:.3f} (wanted {ENOUGH}), "
        f"loss {found.first_loss:.3f} -> {found.last_loss:.3f}; {picture}"
    )
    if not found.passed:
        echo("try another unary.learning_rate or unary.optimizer, and look at the labels: segtool data show")
        sys.exit(1)
