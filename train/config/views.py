"""What of an image a network is shown, as the command line says it. `segtool.train.views` shows it."""

from typing import NamedTuple

from segtool.errors import SegtoolError


class Views(NamedTuple):
    """What of an image is shown to the network.

    Attributes:
        window: side of square windows in pixels; 0 shows the whole image at once.
        stride: from one window to the next, pixels; at most `window`.
        scales: of the image; each is seen, and the logits scaled back.
        flip: whether each is seen mirrored left to right too.
    """

    window: int = 0
    stride: int = 0
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __bool__(self) -> bool:
        """Whether there is more to see than the whole image as it is."""
        return self.window > 0 or self.scales != (1.0,) or self.flip


WHOLE = Views()


def parse_views(slide: int | None, stride: int | None, augment: str | None) -> Views:
    """Reads the options of the command line.

    Args:
        slide, stride: pixels; the stride is two thirds of the window when not given.
        augment: such as `flip,0.75,1.25`; the image itself is always among the views.

    Raises:
        SegtoolError: a stride without a window or beyond it; what is neither flip nor a scale from 0.1 to 4.
    """
    if stride is not None and (slide is None or not 0 < stride <= slide):
        raise SegtoolError("the stride must lie in 1..window", where=f"--stride {stride}", mend="--slide 512 ...")
    window = slide or 0
    parts = [part.strip() for part in (augment or "").split(",") if part.strip()]
    scales = dict.fromkeys([1.0, *(_scale(part) for part in parts if part != "flip")])
    return Views(window, stride or min(window, max(1, window * 2 // 3)), tuple(scales), "flip" in parts)


def _scale(part: str) -> float:
    try:
        scale = float(part)
    except ValueError:
        scale = 0.0
    if not 0.1 <= scale <= 4:
        raise SegtoolError("neither flip nor a scale in 0.1..4", where=f"--tta {part}", mend="--tta flip,0.75,1.25")
    return scale
