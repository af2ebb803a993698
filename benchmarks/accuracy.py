"""How far the lattice is from the exact Gaussian, on crops of photos: messages, labels, and scaled features.

The message of softmax(logits) through the bilateral kernel is compared by relative L2 error, the labels after ten
mean-field iterations by agreement, also those of pydensecrf where it can be imported. Scaling the features is what
could make the lattice better without making it slower: a factor below one narrows the kernel that the lattice is built
for, beyond the 0.96 that it is narrowed by itself; 1.04 is about the lattice of the widths as they are.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, print_rows, write_results
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segtool.crf import native
from segtool.crf.reference import gaussian_kernel, mean_field, pixel_features

try:
    from pydensecrf import densecrf
except ImportError:
    densecrf = None

WIDTHS = ((3.0, 80.0, 13.0), (2.0, 60.0, 25.0), (2.0, 30.0, 10.0), (1.5, 20.0, 8.0), (1.5, 10.0, 20.0))
WEIGHTS = (1.0, 3.0)  # Potts, of the spatial and the bilateral kernel
FACTORS = ((1.0, 1.0), (1.04, 1.04), (0.96, 0.96), (0.96, 1.0), (1.0, 0.96))
SIZE = (120, 90)


def crops(folder: Path, count: int) -> list[tuple[Tensor, Tensor]]:
    """Image [3,H,W] and logits [C,H,W] of `count` random crops; the logits are the truth, blurred and with noise."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    files = sorted((folder / "images").iterdir())
    found = []
    for path in files[:: max(1, len(files) // count)][:count]:
        image, mask = Image.open(path).convert("RGB"), Image.open(folder / "masks" / f"{path.stem}.png")
        x, y = random.integers(0, image.width - SIZE[0]), random.integers(0, image.height - SIZE[1])
        box = (x, y, x + SIZE[0], y + SIZE[1])
        labels = torch.from_numpy(np.array(mask.crop(box))).long()
        classes = 11
        onehot = torch.nn.functional.one_hot(labels.clamp(max=classes), classes + 1)[..., :classes]
        blurred = torch.nn.functional.avg_pool2d(onehot.permute(2, 0, 1).float(), 7, stride=1, padding=3)
        noise = torch.nn.functional.interpolate(torch.randn(1, classes, 12, 15), SIZE[::-1], mode="bilinear")[0]
        found.append((torch.from_numpy(np.array(image.crop(box))).permute(2, 0, 1).float(), 4 * blurred + noise))
    return found


def message_error(image: Tensor, q: Tensor, exact: Tensor, alpha: float, beta: float) -> float:
    """Relative L2 error of the lattice's message."""
    lattice = native.bilateral_lattice(image[None].numpy(), alpha, beta)
    message = native.bilateral_filter(q[None].numpy(), lattice)[0]
    return float(np.linalg.norm(message - exact.numpy()) / np.linalg.norm(exact.numpy()))


def inferences(image: Tensor, logits: Tensor, widths: tuple[float, float, float]) -> dict[str, NDArray[np.int64]]:
    """Labels [H*W] after ten iterations, of the library and, where it can be imported, of pydensecrf."""
    tables = tuple(w * np.eye(len(logits), dtype=np.float32) for w in WEIGHTS)
    q = {"segtool": native.mean_field(logits[None].numpy(), image[None].numpy(), widths, tables, 10)[0]}
    if densecrf is not None:
        classes, height, width = logits.shape
        crf = densecrf.DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(np.ascontiguousarray(-logits.flatten(1).numpy()))
        rgb = np.ascontiguousarray(image.permute(1, 2, 0).to(torch.uint8).numpy())
        crf.addPairwiseGaussian(sxy=widths[0], compat=WEIGHTS[0])
        crf.addPairwiseBilateral(sxy=widths[1], srgb=widths[2], rgbim=rgb, compat=WEIGHTS[1])
        q["pydensecrf"] = np.array(crf.inference(10))
    return {name: p.reshape(len(logits), -1).argmax(0) for name, p in q.items()}


def study(samples: list[tuple[Tensor, Tensor]], widths: tuple[float, float, float]) -> dict[str, Any]:
    """One row: means over the crops."""
    gamma, alpha, beta = widths
    errors, agreements = [], []
    for image, logits in samples:
        kernels = [gaussian_kernel(pixel_features(image, *s)) for s in ((gamma,), (alpha, beta))]
        q = logits.softmax(0)
        message = (kernels[1] @ q.flatten(1).T).T.reshape(q.shape)
        errors.append([message_error(image, q, message, alpha * x, beta * c) for x, c in FACTORS])
        potts = [w * torch.eye(len(logits)) for w in WEIGHTS]
        exact = mean_field(logits.flatten(1).T, kernels, potts, 10).argmax(1).numpy()
        agreements.append({name: np.mean(x == exact) for name, x in inferences(image, logits, widths).items()})
    same = {f"same labels, {n}": round(float(np.mean([a[n] for a in agreements])), 4) for n in agreements[0]}
    columns = (f"error x{x:g}/{c:g}" for x, c in FACTORS)
    means = dict(zip(columns, np.round(np.mean(errors, 0), 4).tolist(), strict=True))
    return {"gamma": gamma, "alpha": alpha, "beta": beta, **same, **means}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a folder with images/ and masks/ of CamVid (classes 0..10)")
    parser.add_argument("--crops", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    samples = crops(options.data, options.crops)
    rows = [study(samples, widths) for widths in WIDTHS]
    print_rows(rows)
    note = "error xS/C: alpha times S, beta times C; relative L2 error of the bilateral message"
    print(write_results("accuracy", rows, options.out, crops=len(samples), size=SIZE, weights=WEIGHTS, unit=note))


if __name__ == "__main__":
    main()
