"""The cache of decoded images, and what training draws from it."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segtool.data import open_dataset
from segtool.errors import SegtoolError
from segtool.train import cache
from segtool.train.augmentation import TrainingCrops, WholeImages
from segtool.train.config.settings import DataConfig
from segtool.train.seeds import EpochSampler, seed_of

PLAIN = {"scale": (1.0, 1.0), "flip": False, "color_jitter": 0.0}


@pytest.fixture
def dataset():
    return open_dataset("synthetic:48", "train")


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_every_image_comes_back_as_it_is(dataset, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_BLOCK", 5 * 4 * 48 * 48)  # several blocks
    kept = cache.cached(dataset, kind, tmp_path / "cache", lambda line: None)
    for index in range(len(dataset)):
        (image, labels), (a, b) = dataset.load(index), kept.load(index)
        assert np.array_equal(image, a)
        assert np.array_equal(labels, b)
    assert (len(kept), kept.identifier(7), kept.record()) == (len(dataset), dataset.identifier(7), dataset.record())
    assert len(list((tmp_path / "cache").glob("*.bin"))) == (0 if kind == "ram" else len(dataset) // 5)


def test_images_are_decoded_once(dataset, monkeypatch):
    kept = cache.CachedDataset(dataset)
    monkeypatch.setattr(dataset, "load", lambda index: pytest.fail("read again"))
    crops = TrainingCrops(kept, DataConfig(crop=(32, 32)))
    for _ in DataLoader(crops, 8, sampler=EpochSampler(len(crops), 0)):
        pass


def test_memory_is_checked_before_anything_is_read(dataset, tmp_path, monkeypatch):
    needed = cache.decoded_bytes(dataset)
    assert needed == len(dataset) * 48 * 48 * 4
    monkeypatch.setattr(cache, "free_memory", lambda: int(1.5 * needed))
    said = []
    assert cache.cached(dataset, "auto", tmp_path, said.append) is dataset
    assert "decoded again and again" in said[0]
    assert cache.cached(dataset, "ram", tmp_path, said.append) is not dataset
    with pytest.raises(SegtoolError, match=r"do not fit into.*data\.cache=disk"):
        cache.cached(dataset, "ram", tmp_path, said.append, copies=2)


def test_what_is_drawn_depends_on_seed_epoch_and_image_alone(dataset):
    config = DataConfig(crop=(32, 32), rotate=10, noise=4)

    def items(seed, workers):
        sampler = EpochSampler(len(dataset), seed)
        sampler.set_epoch(3)
        loader = DataLoader(TrainingCrops(dataset, config, seed), 16, sampler=sampler, num_workers=workers)
        torch.manual_seed(workers)  # the state of torch's own generator does not matter
        return torch.cat([images for images, _ in loader])

    here, workers = items(0, 0), items(0, 2)
    assert torch.equal(here, workers)
    assert not torch.equal(here, items(1, 0))


def test_processes_share_every_epoch_s_order():
    alone = EpochSampler(103, 5)
    several = [EpochSampler(103, 5, rank, 4) for rank in range(4)]
    for sampler in (alone, *several):
        sampler.set_epoch(2)
    order, parts = list(alone), [list(sampler) for sampler in several]
    assert [len(part) for part in parts] == [25] * 4
    assert [key for keys in zip(*parts, strict=True) for key in keys] == order[:100]
    assert sorted(key - 2 * 103 for key in order) == list(range(103))
    alone.set_epoch(3)
    assert [key % 103 for key in alone] != [key % 103 for key in order]


def test_validation_is_split_without_counting_twice(dataset):
    val = open_dataset("synthetic:48", "val")
    parts = [WholeImages(val, limit=7, rank=rank, world=3) for rank in range(3)]
    items = [part[i] for part in parts for i in range(len(part))]
    assert [len(part) for part in parts] == [3, 3, 3]
    repeated = [labels for _, labels in items if (labels == val.ignore_index).all()]
    assert len(repeated) == 2
    whole = WholeImages(val, limit=7)
    images = {image.numpy().tobytes() for image, _ in items}
    assert images == {whole[i][0].numpy().tobytes() for i in range(7)}


def test_seeds_differ_wherever_they_should():
    keys = [(s, name, e, i) for s in (0, 1) for name in ("crop", "order") for e in range(3) for i in range(50)]
    assert len({seed_of(*key) for key in keys}) == len(keys)


def test_noise_has_the_deviation_that_was_asked_for(dataset):
    plain, noisy = (TrainingCrops(dataset, DataConfig(crop=(48, 48), noise=n, **PLAIN)) for n in (0, 6.0))
    differences = torch.stack([noisy[i][0] - plain[i][0] for i in range(40)])
    inside = torch.stack([(plain[i][0] > 40) & (plain[i][0] < 215) for i in range(40)])
    assert float(differences[inside].std()) == pytest.approx(6.0, rel=0.05)
    assert all(torch.equal(noisy[i][1], plain[i][1]) for i in range(40))


def test_rotation_turns_image_and_mask_together(dataset):
    """Where the labels say sky, the picture has the sky's colours, turned or not."""
    turned = TrainingCrops(dataset, DataConfig(crop=(48, 48), rotate=90, **PLAIN), seed=1)
    plain = TrainingCrops(dataset, DataConfig(crop=(48, 48), **PLAIN), seed=1)
    moved = 0
    for i in range(30):
        (a, b), (image, labels) = plain[i], turned[i]
        moved += int((labels == 255).any())
        for c in range(5):
            if (b == c).sum() > 200 and (labels == c).sum() > 200:
                before, after = a[:, b == c].mean(1), image[:, labels == c].mean(1)
                assert (before - after).abs().max() < 25
    assert moved > 20  # corners came in as void


def test_free_memory_is_less_than_the_machine_has():
    import psutil

    assert 0 < cache.free_memory() <= psutil.virtual_memory().total
