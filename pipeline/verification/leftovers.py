"""Files of a destination that belong to no result, and previews of older attempts only."""

from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.ledger.plan import is_plan_path
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import image_path, shard_of
from pipeline.ledger.seen import Seen
from pipeline.provenance.sidecar import sidecar_path
from pipeline.review.previews import CELLS, FOLDER, map_path, script_path, sheet_path
from pipeline.storage.base import Storage
from pipeline.storage.local import PARTIAL
from pipeline.storage.probe import PROBE
from pipeline.verification.findings import Problem


class Claimed:
    """What belongs to results. files: pictures and sidecars. previews: of last attempts."""

    def __init__(self, recipe: Recipe) -> None:
        self.files, self.previews = Seen(), Seen()
        self._sidecars = recipe.sidecar

    def add(self, rows: Iterable[dict[str, Any]], current: Iterable[dict[str, Any]]) -> None:
        """Rows of a shard, and those of them that are of a photo's last attempt."""
        for row in rows:
            if row["output_uri"]:
                self.files.add(image_path(row))
                if self._sidecars:
                    self.files.add(sidecar_path(image_path(row)))
        for row in current:
            if row["preview"] is not None:
                sheet = row["preview"] // CELLS
                for path_of in (sheet_path, map_path, script_path):
                    self.previews.add(path_of(row["shard"], sheet))


def find_stale(destination: Storage, claimed: Claimed) -> list[str]:
    """Sheets of previews that no last attempt has."""
    sheets = (
        found.path
        for found in destination.list(FOLDER)
        if found.path.startswith(f"{FOLDER}/shard-")
        and found.path.endswith((".jpg", ".png", ".js"))
    )
    return [path for path in sheets if path not in claimed.previews]


def find_orphans(destination: Storage, claimed: Claimed) -> list[Problem]:
    """Files that belong to no result, nor to the run itself."""
    orphans: list[Problem] = []
    for found in destination.list():
        top, below, _ = found.path.partition("/")
        name = found.path.rpartition("/")[2]
        ours = {
            "images": found.path in claimed.files,
            "results": shard_of(found.path) is not None,
            "plan": is_plan_path(found.path),
            "report": True,
            "selections": True,
        }
        if below and top not in ours:
            continue  # not ours, except what a killed command leaves beside run.json
        if found.skipped:
            continue  # a folder that may not be looked into: what is in it is missed elsewhere
        own = ours[top] if below else not name.startswith(PROBE)
        if not own or PARTIAL.fullmatch(name):
            orphans.append(Problem("orphan", found.path))
    return orphans


def still_there(destination: Storage, orphans: Iterable[Problem]) -> Iterator[Problem]:
    """Those that are left, and not just what a command that writes now has removed itself."""
    for each in orphans:
        name = each.path.rpartition("/")[2]
        passing = name.startswith(PROBE) or PARTIAL.fullmatch(name)
        if not passing or destination.exists(each.path):
            yield each
