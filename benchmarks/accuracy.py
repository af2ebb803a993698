"""How far the lattice is from the exact Gaussian, on crops of photos: messages, labels, and scaled features.

The message of softmax(logits) through the bilateral kernel is compared by relative L2 error, the labels after ten
mean-field iterations by agreement. Scaling the features is what could make the lattice better without making it
slower: a factor below one narrows the kernel that the lattice is built for.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, print_rows, write_results
from PIL import Image
from torch import Tensor

from segtool.bilateral import native
from segtool.bilateral.torch_reference import gaussian_kernel, mean_field, pixel_features

WIDTHS = ((3.0, 80.0, 13.0), (2.0, 60.0, 25.0), (2.0, 30.0, 10.0), (1.5, 20.0, 8.0), (1.5, 10.0, 20.0))
WEIGHTS = (1.0, 3.0)  # Potts, of the spatial and the bilateral kernel
FACTORS = ((1.0, 1.0), (0.96, 1.0), (1.0, 0.96), (0.96, 0.96), (0.92, 1.0), (1.0, 0.92), (1.04, 1.0))
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


def agreement(image: Tensor, logits: Tensor, kernels: list[Tensor], widths: tuple[float, float, float]) -> float:
    """Share of pixels with the exact label after ten iterations."""
    potts = [w * torch.eye(len(logits)) for w in WEIGHTS]
    exact = mean_field(logits.flatten(1).T, kernels, potts, 10).argmax(1)
    q = native.mean_field(logits[None].numpy(), image[None].numpy(), widths, tuple(p.numpy() for p in potts), 10)
    return float((torch.from_numpy(q[0]).argmax(0).flatten() == exact).float().mean())


def study(samples: list[tuple[Tensor, Tensor]], widths: tuple[float, float, float]) -> dict[str, Any]:
    """One row: means over the crops."""
    gamma, alpha, beta = widths
    errors, agreements = [], []
    for image, logits in samples:
        kernels = [gaussian_kernel(pixel_features(image, *s)) for s in ((gamma,), (alpha, beta))]
        q = logits.softmax(0)
        exact = (kernels[1] @ q.flatten(1).T).T.reshape(q.shape)
        errors.append([message_error(image, q, exact, alpha * x, beta * c) for x, c in FACTORS])
        agreements.append(agreement(image, logits, kernels, widths))
    columns = (f"error x{x:g}/{c:g}" for x, c in FACTORS)
    means = dict(zip(columns, np.round(np.mean(errors, 0), 4).tolist(), strict=True))
    return {"gamma": gamma, "alpha": alpha, "beta": beta, "same labels": round(float(np.mean(agreements)), 4), **means}


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
