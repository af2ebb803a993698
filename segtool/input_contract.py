"""What a model takes: pictures, or bands of files as they are."""

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_BANDS = 32
LARGEST_STRIDE = 4096  # far beyond what is of use
Kind = Literal["uint8", "uint16", "float32"]
Number = Annotated[float, Field(allow_inf_nan=False)]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
BandNumber = Annotated[int, Field(ge=1, le=65_535)]
Channel = Annotated[int, Field(ge=1, le=MOST_BANDS)]
Three = tuple[Channel, Channel, Channel]
_LEVELS = 255.0


class InputContract(BaseModel):
    """What the graph takes; it normalises, pads to `stride` with the mean, and crops back.

    Either pictures, RGB uint8 [N,H,W,3], where `bands` is None; or the bands of image files with their numbers as they
    are, [N,H,W,B] of `kind`.

    Attributes:
        mean, std: by which channels are normalised: of levels / 255 for pictures, of the numbers themselves otherwise.
        stride: sides are padded to multiples of it.
        bands: of a file, counted from 1, in the order of the channels.
        kind: of the numbers.
        low, high: of each channel, what is drawn black and white. The colour kernel of the dense CRF takes them for
            the levels 0 and 255, and the network sees nothing that is farther from them than they are apart.
        shown: the channels that are drawn red, green and blue, counted from 1.
        guide: the three that the colour kernel of the dense CRF sees.
        nodata: where all channels of a pixel have this number, there is no image; where some have it, their mean takes
            its place. With floating-point numbers NaN says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: tuple[Number, ...] = (0.485, 0.456, 0.406)
    std: tuple[Deviation, ...] = (0.229, 0.224, 0.225)
    stride: int = Field(default=32, ge=1, le=LARGEST_STRIDE)
    bands: tuple[BandNumber, ...] | None = None
    kind: Kind = "uint8"
    low: tuple[Number, ...] = (0.0, 0.0, 0.0)
    high: tuple[Number, ...] = (_LEVELS, _LEVELS, _LEVELS)
    shown: Three = (1, 2, 3)
    guide: Three = (1, 2, 3)
    nodata: Annotated[int, Field(ge=0, le=65_535)] | None = None

    @model_validator(mode="after")
    def _lengths_fit(self) -> "InputContract":
        if self.bands is not None and not 1 <= len(self.bands) <= MOST_BANDS:
            raise ValueError(f"bands must be 1 to {MOST_BANDS}")
        for name in ("mean", "std", "low", "high"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(f"{name} must have {self.channels} numbers, one for each channel")
        if max(*self.shown, *self.guide) > self.channels:
            raise ValueError(f"shown and guide are channels, 1 to {self.channels}")
        return self

    @model_validator(mode="after")
    def _pictures_are_pictures(self) -> "InputContract":
        if self.bands is None and (self.kind != "uint8" or self.shown != (1, 2, 3) or self.guide != (1, 2, 3)):
            raise ValueError("pictures are RGB of 8 bits; bands says what else is read")
        if any(np.float32(low) >= np.float32(high) for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("low must be below high, in single precision")
        return self

    @property
    def channels(self) -> int:
        """B."""
        return 3 if self.bands is None else len(self.bands)

    @property
    def unit(self) -> float:
        """What `mean` and `std` are to be multiplied with."""
        return _LEVELS if self.bands is None else 1.0

    @property
    def said(self) -> str:
        """What an image must be, in words."""
        return f"{self.kind} [H,W,{self.channels}]"
