"""Drawing coarse color from the core: a cached sampler, and the slow one that it is tested against.

Use `sample_core` and `sample_core_slow`; a colorizer, which draws many batches, also uses `runners`
and `inference`. Nothing here knows of files or training.
"""

from model.sampling.draw import CoreSample
from model.sampling.sampler import sample_core
from model.sampling.slow import sample_core_slow

__all__ = ["CoreSample", "sample_core", "sample_core_slow"]
