"""Which images belong to which split: as folders, as lists of names, or drawn."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from segtool.errors import SegtoolError
from segtool.suggest import unknown

ALL = "all"  # a split that every dataset has whose splits are not folders
_WAYS = "prefix", "folder", "image"
_EXAMPLE = "such as split: {val: 0.2, by: prefix}"


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
            return Chosen(list(range(len(members))), [])
        if split not in self.names:
            raise self.no_split(split, where)
        if split in self.lists:
            return _listed(members, root / self.lists[split])
        return Chosen(self._drawn(members, where)[split], [])

    def no_split(self, split: str, where: object) -> SegtoolError:
        """The error for a split that is not there."""
        if self.names:
            return unknown("split", split, [*self.names, ALL])
        return SegtoolError(f"nothing says what {split} is", where=where, mend=f"write {_EXAMPLE} in classes.yaml")

    def _drawn(self, members: Sequence[Member], where: object) -> dict[str, list[int]]:
        """Groups in an order that depends on the seed and their names alone are dealt until each split has its share.

        A group that is added moves at most those at the borders.
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
            wanted, taken = share * len(members), list[int]()
            others = len(self.shares) - number  # splits that need a group, too
            while len(left) > others and (not taken or len(taken) + len(groups[left[0]]) / 2 <= wanted):
                taken += groups[left.pop(0)]
            dealt[split] = sorted(taken)
        dealt["train"] = sorted(place for name in left for place in groups[name])
        return dealt


class Chosen(NamedTuple):
    """Places of a split's members; and the names that its list has and the dataset has not."""

    places: list[int]
    missing: list[str]


def group_of(member: Member, by: str) -> str:
    """What an image shares with those that must not be parted from it."""
    if by in member.fields:
        return member.fields[by]
    folder, _, name = member.name.rpartition("/")
    if by == "folder":
        return str(Path(member.path).parent)
    if by == "prefix":
        return f"{folder}/{re.sub(r'[0-9]+[^0-9]*$', '', name).rstrip('_- .')}"
    return member.name


def _listed(members: Sequence[Member], path: Path) -> Chosen:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise SegtoolError("no such file", where=path, mend="it lists the images of a split, one a line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SegtoolError(f"cannot be read ({error})", where=path, mend="one image a line, in UTF-8") from error
    places: dict[str, int] = {}
    for place, member in enumerate(members):
        for name in reversed(_ways_to_write(member)):
            places[name] = place
    found = [places.get(line, places.get(line.removeprefix("./"))) for line in lines]
    chosen = dict.fromkeys(place for place in found if place is not None)
    return Chosen([*chosen], [line for line, place in zip(lines, found, strict=True) if place is None])


def _ways_to_write(member: Member) -> list[str]:
    path = Path(member.path)
    return [member.name, member.path, str(path.with_suffix("")), path.name, path.stem]
