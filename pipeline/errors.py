"""Every error of our own, drawn as a tree; jobs.main turns each into one line and an exit code.

AutochromeError                 2
├── UsageError                  2   a setting, a path or weights that cannot work
├── StorageError                2   a store that cannot be read or written
│   ├── ObjectMissing           2   no such object in it
│   ├── ObjectArchived          2   an object in cold storage, which has to be restored first
│   ├── ObjectTooLarge          2   more bytes than whoever reads it takes
│   └── StoreUnavailable        2   full, gone or out of reach: no single object is at fault
│       └── DestinationGone     2   deleted or unmounted while a command writes to it; resumable
├── EngineError                 1   Ray gave up; resumable
│   ├── DeviceFull              1   a GPU has not enough memory for even one photo
│   └── DeviceBroken            1   a GPU that does not compute any more; its process must end
├── TooManyFailures             4   more photos failed than --max-failed allows; resumable
├── Interrupted               130   Ctrl-C; resumable
├── DestinationMismatch         5   the destination belongs to a run with other settings
└── PhotoError                  -   one photo's failure: becomes a row, never ends a run
"""

import shlex
import sys
import unicodedata
from collections.abc import Iterable
from typing import ClassVar

REASONS = (
    "corrupt",  # not decodable: damaged, truncated, empty, or no image at all
    "unsupported",  # an image that we do not decode
    "too_large",  # more pixels, pages or bytes than we accept: a decompression bomb, or a mistake
    "missing",  # gone since the plan was made
    "archived",  # in cold storage, as S3 Glacier: it has to be restored first
    "unreadable",  # there, but refused by the store, or not a regular file
    "changed",  # other bytes at write time than at read time
    "already_color",
    "out_of_memory",
    "timeout",
    "write_error",
    "internal",  # our fault: the error names the exception
)


def shown(text: str) -> str:
    """Text that is safe on a terminal: names of photos can hold anything, even control
    sequences."""
    return "".join(
        sign if _is_harmless(sign) else sign.encode("unicode_escape").decode() for sign in text
    )


def _is_harmless(sign: str) -> bool:
    """Spaces of any width and joiners of letters are parts of names, and do nothing to a
    terminal."""
    spaces = unicodedata.category(sign) == "Zs" or sign in "\n\u200c\u200d"
    return sign.isprintable() or spaces


def shown_in_line(text: str) -> str:
    """As `shown`, on a single line."""
    return shown(text).replace("\n", r"\n")


def shown_lines(lines: Iterable[str]) -> str:
    """Lines, each `shown_in_line`."""
    return "\n".join(map(shown_in_line, lines))


def first_line(error: Exception) -> str:
    """What a library says in its first line, or what kind of error it is."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def from_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused an error: if it strikes inside a library, the library's import or start
    may fail with an error of its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


class AutochromeError(Exception):
    """The message is one line for people, unless a subclass says otherwise."""

    exit_code: ClassVar[int] = 2


class UsageError(AutochromeError):
    pass


class StorageError(AutochromeError):
    pass


class ObjectMissing(StorageError):
    pass


class ObjectArchived(StorageError):
    pass


class ObjectTooLarge(StorageError):
    pass


class StoreUnavailable(StorageError):
    pass


class DestinationGone(StoreUnavailable):
    pass


class EngineError(AutochromeError):
    exit_code = 1


class DeviceFull(EngineError):
    pass


class DeviceBroken(EngineError):
    pass


class TooManyFailures(AutochromeError):
    exit_code = 4


class Interrupted(AutochromeError):
    exit_code = 130


class DestinationMismatch(AutochromeError):
    """The message has one line per difference: `setting: was X, now Y`."""

    exit_code = 5


class PhotoError(AutochromeError):
    """One photo's failure.

    reason: one of REASONS; ValueError otherwise. message: for people; white space, including line
    breaks, is folded to keep it on one line.
    """

    def __init__(self, reason: str, message: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"reason {reason!r} is not one of {', '.join(REASONS)}")
        self.reason = reason
        super().__init__(" ".join(message.split()))

    def __reduce__(self) -> tuple[type["PhotoError"], tuple[str, str]]:
        return type(self), (self.reason, str(self))


def missing_extra(what: str, extra: str) -> UsageError:
    """The error of a package that is not installed, with the command that installs it.

    The command uses the pip of this Python. It finds the extra in what is installed here, a wheel
    or a checkout, and asks no index for Autochrome.

    what: for people, as "jobs need Ray's client". extra: one of pyproject.toml.
    """
    return UsageError(f"{what}: {shlex.quote(sys.executable)} -m pip install 'autochrome[{extra}]'")
