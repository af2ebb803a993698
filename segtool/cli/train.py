"""segtool train"""

import sys
from pathlib import Path

import click

from segtool.cli.options import data_option, echo


@click.command("train")
@click.option("--preset", required=True, help="Name of a preset, or a YAML file of your own.")
@data_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder to write.")
@click.option("--stages", default="unary,crf,joint", show_default=True, help="Any of unary,crf,joint,control.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting, e.g. unary.epochs=50."
)
def command(preset: str, data: str, out: Path, stages: str, resume: bool, overrides: tuple[str, ...]) -> None:
    """Train a network and its CRF in three piecewise stages.

    \b
    unary    the network alone
    crf      kernel widths by search, then compatibilities by gradient, the network fixed
    joint    everything together
    control  the network trained on like joint but without a CRF, for a fair comparison
    """
    from segtool.cli.tables import print_stages
    from segtool.train.config import load_config
    from segtool.train.piecewise import PiecewiseTrainer, parse_stages

    trainer = PiecewiseTrainer(
        load_config(preset, list(overrides)), data, out, parse_stages(stages), resume=resume, report=echo
    )
    try:
        trainer.run()
    except KeyboardInterrupt:
        echo("segtool: interrupted; the same command with --resume goes on where it stopped")
        sys.exit(130)
    print_stages(trainer.state.done)
    echo(f"model: {out}\nnext:  segtool export {out}")
