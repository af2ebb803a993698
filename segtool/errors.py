"""The one exception for what a user can mend, and the one warning of what could be better."""

import re

# Control characters but tab and line end, marks of direction, and surrogates.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class SegtoolError(Exception):
    """An error that a user can cause: what is wrong, where, and how to mend it, in one line.

    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, what: str, *, where: object = None, mend: str | None = None) -> None:
        self.what, self.where, self.mend = what, where, mend
        line = what if where is None else f"{what}: {str(where).replace(chr(10), chr(92) + 'n')}"
        super().__init__(printable(line if mend is None else f"{line} ({mend})"))

    def about(self, path: object) -> "SegtoolError":
        """The same error, naming the file among many that it is about, unless it does."""
        if str(path) in str(self):
            return self
        return type(self)(self.what, where=path if self.where is None else f"{path}: {self.where}", mend=self.mend)


class NoMoreRoom(SegtoolError):
    """The file system takes nothing more, whatever is written next: it is full, or can only be read."""


class SegtoolWarning(RuntimeWarning):
    """Something works, but not as well as it could; one line, which the command line prints as it prints errors."""


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey: control characters, those that turn the direction of writing, and
    bytes of names that are no UTF-8, as Python writes them in strings. Line ends and tabs stay."""
    return text if text.isprintable() else _OBEYED.sub(lambda found: repr(found.group())[1:-1], text)
