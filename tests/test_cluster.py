"""Which Ray a command works with, and what it waits for there (pipeline/cluster.py)."""

import pytest

from pipeline.cluster import address, quiet_ray
from pipeline.errors import UsageError


def test_a_cluster_that_others_started_on_this_machine_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray._private.services import canonicalize_bootstrap_address

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert canonicalize_bootstrap_address(address()) is None, "a Ray of our own is started"
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.2:6379")
    assert canonicalize_bootstrap_address(address()) == "192.0.2.2:6379"


def test_a_cluster_that_is_not_there_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UsageError, match="no Ray answers at 127.0.0.1:9"), quiet_ray():
        pass
