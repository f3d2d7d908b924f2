"""What outlives a power failure: contents of files, and their names in folders."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import PurePosixPath

from pipeline.storage.file_errors import NOT_ONE_FILES_FAULT

# A disk that is told of several files at once writes them in one go: four at a time take a tenth of
# the time of one after the other.
_AT_ONCE = 4
_HELD = 32  # open files at most


class Unsynced:
    """New files and names that are made to last together, which takes far less time than one after
    the other.

    Nobody may count on any of them before `sync` has returned. Files stay open until then, as the
    system tells of a failed write only those who had the file open.
    """

    def __init__(self) -> None:
        self.folders = set[str]()
        self._files: list[tuple[int, str]] = []
        self._failure: OSError | None = None

    def add(self, place: str) -> None:
        """A file that is still open elsewhere. Raises OSError (too many open files).

        It is opened by the name that it keeps: some file systems (NFS, FUSE) only hide a name that
        is deleted while open, so that of a temporary file would stay in the folder.
        """
        self._files.append((os.open(place, os.O_RDONLY), place))
        if len(self._files) >= _HELD:
            self._sync_files()

    def sync(self, root: str) -> None:
        """Make all of it last, and the folders above up to `root`. Raises OSError, which names what
        failed."""
        self._sync_files()
        if self._failure:
            raise self._failure
        for folder in sorted({above for each in self.folders for above in _up_to(root, each)}):
            sync_folder(folder)

    def close(self) -> None:
        """Let go of the files."""
        while self._files:
            descriptor, _ = self._files.pop()
            with suppress(OSError):  # what a failed write costs has been told by its sync
                os.close(descriptor)

    def _sync_files(self) -> None:
        """A failure is kept for `sync`: it is not the fault of the file that is written now."""
        if not self._files:
            return
        try:
            with ThreadPoolExecutor(min(_AT_ONCE, len(self._files))) as threads:
                list(threads.map(self._sync_file, self._files))
        except RuntimeError:  # the system gives this process no more threads
            list(map(self._sync_file, self._files))
        self.close()

    def _sync_file(self, file: tuple[int, str]) -> None:
        """A failure is kept at once, as the system tells of it only once."""
        descriptor, place = file
        try:
            os.fsync(descriptor)
        except OSError as error:
            error.filename = place
            self._failure = self._failure or error


def sync_folder(folder: str) -> None:
    """Make the names in a folder outlive a power failure, where the system can. Raises OSError,
    which names the folder, for a disk that fails or is full."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in NOT_ONE_FILES_FAULT:
            error.filename = folder
            raise


def _up_to(root: str, folder: str) -> list[str]:
    """A folder below a root, and all above it up to the root: any of them may be new."""
    return [folder, *(up for up in map(str, PurePosixPath(folder).parents) if up.startswith(root))]
