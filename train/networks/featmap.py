"""The multi-scale network of Lin et al., "Efficient Piecewise Training of Deep Structured Models for Semantic
Segmentation" (CVPR 2016), sections "Exploiting background context" and "Network configurations"."""

from collections.abc import Sequence
from typing import Any

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STRIDE = 8  # of the feature map, pixels; near that of the largest scale, and a divisor of the network's stride
_PERCENT = 100


class FeatMapNet(nn.Module):
    """An encoder that sees the image at several scales, sliding pyramid pooling, and two 1x1 convolutions.

    The scales share the encoder, and each has a 3x3 convolution of its own after it. Their maps are brought to one size
    and stacked, together with their maxima over sliding windows: what is around a place helps to tell what it is.

    Args:
        classes: C.
        encoder: of segmentation-models-pytorch: vgg16_bn, resnet34, ... VGG ends before its last pooling, others run
            with an output stride of 16.
        weights: of the encoder, by name; None: as initialised.
        scales: of the image, as the paper has them.
        channels: of each scale's map.
        windows: odd sides of the pooling windows, in places of the map.
        features: channels of what the last layer reads.
        in_channels: of images.

    Input [N,in_channels,H,W] with H and W multiples of 32; output [N,C,H,W].
    """

    def __init__(
        self,
        classes: int,
        encoder: str = "vgg16_bn",
        weights: str | None = None,
        scales: Sequence[float] = (1.2, 0.8, 0.4),
        channels: int = 256,
        windows: Sequence[int] = (5, 9),
        features: int = 512,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        # Whole percents: sizes are then whole numbers times and over whole numbers, which any exporter can follow.
        self.percents, self.windows = [round(_PERCENT * scale) for scale in scales], list(windows)
        self.encoder = _encoder(encoder, weights, in_channels)
        deepest = self.encoder.out_channels[-1]
        self.of_scale = nn.ModuleList(_convolution(deepest, channels, 3) for _ in scales)
        self.mix = _convolution(len(scales) * channels * (1 + len(windows)), features, 1)
        self.segmentation_head = nn.Conv2d(features, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = [side // _STRIDE for side in x.shape[2:]]
        maps = [
            F.interpolate(layer(self.encoder(_scaled(x, percent))[-1]), size, mode="bilinear", align_corners=False)
            for percent, layer in zip(self.percents, self.of_scale, strict=True)
        ]
        stacked = torch.cat(maps, 1)
        around = [F.max_pool2d(stacked, side, 1, side // 2) for side in self.windows]
        logits = self.segmentation_head(self.mix(torch.cat([stacked, *around], 1)))
        return F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)


def _encoder(name: str, weights: str | None, channels: int) -> Any:
    depth = {"depth": 4} if name.startswith("vgg") else {"depth": 5, "output_stride": 16}
    return smp.encoders.get_encoder(name, in_channels=channels, weights=weights, **depth)


def _scaled(x: Tensor, percent: int) -> Tensor:
    if percent == _PERCENT:
        return x
    size = [side * percent // _PERCENT for side in x.shape[2:]]
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def _convolution(channels: int, out: int, side: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, side, padding=side // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )
