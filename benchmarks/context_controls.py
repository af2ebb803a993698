"""Is it context, or only a larger head? Heads with as many weights as the contextual CRF has, that learn from the same
features in as many steps, but by cross-entropy of each place alone.

    python benchmarks/context_controls.py RUN... --data SPEC --test NAME=SPEC ...

RUN is a run with stage `context`. Each head's result is added to the network's logits as the CRF's message is.
`pixelwise` sees one place, `dilated` also those around, by two 3x3 convolutions with dilations of 4 and 8 places.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import RESULTS, print_rows, write_results
from torch import Tensor, nn

from segtool.card import ContextCard
from segtool.crf.contextual.coarse import to_pixels
from segtool.crf.contextual.layer import ContextualCRF
from segtool.data import SegmentationDataset, open_dataset
from segtool.data.statistics import class_weights, statistics
from segtool.evaluation.boundaries import Truth
from segtool.evaluation.counts import TOLERANCES, Counts, count_image
from segtool.evaluation.scores import set_scores
from segtool.train.checkpoint import load_segmenter
from segtool.train.networks import Segmenter
from segtool.train.predict import image_tensor
from segtool.train.stages.context_maps import ContextMaps


def weights_of(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def head(kind: str, features: int, classes: int, budget: int) -> nn.Sequential:
    """The widest of its kind with at most `budget` weights."""

    def made(width: int) -> nn.Sequential:
        if kind == "pixelwise":
            between = [nn.Conv2d(width, width, 1), nn.ReLU()]
        else:
            between = [
                layer for d in (4, 8) for layer in (nn.Conv2d(width, width, 3, padding=d, dilation=d), nn.ReLU())
            ]
        return nn.Sequential(nn.Conv2d(features, width, 1), nn.ReLU(), *between, nn.Conv2d(width, classes, 1))

    width = 1
    while weights_of(made(width + 1)) <= budget:
        width += 1
    return made(width)


class Control(nn.Module):
    """A head in the place of the contextual CRF: what it gives is added to the logits."""

    def __init__(self, context: ContextualCRF, kind: str) -> None:
        super().__init__()
        self.card: ContextCard = context.card
        self.context = [context]  # its normalisation of features, not its weights
        self.classes = context.classes
        self.head = head(kind, context.card.features, context.classes, weights_of(context))
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)

    def of_places(self, features: Tensor) -> Tensor:
        potential = self.context[0].potential
        mean, deviation = (part[:, None, None] for part in (potential.mean, potential.deviation))
        found: Tensor = self.head((features - mean) / deviation)
        return found

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        message = self.of_places(self.context[0].places(features))
        return logits + to_pixels(message, self.card.stride, *logits.shape[2:])


def random_pixels(labels: Tensor, stride: int) -> Tensor:
    """The label of a random pixel of each place, int64 [h,w]."""
    height, width = labels.shape
    first = [stride * torch.arange(-(-side // stride)) for side in (height, width)]
    shape = (len(first[0]), len(first[1]))
    # The last places of an image are smaller.
    rows = first[0][:, None] + (torch.rand(shape) * (height - first[0][:, None]).clamp_max(stride)).long()
    columns = first[1] + (torch.rand(shape) * (width - first[1]).clamp_max(stride)).long()
    return labels[rows, columns].long()


def learn(control: Control, segmenter: Segmenter, images: SegmentationDataset, weight: Tensor, steps: int) -> None:
    """Cross-entropy of a random pixel of each place, with the classes' weights; AdamW and one cycle as in the stage."""
    maps, stride = ContextMaps(images, segmenter), control.card.stride
    unary = [
        F.avg_pool2d(_logits(segmenter, images, i), stride, ceil_mode=True, count_include_pad=False)
        for i in range(len(images))
    ]
    optimizer = torch.optim.AdamW(control.head.parameters(), 0.003, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.003, total_steps=steps, pct_start=0.2)
    for step in range(steps):
        torch.manual_seed(step)
        loss, total = torch.zeros(()), torch.zeros(())
        for index in torch.randint(len(images), (4,)).tolist():
            features, labels = maps[index]
            truth = random_pixels(labels, stride)
            logits = unary[index] + control.of_places(features[None].float())
            known = truth != images.ignore_index
            loss = loss + F.cross_entropy(
                logits[0].flatten(1).T, truth.flatten(), weight, ignore_index=images.ignore_index, reduction="sum"
            )
            total = total + weight[truth[known]].sum()
        optimizer.zero_grad()
        (loss / total).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _logits(segmenter: Segmenter, images: SegmentationDataset, index: int) -> Tensor:
    return segmenter.unary(image_tensor(images.load(index).image, segmenter.mean.device))


@torch.no_grad()
def score(segmenter: Segmenter, images: SegmentationDataset) -> dict[str, float]:
    """Percent, before the dense CRF."""
    counts = Counts.zeros(len(images.classes))
    for index in range(len(images)):
        sample = images.load(index)
        logits = segmenter.contextual(image_tensor(sample.image, segmenter.mean.device))[1]
        truth = Truth(sample.labels, len(images.classes), TOLERANCES)
        counts += count_image(logits.argmax(1)[0].to(torch.uint8).numpy(), truth)
    found = set_scores(counts)
    boundary = found.boundary_f[TOLERANCES.index(2)]
    return {
        "mIoU": round(100 * found.miou, 2),
        "pixel accuracy": round(100 * found.pixel_accuracy, 2),
        "boundary F": round(100 * boundary, 2),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("runs", nargs="+", type=Path)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--test", action="append", required=True, metavar="NAME=SPEC")
    arguments.add_argument("--steps", type=int, default=2000)
    arguments.add_argument("--out", type=Path, default=RESULTS)
    options = arguments.parse_args()
    images = open_dataset(options.data, "train")
    weight = torch.from_numpy(np.asarray(class_weights("log", statistics(images)), np.float32))
    tests = {name: open_dataset(spec, "val") for name, _, spec in (t.partition("=") for t in options.test)}
    rows: list[dict[str, Any]] = []
    for run in options.runs:
        segmenter, card = load_segmenter(run)
        context: Any = segmenter.context
        segmenter.requires_grad_(False)
        for kind in ("none", "contextual CRF", "pixelwise", "dilated"):
            if kind == "none":
                segmenter.context = None
            elif kind == "contextual CRF":
                segmenter.context = context
                context.temperature = 1.0
            else:
                control = Control(context, kind)
                learn(control, segmenter, images, weight, options.steps)
                segmenter.context = control  # type: ignore[assignment]
            known = 0 if kind == "none" else weights_of(segmenter.context)  # type: ignore[arg-type]
            for name, test in tests.items():
                about = {"seed": card.seed, "head": kind, "weights": known, "images": name}
                rows.append({**about, **score(segmenter, test)})
                print(rows[-1], flush=True)
            segmenter.context = context
    print_rows(rows)
    print(write_results("context_controls", rows, options.out, data=options.data, steps=options.steps))


if __name__ == "__main__":
    main()
