"""The order of files of tests (support/order_of_files.py) is that of files that are there."""

import re
from itertools import chain
from pathlib import Path

from support.order_of_files import FIRST, LONGEST, ROWS, SHARED_RAYS

ASKS = re.compile(r'(usefixtures|getfixturevalue)\("local_ray"|\blocal_ray: None')


def test_files_that_share_a_ray_are_those_that_ask_for_one(repository: Path) -> None:
    """One that is not listed would have each process that gets it start another Ray."""
    files = {path.stem: path for path in (repository / "tests").glob("test_*.py")}
    asking = {name for name, path in files.items() if ASKS.search(path.read_text(encoding="utf-8"))}
    asking -= {Path(__file__).stem}
    listed = list(chain(*SHARED_RAYS))
    assert len(listed) == len(set(listed)) and asking == set(listed)
    rows = list(chain(*ROWS))
    assert len(rows) == len(set(rows)) and len(FIRST) == len(set(FIRST))
    assert {*LONGEST} <= {*FIRST} and {*FIRST, *rows} <= files.keys()
