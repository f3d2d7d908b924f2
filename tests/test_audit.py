"""What `make audit` makes of the answers of pip-audit (benchmarks/audit.py)."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from audit import describe


def answer(*dependencies: Mapping[str, object]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


SOUND = {"name": "click", "version": "8.3.1", "vulns": []}
FAULTY = {
    "name": "pillow",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]}, {"id": "X", "fix_versions": []}],
}
UNKNOWN = {"name": "own", "skip_reason": "Dependency not found"}


def test_faults_are_named_and_fail() -> None:
    assert describe(answer(SOUND, UNKNOWN, FAULTY), "") == (
        "pillow 1.0: PYSEC-1, fixed in 1.1, 2.0\n"
        "pillow 1.0: X, fixed in no version\n"
        "2 of 3 versions audited, 2 known faults; 1 unknown to the database",
        False,
    )
    assert describe(answer(SOUND), "") == ("1 of 1 versions audited, 0 known faults", True)


def test_a_database_out_of_reach_is_one_line_and_no_proof() -> None:
    for text, errors in (("", "Traceback\nConnectionError: no route\n"), ("{}", ""), ("[]", "x")):
        said, well = describe(text, errors)
        assert well and said.startswith("not audited: the advisory database cannot be reached: ")
        assert "\n" not in said
    said, _ = describe(answer(UNKNOWN, UNKNOWN), "")
    assert said == "not audited: the advisory database knows none of 2 packages"


def test_hashes_are_of_the_versions_that_are_pinned(repository: Path) -> None:
    """All but PyTorch, of which users take the build for their machine, and bagit, which has no
    wheel and which only tests need."""

    def versions(name: str) -> set[str]:
        text = (repository / name).read_text(encoding="utf-8")
        return set(re.findall(r"^([\w.-]+==[\w.+!-]+)", text, re.MULTILINE))

    pinned, hashed = versions("constraints.txt"), versions("hashes.txt")
    assert {re.split("==", each)[0] for each in pinned - hashed} == {"torch", "bagit"}
    assert not hashed - pinned
    text = (repository / "hashes.txt").read_text(encoding="utf-8")
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE)) == len(hashed)
    assert "//" not in text, "no index is named"
