"""Fixtures that several tests of training share."""

import pytest

from segtool.user_code import allow_code

from .context_scenes import train_on_scenes, write_scenes


@pytest.fixture(scope="session")
def scenes(once):
    """The folder of scenes; see there."""
    return once("scenes", write_scenes)


@pytest.fixture(scope="session")
def trained(once, scenes):
    """A run of stages unary, context and crf on them."""
    run = once("trained on scenes", lambda folder: train_on_scenes(scenes, folder))
    allow_code(f"python:{scenes / 'local.py'}:factory")  # in a process that has not trained it, too
    return run
