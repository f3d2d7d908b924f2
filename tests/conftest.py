"""Shared fixtures, and an environment in which tests are quiet, offline and fair to small machines."""

import os
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
