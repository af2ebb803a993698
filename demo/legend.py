"""The colour legend of a label map as HTML."""

from html import escape

import numpy as np
from numpy.typing import NDArray

from segtool.card import ModelCard


def legend_html(card: ModelCard, labels: NDArray[np.uint8] | None) -> str:
    """Coloured chips with class names; with labels, each class' share, the largest first."""
    share = np.zeros(256)
    if labels is not None:
        share = np.bincount(labels.ravel(), minlength=256) / labels.size
    order = sorted(card.classes, key=lambda c: -share[c.id])
    return (
        "<div style='display:flex;flex-wrap:wrap;gap:6px 14px'>"
        + "".join(
            f"<span style='white-space:nowrap;opacity:{1 if labels is None or share[c.id] > 0 else 0.4}'>"
            f"<span style='display:inline-block;width:14px;height:14px;border-radius:3px;margin-right:6px;"
            f"vertical-align:-2px;background:rgb{c.color}'></span>{escape(c.name)}"
            f"{'' if labels is None else f' {100 * share[c.id]:.1f} %'}</span>"
            for c in order
        )
        + "</div>"
    )
