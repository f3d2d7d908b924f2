"""The content of the watermark: 8 bits of the run, and 24 of the master's SHA-256.

A run gets few bits, because its destination tells more of it. A photo gets many, because it must be
told from all others of an archive: of a million, 6 % share their bits with another.
"""

import hashlib
import json

from pipeline.ledger.recipe import Recipe

PHOTO_DIGITS = 6  # hexadecimal ones, of 4 bits; the run has the other 8 bits
_PHOTO_BITS = 4 * PHOTO_DIGITS


def payload_of(recipe: Recipe, source_sha256: str) -> int:
    """The payload, below 2**32, with the run's bits on top. source_sha256: in hexadecimal
    digits."""
    return run_bits(recipe) << _PHOTO_BITS | int(source_sha256[:PHOTO_DIGITS], 16)


def parts_of(payload: int) -> tuple[int, int]:
    """Split a payload into the bits of the run and those of the photo."""
    return divmod(payload, 2**_PHOTO_BITS)


def run_bits(recipe: Recipe) -> int:
    """The bits of a run, from its source, weights and seed: fields that old versions have, too."""
    told = json.dumps([recipe.source, recipe.seed, recipe.weights], sort_keys=True)
    return hashlib.sha256(told.encode()).digest()[0]
