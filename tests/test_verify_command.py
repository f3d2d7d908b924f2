"""`autochrome verify`: its words and refusals; tests/test_durability.py damages and repairs."""

from pathlib import Path

import pytest

from jobs.verify import LISTED, describe
from pipeline.verification.findings import Findings, Problem
from support.commands import run_command
from support.simulated_runs import write_run


def test_what_was_found_is_named_by_kind() -> None:
    findings = Findings(photos=9, images=4, sources=3)
    assert describe(findings) == ("nothing is wrong: 4 images and 3 sources were read and compared")
    findings.problems += [Problem("orphan", f"images/{k}") for k in range(LISTED + 2)]
    findings.problems.append(Problem("unplanned", "x.jpg", "results/shard-000001.parquet"))
    findings.pending = 2
    lines = describe(findings).splitlines()
    assert lines[0] == "52 files that belong to no result:"
    assert lines[1] == "  images/0"
    assert lines[LISTED + 1 :] == [
        "  ... and 2 more",
        "1 results of photos that were not planned there:",
        "  x.jpg  (results/shard-000001.parquet)",
        "2 photos are not done yet; orphans were not looked for",
        "4 images and 3 sources were read and compared",
    ]


def test_names_are_shown_on_their_line_without_commands_to_a_terminal() -> None:
    found = Findings(problems=[Problem("orphan", "images/\x1b[2J\n\u202e\x9b.jpg", "a\nb")])
    assert describe(found).splitlines()[1] == (r"  images/\x1b[2J\n\u202e\x9b.jpg  (a\nb)")


def test_nothing_is_pruned_while_photos_are_pending(tmp_path: Path) -> None:
    (write_run(tmp_path) / "images").mkdir()
    (tmp_path / "images" / "fresh.jpg").write_bytes(b"of a job that is running")
    result = run_command("verify", tmp_path, "--prune")
    assert result.exit_code == 2
    assert "3 photos are not done yet" in result.stderr.splitlines()[-1]
    assert (tmp_path / "images" / "fresh.jpg").exists()


def test_a_run_that_is_not_done_is_no_success(tmp_path: Path) -> None:
    result = run_command("verify", write_run(tmp_path))
    assert result.exit_code == 3
    assert "3 photos are not done yet" in result.stdout


@pytest.mark.parametrize("sample", ["0", "101%", "nan", "x", "-1", "1.5"])
def test_a_sample_is_a_share(sample: str, tmp_path: Path) -> None:
    result = run_command("verify", tmp_path, "--sample", sample)
    assert result.exit_code == 2
    assert "is not a share" in result.stderr
