"""The plain U-Net of Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation" (2015), with
batch norm and padded convolutions, and bilinear upsampling in place of transposed convolutions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UNet(nn.Module):
    """64-128-256-512-1024/2 channels: the deepest level has half as many, for upsampling does not reduce them.

    Args:
        classes: C.
        width: channels of the first level.
        in_channels: of images.

    Input [N,in_channels,H,W] with H and W multiples of 16; output [N,C,H,W].
    """

    def __init__(self, classes: int, width: int = 64, in_channels: int = 3) -> None:
        super().__init__()
        sizes = [width, 2 * width, 4 * width, 8 * width, 16 * width // 2]
        self.encoder = nn.ModuleList(
            double_convolution(a, b) for a, b in zip([in_channels, *sizes], sizes, strict=False)
        )
        skips = sizes[-2::-1]
        below = [sizes[-1], *(s // 2 for s in skips)]
        outs = [*(s // 2 for s in skips[:-1]), skips[-1]]
        self.decoder = nn.ModuleList(
            double_convolution(s + b, o, (s + b) // 2) for s, b, o in zip(skips, below, outs, strict=False)
        )
        self.segmentation_head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.encoder[0](x)]
        for block in self.encoder[1:]:
            levels.append(block(F.max_pool2d(levels[-1], 2)))
        x = levels.pop()
        for block, skip in zip(self.decoder, reversed(levels), strict=True):
            x = F.interpolate(x, skip.shape[2:], mode="bilinear", align_corners=True)
            x = block(torch.cat([skip, x], 1))
        return self.segmentation_head(x)


def double_convolution(channels: int, out: int, between: int | None = None) -> nn.Sequential:
    """(3x3 convolution, batch norm, ReLU) twice."""
    between = between or out
    layers: list[nn.Module] = []
    for a, b in ((channels, between), (between, out)):
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
