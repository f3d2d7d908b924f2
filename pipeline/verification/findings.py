"""What a verification found: problems by kind, and which photos `repair` would do once more."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.ledger.retries import Redo

KINDS = {
    "damaged_results": "results that cannot be read, or are of another run",
    "unplanned": "results of photos that were not planned there",
    "incomplete": "photos without exactly one result per candidate and page",
    "missing_image": "images that are gone",
    "damaged_image": "images with other bytes than recorded",
    "missing_sidecar": "sidecars that are gone",
    "damaged_sidecar": "sidecars that do not say what was recorded",
    "missing_source": "photographs that are gone from the source",
    "changed_source": "photographs with other bytes than recorded",
    "unreadable": "files that are there and cannot be read",
    "orphan": "files that belong to no result",
}


@dataclass(frozen=True)
class Problem:
    """Something that is wrong. kind: one of KINDS. path: relative to the destination, or a
    photo."""

    kind: str
    path: str
    detail: str = ""


@dataclass
class Findings:
    """What a verification found.

    images, sources: how many were read and compared. pending: photos that have no result yet, or
    wait to be done once more. unknown_shards: those whose results tell nothing, or that came
    meanwhile. redo: by photo, what `repair` plans. attempts: the last that was done, of photos with
    several. stale: previews that belong to older attempts only; nothing is wrong with them, and
    `prune` deletes them. Stale previews and orphans are only looked for when nothing is pending and
    no shard unknown, because the files of such a shard, as those that a running job has not
    committed yet, belong to no result.
    """

    photos: int = 0
    pending: int = 0
    unknown_shards: int = 0
    images: int = 0
    sources: int = 0
    problems: list[Problem] = field(default_factory=list)
    redo: dict[str, Redo] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Problem]:
        return [problem for problem in self.problems if problem.kind == kind]

    def counts(self) -> Counter[str]:
        return Counter(problem.kind for problem in self.problems)
