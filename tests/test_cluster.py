"""Which Ray a command works with (pipeline/cluster.py)."""

from pathlib import Path

import pytest

from pipeline.cluster import address


def test_a_cluster_that_others_started_on_this_machine_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private.services import canonicalize_bootstrap_address

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("192.0.2.1:6379")  # as `ray start` does
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert canonicalize_bootstrap_address("auto") == "192.0.2.1:6379"
    assert canonicalize_bootstrap_address(address()) is None, "a Ray of our own is started"
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.2:6379")
    assert canonicalize_bootstrap_address(address()) == "192.0.2.2:6379"
