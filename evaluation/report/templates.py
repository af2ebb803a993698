"""The pages' templates."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from segtool.files import write_text


def fill(name: str, path: Path, **content: Any) -> None:
    """Writes a page.

    Args:
        name: of the template beside this module; see there for what it wants.
        path: the HTML file.
    """
    loader = PackageLoader("segtool.evaluation", "report")
    environment = Environment(loader=loader, autoescape=select_autoescape())
    write_text(path, environment.get_template(name).render(**content))
