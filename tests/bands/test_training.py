"""Bands in training: what is learned from the images, how they are augmented, what is refused."""

import numpy as np
import pytest
import torch

from segtool.data import Sample, SegmentationDataset, named_classes, open_dataset
from segtool.data.checks.inspection import Inspection, check_all
from segtool.errors import SegtoolError
from segtool.readers import BandReader
from segtool.train.augmentation import TrainingCrops, WholeImages
from segtool.train.cache import CachedDataset
from segtool.train.config.presets import load_config
from segtool.train.config.settings import DataConfig
from segtool.train.stages.piecewise import PiecewiseTrainer
from segtool.train.stages.splits import check_splits, open_splits

from ..command_line import segtool
from ..conftest import TINY
from .files import five_bands, folder_of_bands, write_bands


def train(spec, *options, cwd):
    return segtool("train", "--preset", "quickstart", "--data", spec, "--out", "run", *options, cwd=cwd)


def test_normalisation_is_that_of_the_data(tmp_path):
    spec = folder_of_bands(tmp_path, five_bands)
    config = load_config("quickstart", ["data.shown=[3,2,1]", "crf.bands=[4,5,1]"])
    contract = check_splits(*open_splits(spec, config), config, None).contract
    dataset = open_dataset(spec, "train")
    every = np.concatenate([dataset.load(i).image.reshape(-1, 5) for i in range(len(dataset))]).astype(float)
    low, high = np.percentile(every, (1, 99), axis=0)
    assert np.allclose(contract.low, low, rtol=0.02)
    assert np.allclose(contract.high, high, rtol=0.02)
    assert np.allclose(contract.mean, np.clip(every, 2 * low - high, 2 * high - low).mean(0), rtol=0.02)
    assert (contract.kind, contract.bands, contract.shown, contract.guide) == (
        "uint16", (1, 2, 3, 4, 5), (3, 2, 1), (4, 5, 1),
    )  # fmt: skip
    chosen = load_config("quickstart", ["data.bands=[4,2]"])
    assert check_splits(*open_splits(spec, chosen), chosen, None).contract.bands == (4, 2)


def test_no_data_is_void(tmp_path):
    def with_gaps(picture, i):
        bands = five_bands(picture).astype(np.float32)
        bands[:4, :7], bands[10, 10, 2] = -9999, np.nan
        return bands

    dataset = open_dataset(folder_of_bands(tmp_path, with_gaps, nodata=-9999), "train")
    sample = dataset.load(0)
    assert (sample.labels[:4, :7] == 255).all()
    assert sample.labels[10, 10] != 255
    doubts = check_all(dataset).doubts
    assert "labelled pixels have no number in some bands" in " ".join(map(str, doubts))


def test_images_that_are_not_as_the_others_are_listed(tmp_path):
    spec = folder_of_bands(tmp_path, five_bands)
    for name, bands in ((0, np.ones((64, 64, 4), np.uint16)), (1, np.ones((64, 64, 5), np.float32))):
        write_bands(tmp_path / "train" / "images" / f"{name}.tif", bands)
    (tmp_path / "train" / "images" / "2.tif").write_bytes(b"II*\0 not much more")
    checked = segtool("data", "check", spec, cwd=tmp_path)
    assert checked.returncode == 1
    for said in ("an image of 4 bands of uint16", "an image of 5 bands of float32", "most have 5 of uint16", "2.tif"):
        assert said in checked.stdout, checked.stdout
    trained = train(spec, cwd=tmp_path)
    assert trained.returncode == 2
    assert "2 more problems" in trained.stderr
    assert not (tmp_path / "run").exists()


def test_files_that_say_of_two_numbers_that_they_are_no_data(tmp_path):
    spec = folder_of_bands(tmp_path, five_bands, nodata=0)
    write_bands(tmp_path / "train" / "images" / "0.tif", np.ones((64, 64, 5), np.uint16), nodata=65535)
    problems = [str(problem.what) for problem in Inspection(open_dataset(spec, "train"), training=True).problems]
    assert "files have several numbers for no data, 0, 65535" in problems


@pytest.mark.parametrize("bands", ["three", "[]", "[0, 1]", "[1.5]", "{a: 1}"])
def test_bands_that_classes_yaml_cannot_mean(tmp_path, bands):
    spec = folder_of_bands(tmp_path, five_bands, bands, counts=(1, 1))
    with pytest.raises(SegtoolError, match=r"bands is .*\(bands: all, or their numbers"):
        open_dataset(spec, "train")


def test_settings_of_bands_that_are_not_there(tmp_path):
    spec = folder_of_bands(tmp_path / "data", five_bands, counts=(2, 1))
    for setting, data, said in (
        ("data.bands=[1,9]", spec, "there is no band 9"),
        ("data.shown=[1,2,9]", spec, "band 9 is not read: data.shown"),
        ("crf.bands=[9,2,1]", spec, "band 9 is not read: crf.bands"),
        ("crf.bands=[3,2,1]", "synthetic:64", "images are read as pictures"),
        ("data.bands=[0]", spec, "data.bands"),
    ):
        ended = segtool(
            "train", "--preset", "quickstart", "--data", data, "--out", "run", "--set", setting, cwd=tmp_path
        )
        assert ended.returncode in (1, 2), setting
        assert said in ended.stderr, ended.stderr
        assert not (tmp_path / "run").exists()


class Floating(SegmentationDataset):
    """Arrays of one's own: floating-point numbers around a million, with gaps."""

    reader = BandReader()

    def __init__(self):
        self.name, self.split, self.classes = "mine", "train", named_classes(["a", "b"])

    def __len__(self):
        return 4

    def identifier(self, index):
        return str(index)

    def load(self, index):
        image = np.random.default_rng(index).normal(1e6, 1e4, (40 + index, 50, 4)).astype(np.float32)
        image[:3, :3] = np.nan
        return Sample(image, np.zeros(image.shape[:2], np.uint8))


def contract_of(dataset):
    return Inspection(dataset, training=False).numbers.contract(())


def test_a_cache_gives_back_every_kind_of_number(tmp_path):
    dataset = Floating()
    for folder in (None, tmp_path):
        cache = CachedDataset(dataset, folder)
        for i in range(len(dataset)):
            assert np.array_equal(cache.load(i).image, dataset.load(i).image, equal_nan=True)
            assert np.array_equal(cache.load(i).labels, dataset.load(i).labels)


def test_crops_of_bands(tmp_path):
    dataset, contract = Floating(), contract_of(Floating())
    config = DataConfig(crop=(32, 32), rotate=20, noise=3, color_jitter=0.2)
    crops = TrainingCrops(dataset, config, 0, contract)
    image, labels = crops[0]
    assert (image.shape, image.dtype, labels.shape) == ((4, 32, 32), torch.float32, (32, 32))
    assert torch.equal(image, crops[0][0])  # a function of seed, epoch and image
    assert not torch.equal(image, crops[4][0])
    many = torch.stack([crops[i][0] for i in range(40)])
    assert torch.isfinite(many).all()  # gaps do not spread
    assert 9.7e5 < many.mean() < 1.03e6
    whole, _ = WholeImages(dataset)[0]
    assert torch.equal(whole.permute(1, 2, 0).nan_to_num(), torch.from_numpy(dataset.load(0).image).nan_to_num())


def test_jitter_of_bands_keeps_their_order():
    """Brightness and contrast are the same affine function of all pixels of a band."""
    dataset, contract = Floating(), contract_of(Floating())
    plain = {"crop": (40, 50), "scale": (1.0, 1.0), "flip": False}
    same = TrainingCrops(dataset, DataConfig(**plain, color_jitter=0), 0, contract)[0][0]
    moved = TrainingCrops(dataset, DataConfig(**plain, color_jitter=0.4), 0, contract)[0][0]
    assert not torch.allclose(same, moved)
    for before, after in zip(same.double(), moved.double(), strict=True):
        slope, offset = np.polyfit(before.flatten(), after.flatten(), 1)
        assert np.allclose(after, slope * before + offset, atol=20)


def test_a_checkpoint_for_other_images_is_refused(tmp_path, tiny_run):
    config = load_config("quickstart", TINY)
    spec = folder_of_bands(tmp_path / "data", five_bands, counts=(2, 1))
    trainer = PiecewiseTrainer(config, spec, tmp_path / "run", ["unary"], start=tiny_run, report=lambda line: None)
    with pytest.raises(SegtoolError, match=r"the checkpoint is for pictures: .*for the bands 1, 2, 3, 4, 5 of uint16"):
        trainer.prepare()


def test_a_sanity_run_on_bands(tmp_path):
    spec = folder_of_bands(tmp_path / "data", five_bands, counts=(2, 1))
    settings = [option for setting in TINY for option in ("--set", setting)]
    ended = segtool(
        "train", "--preset", "quickstart", "--data", spec, "--out", "run", "--sanity", *settings, cwd=tmp_path
    )
    assert "step 25" in ended.stdout, ended.stderr
