"""What the error numbers of the file system mean for a storage."""

import errno
import os
from pathlib import PurePosixPath

from pipeline.errors import StorageError, StoreUnavailable
from pipeline.storage.file_names import to_name

# The disk, the mount or this process is at fault: the next file would fare no better.
NOT_ONE_FILES_FAULT = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV),
    *(errno.ENOTCONN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}
NO_HARD_LINKS = {
    *(errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK),
}
NOT_THERE = {
    *(errno.ENOENT, errno.ENOTDIR),
    *(errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ),  # names that a file system cannot have
}


def as_storage_error(verb: str, uri: str, error: OSError) -> StorageError:
    """The error of ours for one of the system; verb: what failed, as "read"."""
    kind = StoreUnavailable if error.errno in NOT_ONE_FILES_FAULT else StorageError
    return kind(f"cannot {verb} {uri}: {_file_on_the_way(uri, error) or error.strerror}")


def _file_on_the_way(uri: str, error: OSError) -> str:
    """Which file stands where a folder is needed; "" where that is not what is wrong."""
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        for folder in reversed(PurePosixPath(uri).parents):
            place = to_name(str(folder))
            if os.path.lexists(place) and not os.path.isdir(place):
                return f"{folder} is not a folder"
    return ""
