"""What a folder of the file system holds, in the order of paths."""

import os
from typing import NamedTuple

from pipeline.storage.file_names import to_text

Identity = tuple[int, int]  # of a folder, whatever it is called: its device and inode


class Entry(NamedTuple):
    """A name in a folder; that of a folder ends in "/", which is where it sorts.

    size: in bytes. modified: seconds since 1970; None if unknown. skipped: for people, why it is
    not looked at; else empty.
    """

    name: str
    size: int = 0
    modified: float | None = None
    skipped: str = ""


def scan_folder(folder: str, stay_in: str | None) -> tuple[Identity | None, list[Entry]]:
    """A folder's identity and what it holds; nothing of one that is not there. Raises OSError.

    stay_in: links that lead out of this folder are skipped; None: all are followed.
    """
    try:
        here = os.stat(folder)
        with os.scandir(folder) as found:
            entries = [_described(each, stay_in) for each in found]
    except (FileNotFoundError, NotADirectoryError):
        return None, []
    return (here.st_dev, here.st_ino), sorted(entries, key=lambda entry: entry.name.encode())


def _described(entry: "os.DirEntry[str]", stay_in: str | None) -> Entry:
    name = to_text(entry.name)
    try:
        if stay_in is not None and entry.is_symlink() and _leads_out(entry.path, stay_in):
            return Entry(name, skipped="link out of the source")
        if entry.is_dir():
            return Entry(f"{name}/")
        about = entry.stat()
        return Entry(name, about.st_size, about.st_mtime)
    except OSError:  # a broken link, or gone already: reading it will say so
        return Entry(name)


def _leads_out(link: str, folder: str) -> bool:
    root, there = os.path.realpath(folder), os.path.realpath(link)
    return os.path.commonpath([root, there]) != root
