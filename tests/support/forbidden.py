"""Folders that may not be listed, also where tests run as root."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def forbid(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    scan = os.scandir

    def refuse(place: str) -> "Iterator[os.DirEntry[str]]":
        if Path(place) == folder:
            raise PermissionError(13, "Permission denied")
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
