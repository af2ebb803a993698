"""Data that nobody would make up: constant bands, gaps in one band, files that do not say all."""

import numpy as np
import pytest
from PIL import Image

from segtool import bands
from segtool.data import open_dataset
from segtool.data.checks.inspection import check_all
from segtool.errors import SegtoolWarning
from segtool.images import read_image
from segtool.readers import reader_of
from segtool.runtime import load
from segtool.train.config.presets import load_config
from segtool.train.stages.splits import check_splits, open_splits

from ..command_line import segtool
from .files import five_bands, folder_of_bands, write_bands


def contract_of(spec):
    config = load_config("quickstart", [])
    return check_splits(*open_splits(spec, config), config, None).contract


def doubts_of(spec):
    return " ".join(map(str, check_all(open_dataset(spec, "train"), open_dataset(spec, "val")).doubts))


def test_a_band_that_is_the_same_everywhere_does_not_rule_the_network(tmp_path):
    def make(picture, i):
        found = five_bands(picture, i)
        found[..., 2] = 7
        return found

    spec = folder_of_bands(tmp_path, make, counts=(2, 1))
    contract = contract_of(spec)
    assert (8 - contract.mean[2]) / contract.std[2] <= 1
    assert "a band that is 7 in all images: channel 3" in doubts_of(spec)


def test_a_gap_in_one_band_is_that_bands_mean(bands_run, tmp_path):
    model = load(bands_run / "model.onnx")
    image = model.taken(bands_run / "data" / "val" / "images" / "0.tif").copy()
    gap, mean = image.copy(), image.copy()
    gap[10:30, 10:30, 1], mean[10:30, 10:30, 1] = 0, round(model.card.input.mean[1])
    assert np.array_equal(model(gap).labels, model(mean).labels)
    assert np.allclose(bands.guide(gap, model.card.input), bands.guide(mean, model.card.input), atol=0.5)


def test_files_that_do_not_say_their_nodata_number(tmp_path):
    def make(picture, i):
        found = five_bands(picture, i)
        found[:6] = 0
        return found

    spec = folder_of_bands(tmp_path, make, counts=(2, 1), nodata=0)
    path = tmp_path / "train" / "images" / "1.tif"
    write_bands(path, make(open_dataset("synthetic:64", "train").load(1).image, 1))
    assert "1 of 2 files say which number is no data: 0" in doubts_of(spec)
    contract = contract_of(spec)
    assert reader_of(contract).open(path).missing[:6].all()
    dataset = open_dataset(spec, "train", reader=reader_of(contract))
    assert (dataset.load(1).labels[:6] == 255).all()


def test_an_image_without_data_is_not_blamed_on_its_mask(tmp_path):
    spec = folder_of_bands(tmp_path, five_bands, counts=(2, 1), nodata=0)
    write_bands(tmp_path / "train" / "images" / "0.tif", np.zeros((64, 64, 5), np.uint16), nodata=0)
    assert "an image without any data" in doubts_of(spec)
    assert "nothing but void" not in doubts_of(spec)


@pytest.mark.parametrize("kind", ["five bands", "sixteen bits"])
def test_init_says_that_images_are_no_pictures(tmp_path, kind):
    folder_of_bands(
        tmp_path, lambda p, i: five_bands(p, i)[..., : 5 if kind == "five bands" else 1], None, counts=(2, 1)
    )
    (tmp_path / "classes.yaml").unlink()
    said = segtool("data", "init", tmp_path, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "of uint16: bands: all reads them as they are" in said.stdout
    assert "bands: all" in (tmp_path / "classes.yaml").read_text()
    assert segtool("data", "check", f"folder:{tmp_path}", cwd=tmp_path).returncode == 0


def test_twelve_bits_as_a_picture_are_warned_of(tmp_path):
    Image.fromarray(five_bands(np.full((8, 8, 3), 90, np.uint8))[..., 0]).save(tmp_path / "a.png")
    with pytest.warns(SegtoolWarning, match="as pictures they are nearly black"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.bands=some", r"all, or the numbers of 1 to 32 bands, such as \[4,3,2\]"),
        ("data.bands=3", "all, or the numbers"),
        ("data.bands=[0,1]", "all, or the numbers"),
        ("data.shown=[1,2]", r"three numbers of bands, such as \[3,2,1\]"),
        ("crf.bands=[5,4]", "three numbers of bands"),
    ],
)
def test_settings_that_cannot_be_meant(setting, said):
    from segtool.errors import SegtoolError

    with pytest.raises(SegtoolError, match=said):
        load_config("quickstart", [setting])


def test_bands_of_images_that_are_no_files(tmp_path):
    ended = segtool(
        "train",
        "--preset",
        "quickstart",
        "--data",
        "synthetic:64",
        "--out",
        "run",
        "--set",
        "data.bands=[7,9]",
        cwd=tmp_path,
    )
    assert ended.returncode == 2
    assert "2 bands are wanted of images that have 3: data.bands" in ended.stderr
