"""Names of results: where in the destination a picture goes."""

import hashlib
from pathlib import PurePosixPath

from pipeline.images.formats import FORMAT_OF_SUFFIX
from pipeline.storage.base import Storage


def output_path(
    photo: str, suffix: str, candidate: int | None, source: Storage, page: int | None = None
) -> str:
    """Where a result goes, unlike that of any other photo of the source.

    suffix: without a dot; candidate, page: None where there is but one. The name is the photo's own
    where that means the format already, else it gets the suffix in addition; and eight digits of a
    hash before it where the source has a photo of just that name, or of the name of that page.
    """
    digits = "." + hashlib.sha256(photo.encode()).hexdigest()[:8]
    format = FORMAT_OF_SUFFIX[f".{suffix}"]
    own = PurePosixPath(photo).suffix
    if FORMAT_OF_SUFFIX.get(own.lower()) == format:
        stem, end = photo.removesuffix(own), own
    else:
        stem, end = photo, f".{suffix}"
        if source.exists(stem + end):
            stem += digits
    if page is not None:
        name = f".page-{page:04d}"
        taken = any(source.exists(stem + name + others) for others in (end, ""))
        stem += (digits if taken else "") + name
    number = "" if candidate is None else f".candidate-{candidate}"
    return f"images/{stem}{number}{end}"
