"""Which images of a folder are which split: drawn, or listed."""

from segtool.data import open_dataset

from .descriptions import TRUTH, describe, names, photo, refused, save


def film(root, films=8, frames=5):
    for i in range(films):
        for j in range(frames):
            photo(root / "images" / f"film{i}_{j:03d}.png", i * frames + j)
            save(root / "masks" / f"film{i}_{j:03d}.png", TRUTH)


def test_drawn_splits_do_not_part_films(tmp_path):
    film(tmp_path)
    text = 'images: "images/{stem}"\nmasks: "masks/{stem}"\nsplit: {val: 0.25, test: 0.125, seed: SEED}'
    spec = describe(tmp_path, text.replace("SEED", "0"))
    found = {split: names(spec, split) for split in ("train", "val", "test")}
    assert {split: len(n) for split, n in found.items()} == {"train": 25, "val": 10, "test": 5}
    films = {split: {name.split("_")[0] for name in n} for split, n in found.items()}
    assert not films["train"] & films["val"]
    assert not (films["train"] | films["val"]) & films["test"]
    assert sorted(name for n in found.values() for name in n) == names(spec, "all")
    other = describe(tmp_path, text.replace("SEED", "1"))
    assert names(other, "val") != found["val"]


def test_a_new_film_hardly_changes_the_draw(tmp_path):
    film(tmp_path, 20, 1)
    spec = describe(tmp_path, 'images: "images/{stem}"\nmasks: "masks/{stem}"\nsplit: {val: 0.3, by: image}')
    before = set(names(spec, "val"))
    film(tmp_path, 21, 1)
    assert len(before ^ set(names(spec, "val"))) <= 2


def test_one_film_cannot_be_dealt(tmp_path):
    film(tmp_path, 1)
    spec = describe(tmp_path, 'images: "images/{stem}"\nmasks: "masks/{stem}"\nsplit: {val: 0.2}')
    refused(spec, r"1 group of images \(by: prefix\) cannot be dealt to 2 splits: .*by: image")


def test_lists_of_names(tmp_path):
    film(tmp_path, 2, 2)
    layout = 'images: "images/{stem}"\nmasks: "masks/{stem}"\nsplit: {train: train.txt, val: val.txt}'
    spec = describe(tmp_path, layout)
    (tmp_path / "train.txt").write_text("film0_000\nimages/film0_001.png\n\n")
    (tmp_path / "val.txt").write_text("film1_000.png\r\nfilm9\n")
    assert names(spec, "train") == ["film0_000", "film0_001"]
    refused(spec, "a listed image is missing: film9", "val")
    refused(spec, "unknown split: vall .did you mean val", "vall")
    (tmp_path / "val.txt").unlink()
    refused(spec, "no such file: .*val.txt", "val")


def test_a_line_means_the_name_before_the_stem(tmp_path):
    for folder in ("", "b"):
        for i in (1, 2):
            photo(tmp_path / "images" / folder / f"{i}.png", i)
            save(tmp_path / "masks" / folder / f"{i}.png", TRUTH)
    layout = 'images: "images/**/{stem}"\nmasks: "masks/**/{stem}"\nsplit: {train: train.txt, val: val.txt}'
    spec = describe(tmp_path, layout)
    (tmp_path / "train.txt").write_text("1\n2\n")
    (tmp_path / "val.txt").write_text("b/1\nb/2\n")
    assert (names(spec, "train"), names(spec, "val")) == (["1", "2"], ["b/1", "b/2"])
    (tmp_path / "train.txt").write_text("1.png\n")  # two images are called so
    refused(spec, "a line names several images: .*b/1.png")


def test_images_in_no_list_are_told(tmp_path):
    film(tmp_path, 2, 2)
    spec = describe(tmp_path, 'images: "images/{stem}"\nmasks: "masks/{stem}"\nsplit: {train: train.txt, val: val.txt}')
    (tmp_path / "train.txt").write_text("film0_000\nfilm0_001\n")
    (tmp_path / "val.txt").write_text("film1_000\n")
    (doubt,) = open_dataset(spec, "train").doubts
    assert (doubt.what, doubt.where) == ("an image is in none of the lists of splits", "film1_001")
    assert open_dataset(spec, "val").doubts == []


def test_a_large_film_is_not_taken_for_a_small_share(tmp_path):
    for i, frames in enumerate((30, 3, 3, 3, 3)):
        for j in range(frames):
            photo(tmp_path / "images" / f"film{i}_{j:03d}.png", i)
            save(tmp_path / "masks" / f"film{i}_{j:03d}.png", TRUTH)
    for seed in range(6):
        layout = f'images: "images/{{stem}}"\nmasks: "masks/{{stem}}"\nsplit: {{val: 0.15, seed: {seed}}}'
        assert len(names(describe(tmp_path, layout), "val")) == 6
    spec = describe(tmp_path, 'images: "images/{stem}"\nmasks: "masks/{stem}"\nsplit: {val: 0.5}')
    (doubt,) = open_dataset(spec, "val").doubts
    assert doubt.what.endswith(" of 42 images are drawn, where 0.5 of them were asked for")


def test_names_of_roboflow_are_of_one_film(tmp_path):
    for i in range(4):
        for j in range(3):
            name = f"film{i}_{j:04d}_jpg.rf.{i * 7919 + j:032x}"
            photo(tmp_path / "images" / f"{name}.png", i)
            save(tmp_path / "masks" / f"{name}.png", TRUTH)
    spec = describe(tmp_path, 'images: "images/{stem}"\nmasks: "masks/{stem}"\nsplit: {val: 0.25}')
    assert len({name.split("_")[0] for name in names(spec, "val")}) == 1
