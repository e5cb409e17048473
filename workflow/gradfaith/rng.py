"""Make random streams by key: the same key gives the same stream, independent of order, batch and worker.

A key is the study's seed, a purpose, and the object that the numbers are for (an image, a copy, an epoch). Keys are
hashed, so similar keys give independent streams: `generator(study.seed, "shuffle", image_id, 3)`.
"""

import hashlib

import numpy as np


def seed(*key: object) -> int:
    """Return a 63-bit seed for a key; pass it to `torch.Generator().manual_seed` where torch draws the numbers."""
    text = "\x1f".join(str(part) for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(*key: object) -> np.random.Generator:
    """Return a numpy generator for a key."""
    return np.random.default_rng(seed(*key))
