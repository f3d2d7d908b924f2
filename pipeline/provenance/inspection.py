"""What a picture says of its making, from whatever is left in it and beside it.

Files are anyone's: sizes are bounded, and what is damaged becomes a note of one line. Text of files
goes into an Inspection as it is; who prints it escapes control characters.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import PhotoError, StorageError, UsageError
from pipeline.images.formats import SIGNABLE, describe_unknown, format_by_start
from pipeline.images.mark import FOUND, find_mark
from pipeline.images.masters import read_full, read_header, read_rgb
from pipeline.images.phash import perceptual_hash
from pipeline.images.watermark import READ_AT, find_watermark
from pipeline.metadata.exif import Metadata
from pipeline.metadata.xmp import SOURCE_TYPES
from pipeline.metadata.xmp_provenance import MADE_BY_MACHINES, provenance_in_xmp
from pipeline.provenance.c2pa import find_credentials
from pipeline.provenance.rows import FoundRow
from pipeline.provenance.sidecar import FORMAT, sidecar_path
from pipeline.storage.base import Storage
from pipeline.storage.open_storage import open_storage

MOST_BYTES = 2**31  # of a file; as of a master
MOST_PIXELS = 150_000_000  # of more, the pixels are not looked at
_MOST_SIDECAR = 2**20


@dataclass(frozen=True)
class Credentials:
    """Content credentials. state: Trusted, Valid (the signer is unknown here) or Invalid. signer:
    the certificate's name and organization. time: of the time stamp, as ISO 8601; None without.
    time_trusted: whether its authority is known. source_types: of all actions, those of what the
    picture was made from included. failures: C2PA's codes."""

    state: str
    signer: str
    time: str | None
    time_trusted: bool
    program: str
    source_types: tuple[str, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """sha256: of the file. sidecar: of this very file. mark: how much its corner looks like the
    visible mark, -1 to 1; None where nobody has looked. phash: as of images.phash. in_color: None
    where pixels are not known. watermark: its payload, see provenance.watermark. rows: of a
    destination that was searched."""

    file: str
    sha256: str
    format: str
    credentials: Credentials | None = None
    xmp: Mapping[str, str] = field(default_factory=dict)
    sidecar: Mapping[str, Any] | None = None
    mark: float | None = None
    phash: str | None = None
    in_color: bool | None = None
    watermark: int | None = None
    rows: tuple[FoundRow, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def marked(self) -> bool:
        return self.mark is not None and self.mark >= FOUND

    @property
    def declared_by(self) -> tuple[str, ...]:
        """What declares a machine's color; empty where nothing does."""
        made = self.credentials is not None and not MADE_BY_MACHINES.isdisjoint(
            self.credentials.source_types
        )
        result = (self.sidecar or {}).get("result")
        beside = isinstance(result, dict) and result.get("digital_source_type") in MADE_BY_MACHINES
        by_looks = bool(self.in_color) and any(row.found_by == "looks" for row in self.rows)
        return tuple(
            name
            for name, found in (
                ("content credentials", made),
                ("XMP", self.xmp.get("DigitalSourceType") in MADE_BY_MACHINES),
                ("sidecar", beside),
                ("visible mark", self.marked),
                ("watermark", self.watermark is not None),
                (
                    "results",
                    by_looks or any(row.found_by in ("digest", "watermark") for row in self.rows),
                ),
            )
            if found
        )


def inspect_file(place: str) -> Inspection:
    """Inspect a picture: a path, or s3://bucket/key.

    Raises StorageError, UsageError (no such place), PhotoError (no picture in a known format).
    """
    folder, name = _folder_and_name(place)
    storage = open_storage(folder)
    data = storage.read(name, MOST_BYTES)
    format = format_by_start(data)
    if not data:
        raise PhotoError("corrupt", "the file is empty")
    if format is None:
        raise PhotoError("unsupported", describe_unknown(data))
    notes: list[str] = []
    digest = hashlib.sha256(data).hexdigest()
    metadata, gray, in_color = _look(data, notes)
    return Inspection(
        place,
        digest,
        format,
        credentials=_credentials(data, format, notes),
        xmp=_xmp(metadata, notes),
        sidecar=_sidecar(storage, name, digest, notes),
        mark=None if gray is None else round(find_mark(gray), 3),
        phash=None if gray is None else perceptual_hash(gray),
        in_color=in_color,
        watermark=_watermark(data, gray.shape, notes) if in_color and gray is not None else None,
        notes=tuple(notes),
    )


def _folder_and_name(place: str) -> tuple[str, str]:
    """Raises UsageError where there is no name."""
    folder, slash, name = place.rpartition("/")
    if not name or folder in ("s3:", "s3:/"):
        raise UsageError(f"{place!r} names no file")
    return (folder or "/") if slash else ".", name


def _look(data: bytes, notes: list[str]) -> tuple[Metadata, Any, bool | None]:
    """What a file says of itself, its gray pixels, and whether it is in color."""
    try:
        master = read_full(data, MOST_PIXELS)
    except PhotoError as error:
        notes.append(f"pixels: {error}")
    else:
        return master.metadata, master.gray, master.info.tone != "gray"
    try:
        return read_header(data), None, None
    except PhotoError as error:
        notes.append(f"metadata: {error}")
        return Metadata(), None, None


def _watermark(data: bytes, shape: tuple[int, int], notes: list[str]) -> int | None:
    try:
        return find_watermark(read_rgb(data, READ_AT, MOST_PIXELS), *shape)
    except PhotoError as error:
        notes.append(f"watermark: {error}")
        return None


def _xmp(metadata: Metadata, notes: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for packet in (metadata.extended, metadata.xmp):
        try:
            found |= provenance_in_xmp(packet)
        except ValueError as error:
            notes.append(f"XMP: {error}")
    return found


def _sidecar(
    storage: Storage, name: str, digest: str, notes: list[str]
) -> Mapping[str, Any] | None:
    """The sidecar beside a file; only where it is of these very bytes."""
    try:
        path = sidecar_path(name)
        if not storage.exists(path):
            return None
        content = json.loads(storage.read(path, _MOST_SIDECAR))
    except (StorageError, ValueError, RecursionError) as error:
        notes.append(f"sidecar: cannot be read: {_line(error)}")
        return None
    if not isinstance(content, dict) or content.get("format_version") != FORMAT:
        notes.append("sidecar: not one of Autochrome")
        return None
    result = content.get("result")
    if not isinstance(result, dict) or result.get("sha256") != digest:
        notes.append("sidecar: of a picture with other bytes than this file has")
        return None
    return content


def _credentials(data: bytes, format: str, notes: list[str]) -> Credentials | None:
    if format not in SIGNABLE or b"c2pa" not in data:
        return None
    try:
        report = find_credentials(data, format)
    except UsageError as error:  # the library is not installed
        notes.append(f"content credentials: there may be some; {error}")
        return None
    except PhotoError as error:
        notes.append(f"content credentials: {error}")
        return None
    return None if report is None else summary_of(report)


def summary_of(report: Mapping[str, Any]) -> Credentials:
    """What the library's report of a file says, whatever is missing in it."""
    manifests = _dict(report.get("manifests"))
    active = _dict(manifests.get(str(report.get("active_manifest"))))
    signature = _dict(active.get("signature_info"))
    programs = active.get("claim_generator_info")
    program = _dict(programs[0]) if isinstance(programs, list) and programs else {}
    results = _dict(_dict(report.get("validation_results")).get("activeManifest"))
    codes = {kind: [str(_dict(each).get("code")) for each in results.get(kind) or ()]
             for kind in ("success", "failure")}  # fmt: skip
    time = signature.get("time")
    names = (signature.get("common_name"), signature.get("issuer"))
    return Credentials(
        state=str(report.get("validation_state")),
        signer=", ".join(str(name) for name in names if name),
        time=None if time is None else str(time),
        time_trusted="timeStamp.trusted" in codes["success"],
        program=" ".join(str(program[key]) for key in ("name", "version") if program.get(key)),
        source_types=tuple(sorted(set(_source_types(manifests)))),
        failures=tuple(codes["failure"]),
    )


def _source_types(manifests: Mapping[str, Any]) -> list[str]:
    found = []
    for manifest in manifests.values():
        for assertion in _dict(manifest).get("assertions") or ():
            for action in _dict(_dict(assertion).get("data")).get("actions") or ():
                kind = _dict(action).get("digitalSourceType")
                if isinstance(kind, str):
                    found.append(kind.replace("https://cv.iptc.org", "http://cv.iptc.org"))
    return found


def short_term(source_type: str) -> str:
    """IPTC's term without its address."""
    return source_type.removeprefix(SOURCE_TYPES)


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
