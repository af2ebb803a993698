"""The report's first lines: what a reader should know after ten seconds."""

from collections import Counter

import numpy as np

from segtool.evaluation.evaluate import Evaluation
from segtool.evaluation.failures import Failures
from segtool.evaluation.scores import class_scores

_SHOWN = 3


def findings(found: Evaluation, failures: Failures, threshold_given: bool) -> list[str]:
    """Sentences, the most important first."""
    failed = _failure_lines(found, failures) if threshold_given else []
    return [*failed, *_class_lines(found), *_crf_lines(found, failures)]


def _failure_lines(found: Evaluation, failures: Failures) -> list[str]:
    count, limit = len(failures.rows), 100 * failures.threshold
    line = f"{count} of {found.images} images have an mIoU below {limit:.0f} %"
    kinds = Counter(row["kind"] for row in failures.rows).most_common(_SHOWN)
    lines = [f"{line}: {', '.join(f'{kind} {n}' for kind, n in kinds)}." if kinds else f"{line}."]
    suspected = [row["image"] for row in failures.rows if row["kind"] == "label suspected"]
    if suspected:
        lines.append(f"Look at the labels of {_listed(suspected)}.")
    return lines


def _class_lines(found: Evaluation) -> list[str]:
    iou = class_scores(found.final).iou
    weakest = [i for i in np.argsort(iou) if not np.isnan(iou[i])][:_SHOWN]
    lines = []
    if weakest:
        lines.append("Weakest classes: " + ", ".join(f"{found.names[i]} {100 * iou[i]:.1f} %" for i in weakest) + ".")
    wrong = found.final.confusion - np.diag(found.final.confusion.diagonal())
    total = wrong.sum()
    if total:
        order = np.argsort(wrong, axis=None)[::-1][:_SHOWN]
        pairs = [(*divmod(int(flat), len(wrong)), wrong.flat[flat] / total) for flat in order if wrong.flat[flat]]
        named = ", ".join(f"{found.names[t]} taken for {found.names[p]} {100 * share:.0f} %" for t, p, share in pairs)
        lines.append(f"Of all wrong pixels: {named}.")
    return lines


def _crf_lines(found: Evaluation, failures: Failures) -> list[str]:
    if found.after is None:
        return []
    gains = np.array(found.crf_gains)
    gains = gains[~np.isnan(gains)]
    line = f"The CRF raised the mIoU of {(gains > 0).sum()} images and lowered that of {(gains < 0).sum()}"
    causes = Counter(row["cause"] for row in failures.worsened if row["cause"])
    if causes:
        line += " (labels moved by: " + ", ".join(f"{cause} {n}" for cause, n in causes.most_common()) + ")"
    return [line + "."]


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
