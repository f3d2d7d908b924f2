"""A master that a decoder other than Pillow's reads, checked: its pixels are what its header says.

Legend: H W rows and columns, C channels.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import PhotoError
from pipeline.images.curves import Curve
from pipeline.images.gray import Samples


@dataclass(frozen=True)
class DeepMaster:
    """What a file's own header says of its picture; `decode` gives its pixels as stored.

    mode: as "RGB;16". channels: alpha counts. bits: of a sample, a "u", "i" or "f" by `sort`.
    header: a file with the same header that Pillow can open, for what else stands in it; None
    where orientation, dpi, icc and curve are known already, as those of a TIFF are.
    """

    width: int
    height: int
    mode: str
    channels: int
    format: str
    decode: Callable[[], Samples]
    bits: int
    sort: str = "u"
    orientation: int = 1
    dpi: tuple[float, float] | None = None
    icc: bytes | None = None
    curve: Curve | None = None
    header: bytes | None = None


def checked_samples(deep: DeepMaster) -> Samples:
    """The pixels of a master, of the shape and the type that its header has promised.

    Decoders know less than they say: one that gives other than what was asked for has left memory
    unwritten. Raises PhotoError (corrupt), and whatever decode raises.
    """
    samples = deep.decode()
    shape, dtype = samples.values.shape, samples.values.dtype
    promised = (deep.height, deep.width, deep.channels)
    fitting = next(size for size in (8, 16, 24, 32, 64, 128) if size >= deep.bits)
    sizes = {fitting, 32} if fitting == 24 else {fitting}
    sorts = {"u": "ub"}.get(deep.sort, deep.sort)
    if shape != promised or dtype.kind not in sorts or 8 * dtype.itemsize not in sizes:
        says = f"{promised} of {deep.bits} bits"
        raise PhotoError("corrupt", f"the header says {says}, its pixels are {shape} of {dtype}")
    return samples
