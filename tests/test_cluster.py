"""Which Ray a command works with, and what it waits for there (pipeline/cluster/session.py)."""

import pytest

from pipeline.cluster.session import address, evenly_spread, quiet_ray
from pipeline.errors import EngineError, UsageError


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


def test_the_smallest_store_of_those_that_work_says_how_much_may_wait() -> None:
    head = {"object_store_memory": 9e9}
    large, small = (
        {"GPU": 4.0, "object_store_memory": 8e9},
        {"CPU": 8.0, "object_store_memory": 2e9},
    )
    assert evenly_spread([head, large, small]) == 4e9
    assert evenly_spread([head, large]) == 8e9
    assert evenly_spread([head]) == 9e9
    assert evenly_spread([{}, {"CPU": 2.0}]) == 0


def test_the_address_of_a_job_server_is_told_from_that_of_a_ray(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(UsageError, match="is a job server, for autochrome submit"), quiet_ray():
        pass


@pytest.mark.parametrize(
    ("words", "starts"),
    [("The current node timed out during startup. This could happen.", 2), ("no port is free", 1)],
)
def test_a_start_that_a_busy_machine_is_too_slow_for_is_tried_once_more(
    words: str, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    tried = []

    def refuse(**options: object) -> None:
        tried.append(options)
        raise RuntimeError(words)

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(EngineError, match=f"Ray did not start: {words}"), quiet_ray():
        pass
    assert len(tried) == starts
