"""What the trainer costs beyond the training itself: images a second against a bare PyTorch loop with the same network,
batches, loss and optimizer, in turns; and how fast the batches alone come."""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import RESULTS, print_rows, write_results
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from segtool.allocator import keep_freed_memory
from segtool.data import SegmentationDataset, open_dataset
from segtool.data.statistics import class_weights, statistics
from segtool.input_contract import InputContract
from segtool.train.cache import CachedDataset
from segtool.train.config.presets import load_config
from segtool.train.config.settings import TrainConfig
from segtool.train.config.stages import STAGES
from segtool.train.device import device
from segtool.train.loggers import build_loggers
from segtool.train.losses import SegmentationLoss
from segtool.train.module import StageModule
from segtool.train.networks import Segmenter
from segtool.train.networks.network import build_network
from segtool.train.optimizers import build_optimizer, build_schedule, network_groups
from segtool.train.run_folder import RunFolder
from segtool.train.stages.fitting import fit_stage
from segtool.train.stages.loaders import training_batches, validation_batches, worker_count


class Case:
    """Everything that both loops share."""

    def __init__(self, config: TrainConfig, data: str) -> None:
        self.config = config
        self.images: SegmentationDataset = CachedDataset(open_dataset(data, "train"))
        self.val = open_dataset(data, "val")
        self.class_weight = class_weights(config.loss.class_weights, statistics(self.images))

    def start(self) -> tuple[Segmenter, SegmentationLoss, DataLoader]:
        """A new network, the loss, the batches."""
        torch.manual_seed(0)
        segmenter = Segmenter(build_network(self.config.model, len(self.images.classes)), InputContract())
        criterion = SegmentationLoss(self.config.loss, self.class_weight, self.images.ignore_index)
        size = self.config.data.batch_size
        assert size != "auto"
        return segmenter, criterion, training_batches(STAGES["unary"], self.config, self.images, segmenter, size)


def bare_loop(case: Case) -> list[float]:
    """Images a second of each epoch, without the first."""
    segmenter, criterion, batches = case.start()
    where, stage = device(), case.config.unary
    segmenter.to(where, memory_format=torch.channels_last).train()
    criterion.to(where)
    optimizer = build_optimizer(stage, network_groups(segmenter.network, stage.learning_rate))
    schedule: Any = build_schedule(stage, optimizer, stage.epochs * len(batches))
    rates = []
    for epoch in range(stage.epochs):
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        start, seen, total = time.perf_counter(), 0, torch.zeros((), device=where)
        for image, labels in batches:
            loss = criterion(segmenter.unary(image.to(where)), labels.to(where))
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(segmenter.parameters(), stage.gradient_clip)
            optimizer.step()
            schedule["scheduler"].step()
            seen += len(image)
            total += loss.detach()
        float(total)  # waits for the device
        rates.append(seen / (time.perf_counter() - start))
    return rates[1:]


def trainer(case: Case) -> list[float]:
    """The same of segtool's trainer, with its logs, checkpoints and history."""
    segmenter, criterion, batches = case.start()
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        fit_stage(
            StageModule("unary", segmenter, case.config, criterion),
            case.config,
            run,
            batches,
            validation_batches(case.config, case.val),
            trained=False,
            loggers=build_loggers(case.config, run.path, "unary", "benchmark"),
            save=lambda path: None,
            report=lambda line: None,
        )
        rows = [json.loads(line) for line in run.history.read_text().splitlines()]
    return [row["images_per_second"] for row in rows][1:]


def loading(case: Case) -> list[float]:
    """Images a second of the batches alone."""
    batches, rates = case.start()[2], []
    for epoch in range(case.config.unary.epochs):
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        start = time.perf_counter()
        seen = sum(len(image) for image, _ in batches)
        rates.append(seen / (time.perf_counter() - start))
    return rates[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="synthetic:192")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    overrides = [f"unary.epochs={options.epochs}", f"unary.validate_every={options.epochs}", "data.crop=[192, 192]"]
    config = load_config("quickstart", [*overrides, "data.validation_images=2", *options.set])
    keep_freed_memory()
    case = Case(config, options.data)
    functions = {"batches alone": loading, "bare PyTorch loop": bare_loop, "segtool's trainer": trainer}
    rates: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(options.turns):
        for name, function in functions.items():
            rates[name] += function(case)
    bare = median(rates["bare PyTorch loop"])
    rows = [
        {"": name, "images/s": round(median(found), 1), "of the bare loop": round(median(found) / bare, 3)}
        for name, found in rates.items()
    ]
    print_rows(rows)
    model = f"{config.model.architecture}, {config.model.encoder}, {config.data.crop}, batch {config.data.batch_size}"
    more = {"data": options.data, "model": model, "device": str(device()), "workers": worker_count(config)}
    print(write_results("training", rows, options.out, **more))


if __name__ == "__main__":
    main()
