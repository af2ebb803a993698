"""Which images belong to which split: as folders, as lists of names, or drawn."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from segtool.data.checks.findings import Finding
from segtool.errors import SegtoolError
from segtool.suggest import unknown


class NoSuchSplit(SegtoolError):
    """The dataset has no split of that name.

    Attributes:
        split: the name.
    """

    split = ""


ALL = "all"  # a split that every dataset has whose splits are not folders
_WAYS = "prefix", "folder", "image"
_FAR = 0.25  # of a share, by which what is drawn may miss it
_ROBOFLOW = re.compile(r"_(jpe?g|png|bmp)\.rf\.[0-9a-f]+$", re.IGNORECASE)  # what Roboflow puts behind names
_EXAMPLE = "such as split: {val: 0.2, by: prefix}"


def no_such_split(split: str, what: str, where: object, mend: str | None) -> NoSuchSplit:
    """The error for a split that is not there, in words."""
    error = NoSuchSplit(what, where=where, mend=mend)
    error.split = split
    return error


class Member(NamedTuple):
    """What a split is chosen by: the image's name, its path relative to the dataset's folder, and its fields."""

    name: str
    path: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class SplitRule:
    """How images are dealt to splits.

    Attributes:
        folders: what stands for `{split}` in paths, of each split.
        lists: text files of names, of each split, relative to the dataset's folder.
        shares: of the images, 0..1, of each split that is drawn; what they leave is `train`.
        by: what stays together when splits are drawn: images of one `prefix` (what comes before the last number of the
            name), of one `folder`, of one value of a name in braces, or each `image` for itself.
        seed: of the draw.
    """

    folders: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    by: str = "prefix"
    seed: int = 0

    @property
    def names(self) -> list[str]:
        """The splits that the rule names."""
        drawn = ["train", *self.shares] if self.shares else []
        return [*dict.fromkeys([*drawn, *self.lists, *self.folders])]

    @classmethod
    def parsed(cls, given: object, names: Sequence[str], where: object) -> "SplitRule":
        """The rule that `split:` of a classes.yaml gives.

        Args:
            names: those in braces, by which may be drawn.

        Raises:
            SegtoolError: it gives none.
        """
        if given is None:
            return cls()
        if not isinstance(given, dict):
            raise SegtoolError("split is no list of splits", where=where, mend=_EXAMPLE)
        options = {key: given[key] for key in ("by", "seed") if key in given}
        by, seed = options.get("by", "prefix"), options.get("seed", 0)
        if by not in (*_WAYS, *names):
            raise unknown("way to draw splits", str(by), [*_WAYS, *names])
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise SegtoolError(f"the seed of split is {seed!r}", where=where, mend="a whole number")
        folders: dict[str, str] = {}
        lists: dict[str, str] = {}
        shares: dict[str, float] = {}
        for split, value in given.items():
            if split in options:
                continue
            if isinstance(value, str) and value:
                (lists if value.endswith(".txt") else folders)[str(split)] = value
            elif isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1:
                shares[str(split)] = float(value)
            else:
                what = f"split {split} is {value!r}: no folder, no .txt, no share between 0 and 1"
                raise SegtoolError(what, where=where, mend=_EXAMPLE)
        if shares and (folders or lists):
            raise SegtoolError("split mixes shares with folders or lists", where=where, mend=_EXAMPLE)
        if shares.get("train") is not None or sum(shares.values()) >= 1:
            raise SegtoolError("split leaves nothing for train", where=where, mend=f"train is the rest, {_EXAMPLE}")
        return cls(folders, lists, shares, str(by), seed)

    def chosen(self, split: str, members: Sequence[Member], root: Path, where: object) -> "Chosen":
        """The places in `members` of those that belong to a split that is listed or drawn.

        Raises:
            SegtoolError: no such split, a list that cannot be read, or too few groups to draw from.
        """
        if split == ALL and split not in self.names:
            return Chosen(list(range(len(members))))
        if split not in self.names:
            raise self.no_split(split, where)
        if split in self.lists:
            found = _listed(members, root / self.lists[split])
            return found._replace(doubts=self._unlisted(members, root)) if split == self.names[0] else found
        places = self._drawn(members, where)[split]
        return Chosen(places, doubts=self._doubts(split, len(places), len(members)))

    def no_split(self, split: str, where: object) -> NoSuchSplit:
        """The error for a split that is not there."""
        if self.names:
            error = unknown("split", split, [*self.names, ALL])
            return no_such_split(split, error.what, error.where, error.mend)
        mend = f"segtool data split deals the images; or {_EXAMPLE} in classes.yaml"
        return no_such_split(split, f"nothing says what {split} is", where, mend)

    def _unlisted(self, members: Sequence[Member], root: Path) -> list[Finding]:
        """Of images that are in no list, as when they were added later."""
        paths = [root / name for name in self.lists.values()]
        listed = {place for path in paths if path.is_file() for place in _listed(members, path).places}
        left = [member.name for place, member in enumerate(members) if place not in listed]
        return [Finding("an image is in none of the lists of splits", name, "add it to one") for name in left]

    def _doubts(self, split: str, found: int, total: int) -> list[Finding]:
        """Of a split that large groups make much smaller or larger than was asked."""
        share = self.shares.get(split, 1 - sum(self.shares.values()))
        if abs(found - share * total) <= _FAR * share * total + 1:
            return []
        what = f"{found} of {total} images are drawn, where {share:.3g} of them were asked for"
        return [Finding(what, split, f"groups (by: {self.by}) are large; by: image deals single images")]

    def _drawn(self, members: Sequence[Member], where: object) -> dict[str, list[int]]:
        """Groups in an order that depends on the seed and their names alone are dealt until each split has its share.

        A group that is too large for what a split still lacks is passed over. One that is added later moves few others.
        """
        groups: dict[str, list[int]] = {}
        for place, member in enumerate(members):
            groups.setdefault(group_of(member, self.by), []).append(place)
        if len(groups) <= len(self.shares):
            what = f"{len(groups)} group of images (by: {self.by}) cannot be dealt to {len(self.shares) + 1} splits"
            raise SegtoolError(what, where=where, mend="by: image deals single images, which of films is no fair test")
        left = sorted(groups, key=lambda name: hashlib.sha256(f"{self.seed} {name}".encode()).digest())
        dealt: dict[str, list[int]] = {}
        for number, (split, share) in enumerate(self.shares.items()):
            needed = len(self.shares) - number  # groups that the other splits need
            chosen = _fitting(left, groups, share * len(members), len(left) - needed)
            left = [name for name in left if name not in chosen]
            dealt[split] = sorted(place for name in chosen for place in groups[name])
        dealt["train"] = sorted(place for name in left for place in groups[name])
        return dealt


class Chosen(NamedTuple):
    """Places of a split's members; the names that its list has and the dataset has not; what looks wrong."""

    places: list[int]
    missing: Sequence[str] = ()
    doubts: Sequence[Finding] = ()


def _fitting(names: Sequence[str], groups: Mapping[str, Sequence[int]], wanted: float, most: int) -> set[str]:
    """Groups that together have about as many images as wanted: at least one, at most `most`."""
    chosen: set[str] = set()
    taken = 0
    for name in names:
        if len(chosen) < most and taken + len(groups[name]) / 2 <= wanted:
            chosen.add(name)
            taken += len(groups[name])
    return chosen or {min(names, key=lambda name: len(groups[name]))}


def group_of(member: Member, by: str) -> str:
    """What an image shares with those that must not be parted from it."""
    if by in member.fields:
        return member.fields[by]
    folder, _, name = member.name.rpartition("/")
    if by == "folder":
        return str(Path(member.path).parent)
    if by == "prefix":
        return f"{folder}/{re.sub(r'[0-9]+[^0-9]*$', '', _ROBOFLOW.sub('', name)).rstrip('_- .')}"
    return member.name


def _listed(members: Sequence[Member], path: Path) -> Chosen:
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise SegtoolError("no such file", where=path, mend="it lists the images of a split, one a line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SegtoolError(f"cannot be read ({error})", where=path, mend="one image a line, in UTF-8") from error
    ways = [_places(members, way) for way in _WAYS_TO_WRITE]
    chosen: dict[int, None] = {}
    missing = []
    for line in lines:
        written = (line, line.strip(), line.strip().removeprefix("./"))
        found = next((way[text] for text in written for way in ways if text in way), [])
        if len(found) > 1:
            names = ", ".join(members[place].path for place in found[:3])
            raise SegtoolError(
                f"a line names several images: {names}", where=f"{path}: {line}", mend="write their paths"
            )
        chosen |= dict.fromkeys(found)
        missing += [] if found else [line.strip()]
    return Chosen([*chosen], missing)


def _places(members: Sequence[Member], way: Callable[[Member], str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, member in enumerate(members):
        found.setdefault(way(member), []).append(place)
    return found


# How a list may name an image: what comes first is meant, if there is such an image.
_WAYS_TO_WRITE: tuple[Callable[[Member], str], ...] = (
    lambda member: member.name,
    lambda member: member.path,
    lambda member: str(Path(member.path).with_suffix("")),
    lambda member: Path(member.path).name,
    lambda member: Path(member.path).stem,
)
