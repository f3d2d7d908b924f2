"""The row of a photo that failed, for whatever reason."""

from dataclasses import replace

from pipeline.errors import (
    ObjectArchived,
    ObjectMissing,
    ObjectTooLarge,
    PhotoError,
    StorageError,
    StoreUnavailable,
    shown_in_line,
)
from pipeline.ledger.results import Result
from pipeline.run.logs import LOGGER


def failed(result: Result, error: Exception, of_store: str) -> Result:
    """The row of a photo that failed; of_store is the reason where the store refused it."""
    if isinstance(error, StoreUnavailable):
        raise error
    if isinstance(error, PhotoError):
        reason, text = error.reason, str(error)
    elif isinstance(error, ObjectMissing):
        reason, text = "missing", str(error)
    elif isinstance(error, ObjectArchived):
        reason, text = "archived", str(error)
    elif isinstance(error, ObjectTooLarge):
        reason, text = "too_large", str(error)
    elif isinstance(error, StorageError):
        reason, text = of_store, str(error)
    elif isinstance(error, MemoryError):
        reason, text = "out_of_memory", str(error) or "not enough memory"
    else:
        reason, text = "internal", f"{type(error).__name__}: {error}"
    LOGGER.warning(
        "%s: %s: %s", shown_in_line(result.photo), reason, shown_in_line(text), exc_info=error
    )
    return replace(
        result, status="failed", reason=reason, error=" ".join(text.split())[:500], rank=None
    )
