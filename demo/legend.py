"""The classes: a legend whose entries can be chosen."""

import numpy as np
from numpy.typing import NDArray

from segtool.card import ModelCard

Choices = list[tuple[str, int]]


def legend_choices(card: ModelCard, labels: NDArray[np.uint8] | None) -> Choices:
    """Names and ids of the classes; with labels, each with its share, the largest first."""
    if labels is None:
        return [(c.name, c.id) for c in card.classes]
    share = np.bincount(labels.ravel(), minlength=256) / labels.size
    order = sorted(card.classes, key=lambda c: -share[c.id])
    return [(f"{c.name}  {100 * share[c.id]:.1f} %" if share[c.id] else c.name, c.id) for c in order]


def legend_style(card: ModelCard, choices: Choices, element: str) -> str:
    """CSS that puts each class' colour before its entry, and makes pale what does not occur.

    Args:
        element: the id of the checkboxes on the page.
    """
    color = {c.id: c.color for c in card.classes}
    found = any("%" in name for name, _ in choices)
    rules = [
        f"#{element} label span::before{{content:'';display:inline-block;width:14px;height:14px;border-radius:3px;"
    ]
    rules.append("margin-right:6px;vertical-align:-2px}")
    for place, (name, number) in enumerate(choices, start=1):
        entry = f"#{element} label:nth-of-type({place})"
        rules.append(f"{entry} span::before{{background:rgb{color[number]}}}")
        if found and "%" not in name:
            rules.append(f"{entry}{{opacity:.45}}")
    return f"<style>{''.join(rules)}</style>"
