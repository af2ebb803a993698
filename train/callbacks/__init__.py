"""What happens beside the steps of training."""

from segtool.train.callbacks.best import KeepBest, KeepEvery
from segtool.train.callbacks.freezing import UnfreezeEncoder
from segtool.train.callbacks.history import History
from segtool.train.callbacks.length import Length
from segtool.train.callbacks.progress import ProgressBar
from segtool.train.callbacks.snapshots import Snapshots, snapshots_of, write_gif

__all__ = [
    "History",
    "KeepBest",
    "KeepEvery",
    "Length",
    "ProgressBar",
    "Snapshots",
    "UnfreezeEncoder",
    "snapshots_of",
    "write_gif",
]
