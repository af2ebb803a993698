"""What a look at a dataset finds, put together by kind: a thousand bad masks are one line."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from segtool.errors import SegtoolError

_EXAMPLES = 3
_NUMBER = re.compile(r"#[0-9a-f]{6}\b|\d+")
_LIST = re.compile(r"# \(# pixels\)(, # \(# pixels\))*( and # more)?")


class Finding(NamedTuple):
    """Something that is wrong, or looks wrong.

    Attributes:
        what: in words; findings whose words differ in numbers alone are of one kind.
        where: the file, image or class.
        mend: what can be done about it.
    """

    what: str
    where: str
    mend: str | None = None

    @classmethod
    def of(cls, error: SegtoolError) -> "Finding":
        """What an error says."""
        return cls(error.what, str(error.where), error.mend)


class Group(NamedTuple):
    """All findings of one kind.

    Attributes:
        first: the first of them.
        examples: where some of them are.
        total: how many there are.
    """

    first: Finding
    examples: tuple[str, ...]
    total: int

    @property
    def where(self) -> str:
        """The examples, and how many there are besides."""
        more = self.total - len(self.examples)
        return ", ".join(self.examples) + (f" and {more} more" if more else "")

    @property
    def what(self) -> str:
        """What they are, and how many."""
        return self.first.what if self.total == 1 else f"{self.total} times: {self.first.what}"

    def __str__(self) -> str:
        return str(self.error())

    def error(self, more: str = "") -> SegtoolError:
        """One error for all of them.

        Args:
            more: is said behind what is wrong.
        """
        return SegtoolError(self.what + more, where=self.where, mend=self.first.mend)


def grouped(findings: Iterable[Finding]) -> list[Group]:
    """Findings by kind, in the order in which the kinds were found first."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(_kind(finding.what), []).append(finding)
    return [Group(f[0], tuple(one.where for one in f[:_EXAMPLES]), len(f)) for f in kinds.values()]


def _kind(what: str) -> str:
    """The words without their numbers, colours, and lists of those."""
    return _LIST.sub("#", _NUMBER.sub("#", what))


def refuse(problems: Iterable[Finding]) -> None:
    """Refuses a dataset with problems.

    Raises:
        SegtoolError: the first kind of problem with examples, and how many problems there are besides.
    """
    groups = grouped(problems)
    if not groups:
        return
    others = sum(group.total for group in groups[1:])
    raise groups[0].error(f" (and {others} more problems; segtool data check lists them)" if others else "")
