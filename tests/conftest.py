"""Shared fixtures, and an environment in which tests are quiet, offline and fair to others."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

# Before torch, ray or boto3 are imported: they read these once.
os.environ.update(
    OMP_WAIT_POLICY="PASSIVE",  # spinning OpenMP threads starve each other on two cores
    RAY_USAGE_STATS_ENABLED="0",
    AWS_ACCESS_KEY_ID="test",  # never the developer's own account
    AWS_SECRET_ACCESS_KEY="test",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
)
for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
    os.environ.pop(name, None)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("autochrome", deadline=None, derandomize=True, database=None)
settings.load_profile("autochrome")


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
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new bucket on the server, which the environment points to."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    name = f"test-{uuid.uuid4().hex}"
    boto3.session.Session().client("s3").create_bucket(Bucket=name)
    yield name


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real server of the S3 protocol, in a thread."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
