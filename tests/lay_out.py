"""Lays the source folders out as they are installed (segtool, segtool/train, ...), as links.

For tools that read files instead of importing: mypy and import-linter.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def lay_out(target: Path) -> None:
    package = target / "segtool"
    package.mkdir(parents=True, exist_ok=True)
    for link in package.iterdir():
        link.unlink()
    for source in (ROOT / "segtool").iterdir():
        if source.name != "__pycache__":
            (package / source.name).symlink_to(source)
    for part in ("crf", "data", "evaluation", "train", "export", "runtime", "demo"):
        (package / part).symlink_to(ROOT / part)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
