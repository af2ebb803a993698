"""The splits of a run: how their images are read, and what a model that learns from them takes."""

from pathlib import Path
from typing import NamedTuple

from segtool.data import SegmentationDataset, open_dataset
from segtool.data.checks.findings import Group
from segtool.data.checks.inspection import check_all
from segtool.data.checks.numbers import BandNumbers
from segtool.data.joined import open_training
from segtool.data.statistics import Statistics
from segtool.errors import SegtoolError
from segtool.input_contract import InputContract
from segtool.readers import BandReader, Reader, reader_of, reader_of_bands
from segtool.train.checkpoint_file import checkpoint_path, is_checkpoint, read_card
from segtool.train.config.settings import TrainConfig


class CheckedSplits(NamedTuple):
    """Splits without problems: what looks wrong, what the training masks hold, what images are."""

    doubts: list[Group]
    training: Statistics
    contract: InputContract


def open_splits(
    data: str, config: TrainConfig, start: Path | None = None
) -> tuple[SegmentationDataset, SegmentationDataset]:
    """The training and the validation split, read as `data.bands`, the checkpoint that a run starts from, or the
    dataset itself says.

    Raises:
        SegtoolError: one of them cannot be opened.
    """
    reader: Reader | None = None
    if config.data.bands is not None:
        reader = reader_of_bands(config.data.bands)
    elif (known := _contract_in(start)) is not None and known.bands is not None:
        reader = reader_of(known)
    train = open_training(data, config.data.also, reader)
    return train, open_dataset(data, "val", reader=reader or train.reader)


def contract_of_image(
    dataset: SegmentationDataset, config: TrainConfig, index: int = 0, start: Path | None = None
) -> InputContract:
    """What one image says of all: their bands, and of which kind their numbers are.

    Raises:
        SegtoolError: it cannot be read, or settings say something of bands that are not there.
    """
    numbers = BandNumbers(1)
    if not dataset.reader.pictures:
        numbers.add(dataset.load(index).image, dataset.identifier(index))
    return _contract(numbers, dataset, config, start)


def check_splits(
    train: SegmentationDataset, val: SegmentationDataset, config: TrainConfig, start: Path | None
) -> CheckedSplits:
    """Reads every image and mask.

    Raises:
        SegtoolError: the first kind of problem, and how many problems there are besides.
    """
    verdict = check_all(train, val)
    return CheckedSplits(verdict.doubts, verdict.training, _contract(verdict.numbers, train, config, start))


def read_as(contract: InputContract, *datasets: SegmentationDataset) -> None:
    """From now on images are what a model takes."""
    for dataset in datasets:
        dataset.reader = reader_of(contract)


def _contract(
    numbers: BandNumbers, dataset: SegmentationDataset, config: TrainConfig, start: Path | None
) -> InputContract:
    """That of the checkpoint that a run starts from, if it starts from one: its network knows no other numbers."""
    reader, known = dataset.reader, _contract_in(start)
    if not isinstance(reader, BandReader):
        for name, bands in (("data.shown", config.data.shown), ("crf.bands", config.crf.bands)):
            if bands is not None:
                mend = "--set data.bands=all reads all bands of image files"
                raise SegtoolError("images are read as pictures, which have no bands to choose", where=name, mend=mend)
        return InputContract()
    found = numbers.contract(reader.bands, config.data.shown, config.crf.bands)
    if known is None or known.bands != found.bands:
        return found
    chosen = {"shown": config.data.shown, "guide": config.crf.bands}
    update = {name: getattr(found, name) for name, bands in chosen.items() if bands is not None}
    return known.model_copy(update=update)


def _contract_in(start: Path | None) -> InputContract | None:
    if start is None or not is_checkpoint(start):
        return None
    return read_card(checkpoint_path(start)).input
