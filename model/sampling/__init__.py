"""Drawing coarse color from the core: the cached sampler, and the slow one that proves it.

`sample_core` and `sample_core_slow` are for everybody; files and training are unknown here.
"""

from model.sampling.cached import sample_core
from model.sampling.draw import CoreSample
from model.sampling.slow import sample_core_slow

__all__ = ["CoreSample", "sample_core", "sample_core_slow"]
