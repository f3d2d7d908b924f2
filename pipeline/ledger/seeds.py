"""The seed of a photograph, which decides everything that is drawn for it."""

import hashlib


def photo_seed(run_seed: int, source_sha256: str, candidate: int, page: int = 1) -> int:
    """A photo's own seed, 0..2^63 - 1, from the run's seed, its content, the candidate and the page
    (so that identical pages differ)."""
    text = f"{run_seed}:{source_sha256}:{candidate}" + (f":{page}" if page > 1 else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
