"""Guessing what a folder holds, so that nobody has to describe what can be seen.

`tools` knows the files of annotation tools and of public datasets, `families` finds which files are images and which
masks, `contents` looks at what masks hold, `names` at what lists of classes say; `description` puts them together.
"""

from segtool.data.guess.description import Guess, guess

__all__ = ["Guess", "guess"]
