"""What a delivery finds in OUT: its own files, other files, and leftovers of a killed command."""

from collections.abc import Iterable
from contextlib import suppress

from pipeline.delivery.bag import TAGS
from pipeline.delivery.catalog import CSV, PARQUET, PICTURES
from pipeline.delivery.chosen import Picture
from pipeline.delivery.iiif import COLLECTION, paths_of
from pipeline.delivery.order import DELIVERY, Order
from pipeline.errors import ObjectMissing, UsageError
from pipeline.ledger.run_file import Run
from pipeline.ledger.seen import Seen
from pipeline.provenance.sidecar import sidecar_path
from pipeline.storage.base import Storage
from pipeline.storage.lease import LEASE
from pipeline.storage.local import PARTIAL


def existing_paths(out: Storage, order: Order, run: Run, photos: Iterable[list[Picture]]) -> Seen:
    """The paths that a delivery already holds; incomplete writes are deleted.

    Raises UsageError if OUT holds files that do not belong to the delivery, and StorageError.
    """
    expected, there, cut_off = Seen(), Seen(), []
    for path in (CSV, PARQUET, *([COLLECTION] if order.iiif else [])):
        expected.add(path)
    for each in (picture for photo in photos for picture in photo):
        expected.add(f"{PICTURES}{each.name}")
        if run.recipe.sidecar:
            expected.add(sidecar_path(f"{PICTURES}{each.name}"))
        for path in paths_of(each.name) if order.iiif else ():
            expected.add(path)
    for found in out.list():
        inside = found.path.startswith(order.folder)
        if PARTIAL.fullmatch(found.path.rpartition("/")[2]):
            cut_off.append(found.path)
        elif inside and found.path.removeprefix(order.folder) in expected:
            there.add(found.path)
        elif order.bag and found.path in TAGS:
            there.add(found.path)
        elif found.path not in (DELIVERY, LEASE) and not _is_hidden(found.path, order):
            raise UsageError(
                f"{out.uri} holds {found.path}, which does not belong to this delivery: move it"
                " away, or take another OUT"
            )
    for path in cut_off:
        out.delete(path)
    return there


def refuse_others_files(out: Storage) -> None:
    """Raise UsageError if OUT holds files but no delivery."""
    with suppress(ObjectMissing):  # the folder is only made with the first write
        for found in out.list():
            if not _is_hidden(found.path, Order()) and found.path != LEASE:
                if out.exists(DELIVERY):  # of another command, which began it meanwhile
                    return
                raise UsageError(
                    f"{out.uri} holds {found.path} and no {DELIVERY}: choose an empty OUT"
                )


def _is_hidden(path: str, order: Order) -> bool:
    """Whether file managers or systems leave such a file anywhere; in a bag's payload it would
    count."""
    hidden = any(part.startswith(".") for part in path.split("/"))
    return hidden and not (order.bag and path.startswith(order.folder))
