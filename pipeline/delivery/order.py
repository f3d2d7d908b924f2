"""What is to be delivered, and in which form, frozen in a file of the delivery itself."""

import json
import re
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import (
    DestinationMismatch,
    ObjectMissing,
    StorageError,
    UsageError,
    shown_in_line,
)
from pipeline.ledger.run_file import Run, differences
from pipeline.storage.base import Storage

DELIVERY = "delivery.json"
FORMAT = "autochrome-delivery-1"
# Labels that a bag gets automatically.
OF_RUN = ("Payload-Oxum", "Bagging-Date", "Bag-Software-Agent")
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


@dataclass(frozen=True)
class Order:
    """What is to be delivered.

    choice: "ok" for every picture that was not rejected, "approved" for those approved by the
    decisions that the destination keeps, "selection" for those that a file approves. candidates:
    "best" of each photo, or "all". most_bits, least_colorfulness: limits on scores. bag: as a BagIt
    bag, with these lines of bag-info.txt. iiif: the address at which the delivery will be served,
    without "/" at its end, if manifests are wanted. for_windows: names are fit for its disks, as
    they were not always.
    """

    choice: str = "ok"
    candidates: str = "best"
    most_bits: float | None = None
    least_colorfulness: float | None = None
    bag: bool = False
    bag_info: dict[str, str] = field(default_factory=dict)
    iiif: str | None = None
    for_windows: bool = True

    def __post_init__(self) -> None:
        """Raises UsageError."""
        if self.bag_info and not self.bag:
            raise UsageError("--bag-info needs --bag")
        for label, value in self.bag_info.items():
            if not _LABEL.fullmatch(label) or label in OF_RUN:
                raise UsageError(f"--bag-info: {label!r} is not a label that can be given")
            if not value.strip() or shown_in_line(value) != value:
                raise UsageError(f"--bag-info: {label} needs a value of one line")
        if self.iiif is not None:
            object.__setattr__(self, "iiif", _address(self.iiif))

    @property
    def folder(self) -> str:
        """The folder of everything but a bag's tag files, with "/" at its end."""
        return "data/" if self.bag else ""


def as_begun(order: Order, there: dict[str, Any] | None) -> Order:
    """An order with names as in a delivery that it goes on with. there: of read_order."""
    return order if there is None else replace(order, for_windows=there["for_windows"])


def begin_delivery(out: Storage, order: Order, run: Run, pictures: str, today: str) -> str:
    """Write the order into a delivery that has none yet; returns the date on which it was begun.

    pictures: the digest of everything to be delivered. The same order may add pictures to a folder
    later, but not to a bag. Raises DestinationMismatch if another order was begun there, and
    StorageError.
    """
    content: dict[str, Any] = {"run_sha256": run.digest, **asdict(order)}
    if order.bag:
        content["pictures_sha256"] = pictures
    whole = {"format_version": FORMAT, "begun": today, **content}
    if out.write_if_absent(DELIVERY, json.dumps(whole, indent=2, sort_keys=True).encode() + b"\n"):
        return today
    there = read_order(out)
    if there is None:
        raise StorageError(f"{out.uri_of(DELIVERY)} came and went: is another command at work?")
    begun = str(there.pop("begun"))
    changed = differences(there, content)
    if changed:
        head = f"{out.uri} holds a delivery of another kind; take another OUT"
        raise DestinationMismatch("\n".join([head, *changed]))
    return begun


def read_order(out: Storage) -> dict[str, Any] | None:
    """The order of a delivery, and the date on which it was begun; None if there is none.

    Raises StorageError if the file is not ours.
    """
    try:
        content = json.loads(out.read(DELIVERY))
        if content.pop("format_version") != FORMAT:
            raise ValueError("of another version")
        date.fromisoformat(content["begun"])
        content.setdefault("for_windows", False)  # of an older version
        if not isinstance(content["for_windows"], bool):
            raise ValueError("names are for Windows or not")
    except ObjectMissing:
        return None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise StorageError(f"{out.uri_of(DELIVERY)} is not a delivery of Autochrome") from error
    return dict(content)


def _address(base: str) -> str:
    """Raise UsageError unless a browser could open the address."""
    try:
        parts = urlsplit(base)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound, parts = False, None
    if not sound or parts is None or parts.query or parts.fragment or not _is_plain(base):
        raise UsageError(f"--iiif: {base!r} is not an address such as https://archive.example/web")
    return base.rstrip("/")


def _is_plain(base: str) -> bool:
    return base.isascii() and base.isprintable() and not set(base) & set(' "<>\\^`{|}#?')
