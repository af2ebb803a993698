"""Randomness that is a function of the seed and of where training is, so that a resumed run is the same run."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import Sampler


@contextmanager
def seeded(*key: int | str) -> Iterator[None]:
    """torch's CPU randomness from `key` inside, and as it was before outside."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(*key))
        yield


def seed_of(*key: int | str) -> int:
    """A seed, 0..2^63, from anything that can be written down."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little") >> 1


class EpochSampler(Sampler[int]):
    """Each epoch in another order; process r of w takes every w-th place of that order, from r on.

    Gives `epoch * count + index`, from which `TrainingCrops` knows what to draw, in whichever process it is read.
    The last images of an order that the processes cannot share evenly are left out.

    Args:
        count: images.
        seed: of the run.
        rank, world: this process and all of them.
    """

    def __init__(self, count: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.count, self.seed, self.rank, self.world, self.epoch = count, seed, rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.world

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, "order", self.epoch))
        order = torch.randperm(self.count, generator=generator).tolist()[: len(self) * self.world]
        yield from (self.epoch * self.count + index for index in order[self.rank :: self.world])
