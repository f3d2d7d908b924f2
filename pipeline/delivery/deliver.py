"""A delivery: chosen pictures copied byte for byte, with a catalog, as a bag, for IIIF.

    OUT/delivery.json         what was asked for; written first, and never changed
    OUT/images/...            the pictures, called as their masters are
    OUT/catalog.csv           a row for each picture; catalog.parquet is the same
    OUT/iiif/collection.json  manifests, where they are asked for

In a bag, everything but delivery.json lies in OUT/data, and bagit.txt is written last. Repeating
the command continues: existing files are read and compared, and never replaced by another picture.
"""

import hashlib
import pickle
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import BinaryIO, cast

import numpy as np

from pipeline.delivery import bag
from pipeline.delivery.catalog import PICTURES, Catalog, Delivered
from pipeline.delivery.chosen import Picture, chosen, decisions_of
from pipeline.delivery.copying import Copier
from pipeline.delivery.iiif import COLLECTION, Manifests, Sheets
from pipeline.delivery.order import DELIVERY, Order, as_begun, begin_delivery, read_order
from pipeline.delivery.place import existing_paths, refuse_others_files
from pipeline.errors import PhotoError, UsageError
from pipeline.ledger.plan import Schedule
from pipeline.ledger.results import committed_shards, image_path
from pipeline.ledger.run_file import Run
from pipeline.ledger.seen import Seen
from pipeline.ledger.selection import Selection
from pipeline.provenance.sidecar import sidecar_of, sidecar_path
from pipeline.storage.base import Storage
from pipeline.storage.open_storage import overlap
from pipeline.storage.probe import probe_conditional_writes

_WORKERS = 16
_PHOTOS_AT_ONCE = 64
_FILES_AT_ONCE = 256


@dataclass(frozen=True)
class Summary:
    """pictures, photos: in the delivery now; bytes: of the pictures. failed: pictures that could
    not be delivered. left_out: photos of which nothing was to be delivered, by reason. pending:
    photos that are not colorized yet."""

    pictures: int
    photos: int
    bytes: int
    failed: list[Delivered] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    pending: int = 0


class _Chosen:
    """The photos to be delivered, kept in a temporary file: results committed meanwhile wait for
    the next command."""

    def __init__(self, file: BinaryIO, photos: Iterator[list[Picture]]) -> None:
        self._file = file
        self.photos = self.pictures = 0
        digest = hashlib.sha256()
        for photo in photos:
            pickle.dump(photo, self._file)
            self.photos += 1
            self.pictures += len(photo)
            for each in photo:
                digest.update(f"{each.name}\0{each.row['output_sha256']}\n".encode())
        self.digest = digest.hexdigest()

    def __iter__(self) -> Iterator[list[Picture]]:
        self._file.seek(0)
        for _ in range(self.photos):
            yield pickle.load(self._file)


def deliver(
    source: Storage,
    destination: Storage,
    run: Run,
    out: Storage,
    order: Order,
    selection: Selection | None = None,
    hard_links: bool = False,
    on_progress: Callable[[int, int, int], None] = lambda done, failed, pictures: None,
) -> Summary:
    """Deliver what an order asks for from a destination; the source is not opened.

    hard_links: pictures are linked to those in the destination, if both are folders on one disk;
    other files are written. on_progress(pictures so far, failed, pictures).

    Raises UsageError (a selection of something that the destination does not have, nothing to
    deliver, an OUT that holds other files or lies within the source or destination, impossible hard
    links), DestinationMismatch (OUT holds another delivery) and StorageError.
    """
    order, is_new = _check_place(out, order, (destination, source))
    left_out: Counter[str] = Counter()
    decisions = decisions_of(destination, run, selection)
    with ExitStack() as files:
        new_file = partial(_temporary, files)
        photos = _Chosen(new_file(), chosen(destination, run, order, decisions, left_out))
        if not photos.pictures:
            why = ", ".join(f"{count:,} {why}" for why, count in sorted(left_out.items()))
            why = why or "no photo is colorized yet"
            raise UsageError(f"{destination.uri} has nothing to deliver: {why}")
        if is_new:
            probe_conditional_writes(out)
        begun = begin_delivery(out, order, run, photos.digest, f"{datetime.now(UTC):%Y-%m-%d}")
        there = existing_paths(out, order, run, photos)
        copier = Copier(destination, out, run.recipe, order.folder, there, hard_links)
        pool = files.enter_context(ThreadPoolExecutor(_WORKERS))
        files.callback(pool.shutdown, cancel_futures=True)
        work = _Delivery(destination, run, out, order, there, new_file, pool)
        files.callback(work.abandon)
        for photo in _copied(copier, photos, pool):
            work.record(photo)
            on_progress(work.done, len(work.failed), photos.pictures)
        work.close(begun)
    return work.summary(left_out, _pending(destination, run))


def _check_place(out: Storage, order: Order, others: Iterable[Storage]) -> tuple[Order, bool]:
    """The order, with names as in a delivery that it goes on with, and whether there is none yet.
    Raises as `deliver`."""
    for place in others:
        if overlap(out, place):
            raise UsageError(f"OUT {out.uri} and {place.uri} must not lie inside each other")
    begun = read_order(out)
    if begun is None:
        refuse_others_files(out)  # at once, before the results are read
    return as_begun(order, begun), begun is None


def _pending(destination: Storage, run: Run) -> int:
    """Photos that are not colorized yet."""
    committed = committed_shards(destination).keys()
    schedule = Schedule(destination, run)
    return schedule.planned - schedule.planned_in(committed)


def _copied(
    copier: Copier, photos: Iterable[list[Picture]], pool: ThreadPoolExecutor
) -> Iterator[list[Delivered]]:
    """Copy several pictures at once, and yield them in order."""
    rest = iter(photos)
    while some := list(islice(rest, _PHOTOS_AT_ONCE)):
        tasks = [copier.task(each) for photo in some for each in photo]
        copied = iter(pool.map(copier.copy, tasks))
        for photo in some:
            yield [next(copied) for _ in photo]


def _temporary(files: ExitStack) -> BinaryIO:
    return cast(BinaryIO, files.enter_context(tempfile.TemporaryFile()))


class _Delivery:
    """Everything in a delivery but its pictures. there: the paths that exist in it."""

    def __init__(
        self,
        destination: Storage,
        run: Run,
        out: Storage,
        order: Order,
        there: Seen,
        new_file: Callable[[], BinaryIO],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._run, self._out, self._order, self._there = run, out, order, there
        self._pool, self._waiting = pool, dict[str, bytes]()
        self._catalog = Catalog(run, new_file(), new_file())
        self._payload = bag.Payload(new_file())
        self._sheets = Sheets(destination)
        base = f"{order.iiif}/{order.folder}".rstrip("/")
        self._manifests = Manifests(base, run.recipe, new_file()) if order.iiif else None
        self.failed: list[Delivered] = []
        self.done = self.photos = self.bytes = 0

    def record(self, photo: list[Delivered]) -> None:
        """Add a photo's pictures to catalog, bag and manifests. Raises StorageError."""
        for each in photo:
            self._catalog.add(each)
        there = [each for each in photo if each.reason is None]
        self.done += len(photo)
        self.failed += [each for each in photo if each.reason is not None]
        self.photos += bool(there)
        folder = self._order.folder
        for each in there:
            row, path = each.picture.row, folder + PICTURES + each.picture.name
            self.bytes += each.size
            self._payload.add(path, row["output_sha256"], each.size)
            if self._run.recipe.sidecar:
                said = sidecar_of(row, image_path(row), self._run.recipe)
                digest = hashlib.sha256(said).hexdigest()
                self._payload.add(sidecar_path(path), digest, len(said))
        if self._manifests and there:
            smalls = [self._small(each) for each in there]
            for path, data in self._manifests.of(there, smalls).items():
                self._waiting[folder + path] = data
                self._payload.add(folder + path, hashlib.sha256(data).hexdigest(), len(data))
            if len(self._waiting) >= _FILES_AT_ONCE:
                self._write_waiting()

    def abandon(self) -> None:
        """Where an error ends the delivery: the catalog would complain once its files are gone."""
        self._catalog.abandon()

    def close(self, begun: str) -> None:
        """Write the tables, and the tag files of a bag. Raises StorageError."""
        self._write_waiting()
        files = self._catalog.close()
        if self._manifests:
            files[COLLECTION] = self._manifests.collection.close()
        for path, file in files.items():
            digest, size = bag.digest_of(file)
            self._payload.add(self._order.folder + path, digest, size)
            self._write_file(self._order.folder + path, file)
        if self._order.bag:
            self._close_bag(begun)

    def _close_bag(self, begun: str) -> None:
        """Write the tag files; the declaration, which makes a folder a bag, comes last."""
        version = self._run.recipe.version
        info = bag.bag_info(
            self._order.bag_info,
            begun,
            f"Autochrome {version}".strip(),
            self._run.digest,
            self._payload.oxum,
        )
        manifest = self._payload.close()
        digests = {
            bag.MANIFEST: bag.digest_of(manifest)[0],
            DELIVERY: hashlib.sha256(self._out.read(DELIVERY)).hexdigest(),
            bag.INFO: hashlib.sha256(info).hexdigest(),
            bag.DECLARATION: hashlib.sha256(bag.DECLARED).hexdigest(),
        }
        self._write_file(bag.MANIFEST, manifest)
        self._waiting[bag.INFO] = info
        self._write_waiting()
        self._waiting[bag.TAG_MANIFEST] = bag.tag_manifest(digests)
        self._write_waiting()
        self._waiting[bag.DECLARATION] = bag.DECLARED
        self._write_waiting()

    def summary(self, left_out: Mapping[str, int], pending: int) -> Summary:
        pictures = self.done - len(self.failed)
        counts = pictures, self.photos, self.bytes
        return Summary(*counts, self.failed, dict(left_out), pending)

    def _small(self, delivered: Delivered) -> np.ndarray | None:
        try:
            return self._sheets.picture(delivered.picture.row)
        except PhotoError:  # a damaged sheet is no reason to withhold a picture
            return None

    def _write_waiting(self) -> None:
        """Write generated files, several at once, unless they exist with the right content."""
        there = [path in self._there for path in self._waiting]
        for _ in self._pool.map(self._write, self._waiting, self._waiting.values(), there):
            pass
        self._waiting.clear()

    def _write(self, path: str, data: bytes, is_there: bool) -> None:
        if not is_there or self._out.read(path) != data:
            self._out.write(path, data)

    def _write_file(self, path: str, file: BinaryIO) -> None:
        if path in self._there:
            digest = hashlib.sha256(self._out.read(path)).hexdigest()
            if digest == bag.digest_of(file)[0]:
                return
        self._out.write_file(path, file)
