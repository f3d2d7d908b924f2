"""The fuzzer of masters: its inputs are what it says, and a few dozen of them meet no fault."""

import io
import json
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fuzz_masters import MOST_BYTES, Outcome, alone, fuzz, summary
from PIL import Image

from damaged_masters import damaged, pieces_of
from pipeline.images.masters import read_small
from sound_masters import PROFILE_DATE, sound_masters


def test_sound_masters_are_sound_and_their_pieces_are_known() -> None:
    for name, data in sound_masters().items():
        assert read_small(data, [16])[0].tone == "gray", name
        pieces = list(pieces_of(data))
        assert all(each.start <= each.body <= each.end <= len(data) for each in pieces)
        least = {"jpeg": 3, "png": 4, "tiff": 9, "jp2": 6, "avif": 12, "webp": 2}
        assert len(pieces) >= least.get(name.split()[0], 1), name


def test_sound_masters_do_not_depend_on_the_time() -> None:
    for name in ("jpeg", "png", "avif", "webp"):
        profile = Image.open(io.BytesIO(sound_masters()[name])).info["icc_profile"]
        assert struct.unpack(">6H", profile[PROFILE_DATE]) == (2026, 1, 1, 0, 0, 0), name


def test_an_input_is_the_same_by_its_number_and_no_other() -> None:
    first = [damaged(number) for number in range(200)]
    assert first == [damaged(number) for number in range(200)]
    assert len({data for _, data in first}) > 190
    assert first != [damaged(number, seed=1) for number in range(200)]
    assert len({what.partition(":")[0] for what, _ in first}) > 25


@pytest.mark.slow
def test_sixty_inputs_have_rows_and_take_little() -> None:
    outcomes = list(fuzz(range(60)))
    assert [each.number for each in outcomes] == list(range(60))
    assert not [each for each in outcomes if each.fault], summary(outcomes)
    assert {"ok", "failed"} <= {each.status for each in outcomes}
    counts = Counter(each.reason for each in outcomes)
    assert counts["corrupt"] > 5 and all(0 < each.peak < MOST_BYTES for each in outcomes)


@pytest.mark.slow
def test_one_input_alone_gives_what_a_worker_gives() -> None:
    [expected] = fuzz([0])
    found = alone(0, 0)
    assert (found.status, found.reason, found.error) == (
        *(expected.status, expected.reason, expected.error),
    )
    assert found.alone and found.peak > 0


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, ""),
        ({"status": "none", "error": "Traceback"}, "no row"),
        ({"status": "failed", "reason": "internal"}, "a fault of ours"),
        ({"status": "failed", "reason": None}, "no reason"),
        ({"seconds": 21.0}, "took 21 s"),
        ({"status": "failed", "reason": "timeout"}, "took 1 s"),
        ({"peak": 2**31}, "took 2,048 MiB"),
        ({"status": "failed", "reason": "out_of_memory", "alone": True}, "ended its process"),
    ],
)
def test_what_counts_as_a_fault(given: dict[str, object], fault: str) -> None:
    plain = {"number": 3, "what": "png: cut", "status": "ok", "reason": None, "error": None}
    outcome = Outcome(**(plain | {"seconds": 1.0, "peak": 2**27} | given))  # type: ignore[arg-type]
    assert outcome.fault == fault
    assert (f"number 3 (png: cut): {fault}" in summary([outcome])) == bool(fault)


@pytest.mark.slow
def test_a_file_is_gone_on_with(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "fuzz.jsonl"
    script = repository / "benchmarks" / "fuzz_masters.py"
    for count in (2, 3):
        command = [sys.executable, str(script), "--count", str(count), "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    lines = out.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 1, 2]
