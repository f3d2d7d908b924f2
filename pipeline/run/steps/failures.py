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


def failed(result: Result, error: Exception, if_refused: str) -> Result:
    """The row of a photo that failed; its cause goes to the log of the run.

    if_refused: the reason where the store refuses this one object. Raises StoreUnavailable, which
    is no fault of the photo.
    """
    if isinstance(error, StoreUnavailable):
        raise error
    reason, text = _reason_of(error, if_refused), str(error)
    if isinstance(error, MemoryError):
        text = text or "not enough memory"
    elif not isinstance(error, PhotoError | StorageError):
        text = f"{type(error).__name__}: {error}"
    LOGGER.warning(
        "%s: %s: %s", shown_in_line(result.photo), reason, shown_in_line(text), exc_info=error
    )
    return replace(
        result, status="failed", reason=reason, error=" ".join(text.split())[:500], rank=None
    )


def _reason_of(error: Exception, if_refused: str) -> str:
    """One of errors.REASONS."""
    if isinstance(error, PhotoError):
        return error.reason
    reasons: dict[type[Exception], str] = {
        ObjectMissing: "missing",
        ObjectArchived: "archived",
        ObjectTooLarge: "too_large",
        StorageError: if_refused,  # after those above, which are kinds of it
        MemoryError: "out_of_memory",
    }
    return next((reason for kind, reason in reasons.items() if isinstance(error, kind)), "internal")
