"""segtool predict"""

from pathlib import Path

import click

from segtool.cli.options import echo, model_argument, progress_bar


@click.command("predict")
@model_argument
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
def command(model: Path, images: tuple[Path, ...], out: Path) -> None:
    """Segment IMAGES (files or folders).

    For each image OUT holds NAME.png, a palette mask of class ids, and NAME_overlay.png to look at.
    Unreadable images are listed at the end and the others are done all the same.
    """
    from segtool.cli.models import open_model
    from segtool.errors import SegtoolError
    from segtool.files import ensure_folder
    from segtool.images import overlay, read_image, save_image, save_label_map

    paths = _expand(images)
    predictor, card = open_model(model)
    ensure_folder(out)
    failed: list[SegtoolError] = []
    with progress_bar("predicting") as progress:
        for done, path in enumerate(paths, start=1):
            try:
                image = read_image(path)
            except SegtoolError as error:
                failed.append(error)
            else:
                labels = predictor(image).labels
                save_label_map(out / f"{path.stem}.png", labels, card.colors)
                save_image(out / f"{path.stem}_overlay.png", overlay(image, labels, card.colors))
            progress(done, len(paths))
    echo(f"{len(paths) - len(failed)} of {len(paths)} images written to {out}")
    if failed:
        for other in failed[1:]:
            click.echo(f"segtool: {other}", err=True)
        raise failed[0]


def _expand(images: tuple[Path, ...]) -> list[Path]:
    from segtool.errors import SegtoolError
    from segtool.images import list_images

    paths = [p for entry in images for p in (list_images(entry) if entry.is_dir() else [entry])]
    if not paths:
        raise SegtoolError("no images", where=", ".join(map(str, images)))
    stems: dict[str, Path] = {}
    for path in paths:
        if path.stem in stems:
            raise SegtoolError(
                "two images would write the same result",
                where=f"{stems[path.stem]} and {path}",
                mend="predict them apart",
            )
        stems[path.stem] = path
    return paths
