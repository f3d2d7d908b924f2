"""Shared fixtures, and an environment in which tests are quiet, offline and fair to others."""

import gc
import os
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.cluster.session import ENVIRONMENT

_FOLDERS = TemporaryDirectory(prefix="autochrome-tests-")  # kept: it goes when this process ends

# Before torch, ray or boto3 are imported: they read these once.
os.environ.update(
    OMP_NUM_THREADS="1",  # tests run side by side; what needs more takes `two_threads`
    OMP_WAIT_POLICY="PASSIVE",  # spinning OpenMP threads starve each other on two cores
    RAY_USAGE_STATS_ENABLED="0",
    RAY_worker_niceness="0",  # by default the tests beside one starve its workers for minutes
    AWS_ACCESS_KEY_ID="test",  # never the developer's own account
    AWS_SECRET_ACCESS_KEY="test",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    XDG_CACHE_HOME=f"{_FOLDERS.name}/cache",  # copies of weights, and logs, go with the tests
    XDG_STATE_HOME=f"{_FOLDERS.name}/state",
)
os.environ.update(ENVIRONMENT)  # some tests import Ray without our help
for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
    os.environ.pop(name, None)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from xdist.remote import Producer  # noqa: E402

from support import s3_servers  # noqa: E402
from support.fault_proxy import FaultProxy, fault_proxy  # noqa: E402
from support.local_ray import LocalRay  # noqa: E402
from support.order_of_files import FIRST, LONGEST, SharedRayScheduling  # noqa: E402
from support.signing_chains import Chain, write_chain  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]

TOLD_SECONDS = 10.0

settings.register_profile("autochrome", deadline=None, derandomize=True, database=None)
settings.load_profile("autochrome")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Tests are imported without a look for garbage, and what is there then is never looked through
    again: that took two of five CPU seconds of a start and an end, and a twentieth of all between.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which files are handed to the processes that test side by side, and `slow` for
    what `make test-fast` leaves out: the longest, and tests that are marked so themselves."""
    rank = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))
    for item in items:
        if item.path.stem in LONGEST:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which may be switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedRayScheduling | None:
    """With --dist loadfile, files that share what is costly go to one process, too."""
    return SharedRayScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `cuda` where there is no GPU."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("PyTorch finds no GPU here")


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """A line in the place of a dot for what took long: else the first minutes show next to nothing,
    as the longest files come first."""
    if report.when != "call" or report.outcome != "passed" or report.duration < TOLD_SECONDS:
        return None
    return "passed", f" {report.nodeid}: {report.duration:.0f} s\n", "PASSED"


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """Material that lies beside some checkouts and is not ours to publish; skips where absent."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no shared/ folder beside the checkout")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Inputs, outputs and checkpoints of the published code; skips where absent."""
    folder = shared / "golden"
    if not folder.is_dir():
        pytest.skip("no shared/golden folder beside the checkout")
    return folder


@pytest.fixture
def two_threads() -> Iterator[None]:
    """PyTorch with two threads, where their number could make a difference."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket on moto's server."""
    return s3_servers.new_bucket(s3_endpoint, monkeypatch)


@pytest.fixture
def faults(bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy between `bucket` and us that commits the faults its `rule` asks for.

    boto3 retries as often as ever, almost without waiting.
    """
    retries = "botocore.retries"
    monkeypatch.setattr(f"{retries}.standard.ExponentialBackoff.delay_amount", lambda *_: 0.001)
    monkeypatch.setattr(f"{retries}.bucket.TokenBucket.acquire", lambda *_: True)
    monkeypatch.setattr("pipeline.storage.s3.CONFLICT_WAITS", (0.001, 0.001, 0.001))
    with fault_proxy(s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield proxy


@pytest.fixture(scope="session")
def ray_of_process() -> Iterator[LocalRay]:
    """The Ray that files of tests share, by `local_ray`; it starts with the first of them."""
    shared = LocalRay()
    yield shared
    shared.end()


@pytest.fixture(scope="module")
def local_ray(ray_of_process: LocalRay, s3_endpoint: str) -> Iterator[None]:
    """A Ray of this machine, used by all commands that run in this process, as long as a file's
    tests; its workers find the server of the S3 protocol."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
        ray_of_process.start()
        yield


@pytest.fixture(scope="module", autouse=True)
def no_ray_unasked(request: pytest.FixtureRequest, ray_of_process: LocalRay) -> None:
    """No Ray in this process for files that do not ask for it: some join a cluster."""
    own = (item for item in request.session.items if item.path == request.path)
    if not any("local_ray" in getattr(item, "fixturenames", ()) for item in own):
        ray_of_process.end()


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Files of a certificate to sign with, its key, and the root above it; only ever read."""
    return write_chain(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights of tiny stages; only ever read."""
    from support.tiny_models import write_tiny_weights

    return write_tiny_weights(tmp_path_factory.mktemp("weights"), outer=1, inner=1)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real server of the S3 protocol, in a thread."""
    import botocore.session

    with s3_servers.moto() as endpoint, pytest.MonkeyPatch.context() as patch:
        # boto3 reads megabytes about its services for every client; for tests, once.
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        yield endpoint


@pytest.fixture(scope="session")
def ministack_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another one, in a process of its own."""
    with s3_servers.ministack(tmp_path_factory.mktemp("ministack")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def rclone_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that ignores If-None-Match."""
    with s3_servers.rclone(tmp_path_factory.mktemp("rclone")) as endpoint:
        yield endpoint
