"""The one exception for what a user can mend, and the one warning of what could be better."""


class SegtoolError(Exception):
    """An error that a user can cause: what is wrong, where, and how to mend it, in one line.

    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, what: str, *, where: object = None, mend: str | None = None) -> None:
        self.what, self.where, self.mend = what, where, mend
        line = what if where is None else f"{what}: {where}"
        super().__init__(printable(line if mend is None else f"{line} ({mend})"))

    def about(self, path: object) -> "SegtoolError":
        """The same error, naming the file among many that it is about, unless it does."""
        if str(path) in str(self):
            return self
        return SegtoolError(self.what, where=path if self.where is None else f"{path}: {self.where}", mend=self.mend)


class SegtoolWarning(RuntimeWarning):
    """Something works, but not as well as it could; one line, which the command line prints as it prints errors."""


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey: control characters, and bytes of names that are no UTF-8, as
    Python writes them in strings. Line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
