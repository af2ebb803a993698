"""Datasets by name: `folder` as its own classes.yaml says, and some that a classes.yaml of ours describes."""

from segtool.data.layouts import folder, public, synthetic

__all__ = ["folder", "public", "synthetic"]
