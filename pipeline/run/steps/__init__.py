"""What happens to one shard: read, colorize, write. Plain callables, which run without Ray.

A photo that fails becomes a row and harms no other; nor does a page, where all are taken. Only a
store that is out of reach as a whole (StoreUnavailable) or a GPU at fault (DeviceFull,
DeviceBroken) leaves a step: then nothing is committed, and the shard stays to be done. Between the
steps travel small arrays only; write fetches the master again.
"""

from pipeline.run.steps.colorizing import Candidate, colorize_shard
from pipeline.run.steps.reading import ReadPhoto, read_shard
from pipeline.run.steps.writing import write_shard

__all__ = ["Candidate", "ReadPhoto", "colorize_shard", "read_shard", "write_shard"]
