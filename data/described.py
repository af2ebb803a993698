"""A dataset of image files and mask files, opened as its description says."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from segtool.data.checks.findings import Finding
from segtool.data.description import Description, label_of
from segtool.data.pairs import Layer, Pair, Paired, PairsDataset, ambiguous, complete_pairs, not_read
from segtool.data.patterns import ANY_FOLDERS, Match, Matches
from segtool.data.splits import Member, no_such_split
from segtool.errors import SegtoolError
from segtool.readers import reader_of_bands

Key = tuple[str, ...]


def open_described(description: Description, name: str, split: str) -> PairsDataset:
    """Opens a split.

    Args:
        name: of the dataset, as the model card will have it.

    Raises:
        SegtoolError: a folder is missing, or the split.
    """
    paired = _paired(description, name, split)
    dataset = PairsDataset(
        name,
        split,
        description.classes,
        *paired,
        ignore_index=description.ignore_index,
        values=description.values,
        elsewhere=description.elsewhere,
    )
    dataset.reader = reader_of_bands(description.bands)
    return dataset


def _paired(description: Description, name: str, split: str) -> Paired:
    _check_names(description)
    root, rule = description.root, description.split
    fields = _split_fields(description, split)
    for pattern in (description.images, description.masks):
        folder, of_split = pattern.folder(fields), "split" in pattern.names
        _require(root / folder, folder, name, split if of_split else None)
    images, masks = (pattern.find(root, fields) for pattern in (description.images, description.masks))
    mask_files = {match.path for match in masks.found}
    images = images._replace(found=[match for match in images.found if match.path not in mask_files])
    names = [_name(match, description.images.names) for match in images.found]
    layers, problems = _layers(description, masks)
    wanted = [
        _pair(description, match, image, layers.get(_key(description, match), []))
        for match, image in zip(images.found, names, strict=True)
    ]
    problems += _twice(description, images, masks)
    lone = _lone(description, images, masks)
    drawn: Sequence[Finding] = ()
    if not fields:
        members = [
            Member(pair.name, match.path.relative_to(root).as_posix(), match.fields)
            for pair, match in zip(wanted, images.found, strict=True)
        ]
        chosen = rule.chosen(split, members, root, description.path)
        wanted = [wanted[place] for place in chosen.places]
        problems += [_not_there(missing, description) for missing in chosen.missing]
        drawn = chosen.doubts
    pairs, incomplete = complete_pairs(wanted, sorted(path.stem for path in lone))
    doubts = [Finding("a mask has no image, and is left out", str(path)) for path in lone]
    return Paired(pairs, [*incomplete, *problems], [*_left_out(description, images, masks), *doubts, *drawn])


def _check_names(description: Description) -> None:
    """Names under `ids:` are those of annotation tools, or of folders for each class."""
    if description.names and "class" not in description.masks.names:
        name = next(iter(description.names))
        mend = "numbers are not quoted, and colours begin with #"
        raise SegtoolError(f"ids names the text {name!r}, and masks hold no texts", where=description.path, mend=mend)


def _split_fields(description: Description, split: str) -> dict[str, str]:
    """What `{split}` stands for; nothing where splits are not folders."""
    rule = description.split
    if "split" not in description.images.names:
        if "split" in description.masks.names:
            raise SegtoolError("masks has {split}, and images has not", where=description.path)
        return {}
    if rule.lists or rule.shares:
        mend = "either images has {split}, or split: says which images"
        raise SegtoolError("{split} is a folder, and split: has lists or shares", where=description.path, mend=mend)
    return {"split": rule.folders.get(split, split)}


def _require(folder: Path, wanted: str, name: str, split: str | None) -> None:
    if folder.is_dir():
        return
    mend = f"{name} has {wanted} in its folder" if wanted else None
    if split is None or name != "folder":
        raise SegtoolError("no such folder", where=folder, mend=mend)
    mend = "split: in classes.yaml says what it is, such as split: {train: training, val: validation}"
    raise no_such_split(split, f"there is no split {split}, no folder", folder, mend)


def _name(match: Match, names: Sequence[str]) -> str:
    """An image's name: all that its path's names stand for, but for the split."""
    return "/".join(match.fields[name] for name in names if name != "split" and match.fields[name])


def _key(description: Description, match: Match) -> Key:
    """What an image and its mask have in common."""
    return tuple(match.fields[n] for n in description.masks.names if n in match.fields and n != "class")


def _layers(description: Description, masks: Matches) -> tuple[dict[Key, list[Layer]], list[SegtoolError]]:
    """The masks of each key; those of classes in the order of the classes."""
    found: dict[Key, list[Layer]] = defaultdict(list)
    unknown: list[SegtoolError] = []
    for match in masks.found:
        try:
            label = _class_of(match.fields, description) if description.layered else -1
        except SegtoolError as error:
            unknown.append(SegtoolError("masks of a class that is none", where=match.path, mend=error.mend))
            continue
        found[_key(description, match)].append(Layer(match.path, label))
    for layers in found.values():
        layers.sort(key=lambda layer: layer.label)
    return found, unknown


def _class_of(fields: Mapping[str, str], description: Description) -> int:
    """The class that `{class}` stands for; the second one where the pattern has none."""
    name = fields.get("class")
    if name is None:
        return 1
    if name in description.names:
        return description.names[name]
    known = any(c.name == name for c in description.classes)
    if not known and description.other is not None:
        return description.other
    return label_of(name, description.classes, description.ignore_index, description.path.name)


def _pair(description: Description, image: Match, name: str, layers: Sequence[Layer]) -> Pair:
    if layers and description.layered:
        return Pair(name, image.path, layers[0].path, tuple(layers))
    if layers:
        return Pair(name, image.path, layers[0].path)
    return Pair(name, image.path, description.root / description.masks.example(image.fields))


def _twice(description: Description, images: Matches, masks: Matches) -> list[SegtoolError]:
    """Errors for images, and for masks of all classes, that share a key."""
    found: list[SegtoolError] = []
    for matches in (images, masks):
        by_key: dict[object, list[Path]] = defaultdict(list)
        for match in matches.found:
            by_key[_key(description, match)].append(match.path)
        found += [] if matches is masks and description.layered else ambiguous(by_key)
    return found


def _lone(description: Description, images: Matches, masks: Matches) -> list[Path]:
    """Masks that belong to no image."""
    keys = {_key(description, match) for match in images.found}
    return [match.path for match in masks.found if _key(description, match) not in keys]


def _left_out(description: Description, images: Matches, masks: Matches) -> list[Finding]:
    """Doubts about what lies beside images and masks, where every image there is meant."""
    read = {match.path for matches in (images, masks) for match in matches.found}
    read |= {description.path, *(description.root / name for name in description.split.lists.values())}
    both = ((description.images, images), (description.masks, masks))
    others = [
        path
        for pattern, matches in both
        for path in (matches.others if pattern.any_suffix else ())
        if ANY_FOLDERS not in pattern.names or not path.is_dir()  # those below are looked into
    ]
    return [*not_read([path for path in dict.fromkeys(others) if path not in read])]


def _not_there(name: str, description: Description) -> SegtoolError:
    return SegtoolError(
        "a listed image is missing", where=name, mend=f"add it below {description.root}, or remove the line"
    )
