"""What looks wrong with an image's file, and is gone once it is decoded."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from segtool.data.checks.findings import Finding
from segtool.images import ORIENTATION, TURNS_SIDES, has_alpha, opened_image

_TRANSLUCENT = 0.5  # share of pixels


def image_doubts(path: Path) -> Iterator[Finding]:
    """Doubts about one image's file.

    Raises:
        SegtoolError: missing, truncated or not an image.
    """
    with opened_image(path) as image:
        found = [*_turned(image), *_pages(image), *_fourth_band(image)]
    for what, mend in found:
        yield Finding(what, str(path), mend)


def _turned(image: Image.Image) -> Iterator[tuple[str, str]]:
    """A mask that is not turned as its image has the wrong size, unless the turn keeps the size."""
    turn = image.getexif().get(ORIENTATION, 1)
    if turn in (2, 3, 4) or (turn in TURNS_SIDES and image.width == image.height):
        yield "images are turned as their EXIF says, masks are not", "segtool data show draws both; remove the EXIF tag"


def _pages(image: Image.Image) -> Iterator[tuple[str, str]]:
    if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
        yield "a file of several pages, of which the first is read", "save each as a file of its own"


def _fourth_band(image: Image.Image) -> Iterator[tuple[str, str]]:
    if image.format == "TIFF" and image.mode in ("RGB", "RGBA") and _bands(image) > 3 and not has_alpha(image):
        yield (
            "bands beyond red, green and blue are left out",
            "bands: all in classes.yaml, or their numbers, reads them",
        )
    if has_alpha(image) and _translucent_share(image) > _TRANSLUCENT:
        mend = "is it another band, such as infrared? save the image without it"
        yield "transparency that is neither all nor nothing nearly everywhere; images are laid on black", mend


def _bands(image: Image.Image) -> int:
    return int(image.tag_v2.get(277, 3))  # type: ignore[attr-defined]  # SamplesPerPixel


def _translucent_share(image: Image.Image) -> float:
    counts = image.convert("RGBA").getchannel("A").histogram()
    return sum(counts[1:255]) / max(1, sum(counts))
