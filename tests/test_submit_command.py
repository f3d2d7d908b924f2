"""submit, logs, stop and resume through a real job server of a Ray that the test starts."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from compared_runs import undisturbed
from pipeline.cluster import submission
from pipeline.ledger.results import committed_shards
from pipeline.run.options import RecipeOptions
from pipeline.storage.base import Storage
from pipeline.storage.s3 import S3Storage
from support.commands import run_command
from support.ray_clusters import simulated_cluster

# Ray's client asks aiohttp in an old way.
pytestmark = pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def address(s3_endpoint: str) -> Iterator[str]:
    """A Ray with a job server, whose jobs find the server of the S3 protocol."""
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        # As where Ray is started by its path: what jobs run on is not on PATH.
        "PATH": "/usr/bin:/bin",
    }
    with simulated_cluster({"num_cpus": 2, "include_dashboard": True}, environment) as cluster:
        address = f"http://{cluster.dashboard.removeprefix('http://')}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
            yield address


@pytest.fixture
def photos(tmp_path: Path, repository: Path) -> Path:
    shutil.copytree(repository / "examples" / "photos" / "animals", tmp_path / "in")
    return tmp_path / "in"


def test_a_job_is_sent_followed_stopped_and_resumed(
    address: str, weights: Path, photos: Path, tmp_path: Path
) -> None:
    for number in range(40):
        shutil.copy(photos / "cat.jpg", photos / f"cat {number}.jpg")
    out = tmp_path / "out"
    command = ("submit", photos, out, "--address", address, "--weights", weights)
    sent = run_command(*command, "--shard-size", 1, "--actors", 1)
    assert sent.exit_code == 0, sent.output
    name = f"{submission.job_of(str(out))}-1"
    assert sent.stdout.splitlines() == [
        f"job {name} works on {out}",
        f"follow  autochrome logs {name} --follow --address {address}",
        f"status  autochrome status {out}",
        f"stop    autochrome stop {name} --address {address}",
    ]
    again = run_command(*command)
    assert again.exit_code == 2
    assert f"the job {name} works on {out} already" in again.stderr
    assert again.stderr.strip().endswith(f"autochrome logs {name} --follow --address {address}")

    end = time.monotonic() + 300
    while len(list(out.glob("results/shard-*"))) < 2:
        assert time.monotonic() < end, submission.read_logs(address, name)
        time.sleep(0.1)
    go_on = f"resume  autochrome resume {out} --address {address}\n"
    assert (
        run_command("stop", out, "--address", address).stdout == f"{name} is being stopped\n{go_on}"
    )
    followed = run_command("logs", name, "--address", address, "--follow")
    assert followed.exit_code in (1, 130), followed.output
    done = len(list(out.glob("results/shard-*")))
    assert 2 <= done < 42
    assert run_command("stop", name, "--address", address).stdout == (
        f"{name} has ended already\n{go_on}"
    )

    resumed = run_command(
        "resume", out, "--address", address, "--weights", weights, "--actors", 1, "--follow"
    )
    assert resumed.exit_code == 0, resumed.output
    assert f"job {name[:-1]}2 works on {out}" in resumed.stdout
    assert "42 of 42 photos colorized" in resumed.stderr
    assert "42 of 42 photos colorized" in run_command("logs", out, "--address", address).stdout
    assert run_command("verify", out, "--prune").exit_code == 0

    listed = [
        line.split() for line in run_command("jobs", "--address", address).stdout.splitlines()
    ]
    ours = [line for line in listed if line[-1] == str(out)]
    assert [line[0] for line in ours] == [f"{name[:-1]}2", name]
    assert [line[1] for line in ours] == ["succeeded", "stopped"]


def commands_on(out: str) -> list[int]:
    """The processes of jobs that work on a destination, by their command lines."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with suppress(OSError):  # gone meanwhile
                words = (place / "cmdline").read_bytes().split(b"\0")
                if out.encode() in words and b"-c" == words[1]:
                    found.append(int(place.name))
    return found


def kill_once_begun(out: Storage) -> int:
    """Kill the command that works on a destination after two shards; how many are done then."""
    end = time.monotonic() + 300
    while len(committed_shards(out)) < 2:
        assert time.monotonic() < end
        time.sleep(0.3)
    [command] = commands_on(out.uri)
    os.kill(command, signal.SIGKILL)
    return len(committed_shards(out))


def test_a_run_on_a_bucket_whose_command_is_killed_ends_without_a_person(
    address: str, weights: Path, photos: Path, bucket: str
) -> None:
    """Its weights come from the bucket, too, and as one of its photos fails, so does the job."""
    for number in range(14):
        shutil.copy(photos / "cat.jpg", photos / f"cat {number:02}.jpg")
    (photos / "broken.jpg").write_bytes(b"no photograph")
    calm = undisturbed(photos, weights, RecipeOptions(shard_size=64)).files
    store, out = S3Storage(bucket), S3Storage(bucket, "out")
    for folder, name in ((weights, "weights"), (photos, "in")):
        for path in folder.iterdir():
            store.write(f"{name}/{path.name}", path.read_bytes())
    places = (f"s3://{bucket}/in", out.uri, "--address", address)
    options = ("--weights", f"s3://{bucket}/weights", "--shard-size", 1, "--actors", 1)
    with ThreadPoolExecutor(1) as beside:
        killed = beside.submit(kill_once_begun, out)
        followed = run_command("submit", *places, *options, "--follow")
        assert killed.result() < 16, followed.output
    assert followed.exit_code == 3, followed.output
    assert "1 failed: 1 unsupported" in followed.stderr
    told = run_command("logs", out.uri, "--address", address, "--follow")
    assert told.exit_code == 3, told.output
    assert "the command was killed (signal 9) and starts again" in told.stderr
    assert "16 of 17 photos colorized" in told.stderr
    paths = [each.path for each in out.list("images") if each.path.endswith(".jpg")]
    found = {path: out.read(path) for path in paths}
    assert found == {path: data for path, data in calm.items() if path in found}
    assert len(found) == 16 and "images/cat.jpg" in found
    assert run_command("verify", out.uri).exit_code == 0


def test_what_cannot_work_is_refused_before_anything_is_sent(address: str, tmp_path: Path) -> None:
    places = ("submit", tmp_path / "in", tmp_path / "out")
    for arguments, words in (
        ((*places, "--address", address, "--format", "gif"), "'gif' is not one of"),
        ((*places, "--address", address, "--colour"), "No such option"),
        ((*places, "--address", "http://127.0.0.1:9"), "no job server answers at"),
        (("logs", "autochrome-x-1", "--address", address), "no job of Autochrome is"),
        (("stop", tmp_path / "out", "--address", address), f"autochrome jobs --address {address}"),
        (("jobs", "--address", "http://127.0.0.1:9"), "no job server answers at"),
        (("resume", tmp_path, "--follow"), "--follow needs --address"),
    ):
        result = run_command(*arguments)
        assert result.exit_code == 2, result.output
        assert words in result.stderr, result.stderr


def test_weights_too_large_to_send_are_refused(
    address: str, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "MOST_WEIGHTS", 1000)
    places = ("submit", tmp_path / "in", tmp_path / "out", "--address", address)
    result = run_command(*places, "--weights", weights)
    assert result.exit_code == 2
    assert "too much to send with a job" in result.stderr


def test_ids_tell_the_destination() -> None:
    assert submission.job_of("s3://b/out") == submission.job_of("s3://b/out/")
    assert submission.job_of("s3://b/out") != submission.job_of("s3://b/out2")
