"""IIIF Presentation 3: a manifest for each photo, and a collection of all.

A canvas has the size of the picture. Viewers can choose what is painted onto it: the delivered
pictures, or the small gray photograph of the review page. Pictures in formats that browsers do not
show are painted small, with a link for download.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np

from pipeline.delivery.catalog import PICTURES, Delivered
from pipeline.images.encoding import encode
from pipeline.images.formats import FORMAT_OF_SUFFIX, MIME_OF_FORMAT
from pipeline.images.gray import luma
from pipeline.images.masters import read_rgb
from pipeline.ledger.recipe import Recipe
from pipeline.metadata.xmp import SOURCE_TYPES
from pipeline.review.previews import CELL, CELLS, COLUMNS, fitted, sheet_path
from pipeline.storage.base import Storage

FOLDER = "iiif/"
COLLECTION = f"{FOLDER}collection.json"
_CONTEXT = "http://iiif.io/api/presentation/3/context.json"
_SHOWN = {"JPEG", "PNG", "WEBP", "AVIF"}  # by browsers
_QUALITY = 85
_STATEMENT = (
    "Black-and-white photograph, colorized by a machine (Autochrome). The colors are a guess: they"
    " are plausible, not known to be true."
)
_SAID = {"label": {"en": ["Colors"]}, "value": {"en": [_STATEMENT]}}
Json = dict[str, Any]


def paths_of(name: str) -> list[str]:
    """The paths of all files that a delivered picture may have: a manifest, and small pictures."""
    kinds = (f"{FOLDER}{kind}/{name}.jpg" for kind in ("color", "gray", "thumbnails"))
    return [f"{FOLDER}manifests/{name}.json", *kinds]


class Sheets:
    """The small pictures of results, cut from the sheets of the review page; caches one sheet."""

    def __init__(self, destination: Storage) -> None:
        self._destination = destination
        self._last: tuple[str, np.ndarray] = ("", np.empty(0))

    def picture(self, row: Mapping[str, Any]) -> np.ndarray | None:
        """uint8 (h, w, 3), of at most CELL pixels a side; None if a result has none.

        Raises StorageError, and PhotoError if the sheet is damaged.
        """
        if row["preview"] is None:
            return None
        sheet, cell = divmod(row["preview"], CELLS)
        path = sheet_path(row["shard"], sheet)
        if path != self._last[0]:
            if not self._destination.exists(path):
                return None
            self._last = (path, read_rgb(self._destination.read(path), COLUMNS * CELL))
        top, left = cell // COLUMNS * CELL, cell % COLUMNS * CELL
        height, width = fitted(row["height"], row["width"])
        return self._last[1][top : top + height, left : left + width]


class Manifests:
    """Makes manifests. base: the address at which the delivery will be served. file: for the
    collection."""

    def __init__(self, base: str, recipe: Recipe, file: BinaryIO) -> None:
        self._base, self._recipe = base, recipe
        self.collection = Collection(self._uri(COLLECTION), file)

    def of(
        self, photo: Sequence[Delivered], smalls: Sequence[np.ndarray | None]
    ) -> dict[str, bytes]:
        """The manifest of a photo's delivered pictures, and the small pictures that it shows, by
        path; adds an entry to the collection. smalls: the small picture of each, or None.
        """
        files: dict[str, bytes] = {}
        name = photo[0].picture.name
        manifest = self._uri(f"{FOLDER}manifests/{name}.json")
        canvases = []
        by_page: dict[int, list[tuple[Delivered, np.ndarray | None]]] = {}
        for each, small in zip(photo, smalls, strict=True):
            by_page.setdefault(each.picture.row["page"], []).append((each, small))
        thumbnail: Json | None = None
        for page, several in by_page.items():
            canvases.append(self._page(f"{manifest[:-5]}/page/{page}", several, files))
            first, small = several[0]
            if thumbnail is None and small is not None:
                beside = np.hstack([np.repeat(luma(small)[..., None], 3, axis=2), small])
                thumbnail = self._small("thumbnails", first, beside, files, "")
        entry = {"id": manifest, "type": "Manifest", **_head(photo[0], thumbnail)}
        content = {
            "@context": _CONTEXT,
            **entry,
            "summary": _english(_STATEMENT),
            "requiredStatement": _SAID,
            "metadata": self._metadata(photo[0].picture.row),
            "items": canvases,
        }
        files[f"{FOLDER}manifests/{name}.json"] = _dumped(content)
        self.collection.add(entry)
        return files

    def _page(
        self,
        uri: str,
        pictures: Sequence[tuple[Delivered, np.ndarray | None]],
        files: dict[str, bytes],
    ) -> Json:
        """The canvas of a page: its pictures in color, and the small photograph in gray."""
        bodies, renderings = [], []
        for each, small in pictures:
            body, rendering = self._color(each, small, files)
            bodies += body
            renderings += rendering
        first, small = pictures[0]
        if small is not None:
            label = "The photograph, in gray (small)"
            bodies.append(self._small("gray", first, luma(small), files, label))
        return self._canvas(uri, first, bodies, renderings)

    def _color(
        self, each: Delivered, small: np.ndarray | None, files: dict[str, bytes]
    ) -> tuple[list[Json], list[Json]]:
        """The painted image of a picture, and the links for download."""
        row, name = each.picture.row, each.picture.name
        format = FORMAT_OF_SUFFIX[PurePosixPath(name).suffix.lower()]
        label = "Colorized by a machine"
        if self._recipe.candidates > 1:
            label += f", candidate {row['candidate']}"
        height, width = self._size(row)
        picture = {
            "id": self._uri(PICTURES + name),
            "type": "Image",
            "format": MIME_OF_FORMAT[format],
            "label": _english(label),
        }
        if format in _SHOWN:
            return [picture | {"height": height, "width": width}], []
        if small is None:
            return [picture | {"height": height, "width": width}], [picture]
        return [self._small("color", each, small, files, f"{label} (small)")], [picture]

    def _small(
        self, kind: str, of: Delivered, picture: np.ndarray, files: dict[str, bytes], label: str
    ) -> Json:
        path = f"{FOLDER}{kind}/{of.picture.name}.jpg"
        files[path] = encode(picture, "JPEG", quality=_QUALITY)
        return {
            "id": self._uri(path),
            "type": "Image",
            "format": "image/jpeg",
            **({"label": _english(label)} if label else {}),
            "height": picture.shape[0],
            "width": picture.shape[1],
        }

    def _canvas(
        self, uri: str, first: Delivered, bodies: list[Json], renderings: list[Json]
    ) -> Json:
        height, width = self._size(first.picture.row)
        body = bodies[0] if len(bodies) == 1 else {"type": "Choice", "items": bodies}
        painting = {
            "id": f"{uri}/painting",
            "type": "Annotation",
            "motivation": "painting",
            "body": body,
            "target": uri,
        }
        return {
            "id": uri,
            "type": "Canvas",
            "label": _english(f"Page {first.picture.row['page']}"),
            "height": height,
            "width": width,
            **({"rendering": renderings} if renderings else {}),
            "items": [{"id": f"{uri}/paintings", "type": "AnnotationPage", "items": [painting]}],
        }

    def _size(self, row: Mapping[str, Any]) -> tuple[int, int]:
        """(height, width) of a delivered picture."""
        if self._recipe.output_size == "full":
            return row["height"], row["width"]
        return fitted(row["height"], row["width"], int(self._recipe.output_size))

    def _metadata(self, row: Mapping[str, Any]) -> list[Json]:
        facts = {
            "Photo": row["photo"],
            "Digital source type": SOURCE_TYPES + self._recipe.digital_source_type,
            "Software": f"Autochrome {self._recipe.version}".strip(),
            "SHA-256 of the photograph": row["source_sha256"],
        }
        return [
            {"label": _english(name), "value": {"none": [str(value)]}}
            for name, value in facts.items()
            if value
        ]

    def _uri(self, path: str) -> str:
        return f"{self._base}/{quote(path)}"


class Collection:
    """The collection of all manifests, written into a file one by one."""

    def __init__(self, uri: str, file: BinaryIO) -> None:
        self._file = file
        head = {
            "@context": _CONTEXT,
            "id": uri,
            "type": "Collection",
            "label": _english("Colorized photographs"),
            "summary": _english(_STATEMENT),
            "requiredStatement": _SAID,
        }
        self._file.write(_dumped(head).removesuffix(b"\n}\n") + b',\n "items": [')
        self._start = b"\n"

    def add(self, entry: Json) -> None:
        self._file.write(self._start + json.dumps(entry, ensure_ascii=False).encode())
        self._start = b",\n"

    def close(self) -> BinaryIO:
        """The file, from its beginning."""
        self._file.write(b"\n]}\n")
        self._file.seek(0)
        return self._file


def _head(first: Delivered, thumbnail: Json | None) -> Json:
    label = first.title or first.picture.row["photo"]
    return {"label": {"none": [label]}, **({"thumbnail": [thumbnail]} if thumbnail else {})}


def _english(text: str) -> dict[str, list[str]]:
    return {"en": [text]}


def _dumped(content: Json) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"
