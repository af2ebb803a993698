"""A dense CRF behind a segmentation network that you already have, here one of torchvision.

    python examples/crf_on_your_model.py photo.jpg out.png [WEIGHTS]

WEIGHTS is a file of torchvision's, such as lraspp_mobilenet_v3_large-d234d4ea.pth. Without it the network is untrained,
and its labels mean nothing. Any other network does as well, as long as it gives logits.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from segtool.crf.layer import DenseCRF, KernelWidths
from segtool.drawing import overlay, save_image
from segtool.images import read_image
from segtool.palette import voc_color

CLASSES = 21  # of PASCAL VOC
MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def refine(network: nn.Module, crf: DenseCRF, image: Tensor) -> tuple[Tensor, Tensor]:
    """Labels [H,W] of a network and after a CRF, of an image float [3,H,W] with levels 0..255."""
    with torch.inference_mode():
        logits = network(((image / 255 - MEAN) / STD)[None])["out"]  # [1,C,H,W], at the image's size
        refined = crf(logits, image[None])  # the CRF takes the image in levels, not normalised
    return logits.argmax(1)[0], refined.argmax(1)[0]


def main(photo: Path, out: Path, weights: Path | None) -> None:
    network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES).eval()
    if weights is not None:
        network.load_state_dict(torch.load(weights, weights_only=True))
    # Widths in pixels and levels, weights of the two kernels: what suits you depends on images and network. Stage `crf`
    # of segtool train finds and learns them: segtool train --from WEIGHTS --stages crf ...
    crf = DenseCRF(CLASSES, KernelWidths(3.0, 40.0, 8.0), (0.5, 1.0), iterations=10)
    picture = read_image(photo)
    before, after = refine(network, crf, torch.from_numpy(picture).permute(2, 0, 1).float())
    print(f"the CRF changed {100 * float((before != after).float().mean()):.2f} % of the labels")
    colors = [voc_color(index) for index in range(CLASSES)]
    save_image(out, overlay(picture, after.to(torch.uint8).numpy(), colors))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
