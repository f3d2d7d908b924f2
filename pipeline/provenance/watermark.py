"""What the imperceptible mark says: 8 bits of the run, and 24 of the master's SHA-256.

So split because a run is known by more than this where its destination is at hand, and a photo has
to be told from all others of an archive: of a million, 6 % share their bits with another.
"""

import hashlib
import json

from pipeline.ledger.recipe import Recipe

RUN_BITS, PHOTO_BITS = 8, 24


def payload_of(recipe: Recipe, source_sha256: str) -> int:
    """Below 2**32; the upper bits are the run's. source_sha256: in hexadecimal digits."""
    return run_bits(recipe) << PHOTO_BITS | int(source_sha256[: PHOTO_BITS // 4], 16)


def run_bits(recipe: Recipe) -> int:
    """Of where a run reads, by which weights, and its seed: fields that old versions have, too."""
    told = json.dumps([recipe.source, recipe.seed, recipe.weights], sort_keys=True)
    return hashlib.sha256(told.encode()).digest()[0]
