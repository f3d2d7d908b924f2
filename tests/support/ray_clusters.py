"""Simulated Ray clusters in processes of their own: nodes come, and go without grace."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from support.ports import free_port

_SERVER = """
import json, os, sys
os.environ.update(RAY_BACKEND_LOG_LEVEL="fatal", RAY_USAGE_STATS_ENABLED="0")
from ray.cluster_utils import Cluster

cluster, nodes = Cluster(initialize_head=True, head_node_args=json.loads(sys.argv[1])), {}
print(json.dumps([cluster.gcs_address, cluster.webui_url]), flush=True)
for line in sys.stdin:
    name, arguments = json.loads(line)
    if arguments is None:
        cluster.remove_node(nodes.pop(name), allow_graceful=False)
    else:
        nodes[name] = cluster.add_node(**arguments)
    print("done", flush=True)
cluster.shutdown()
"""


class SimulatedCluster:
    """environment: of who joins it. dashboard: its job server, where the head has one."""

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        """Raises ValueError: Ray did not start."""
        self._server = server
        self._nodes = set[str]()
        address, self.dashboard = json.loads(self._answer())
        self.environment: Mapping[str, str] = {"RAY_ADDRESS": address}

    def add(self, name: str, **arguments: object) -> None:
        """Add a node; arguments as num_cpus, num_gpus."""
        self._nodes.add(name)
        self._ask([name, arguments])

    def kill(self, name: str) -> None:
        """Kill all processes of a node, as a machine vanishes."""
        self._nodes.remove(name)
        self._ask([name, None])

    def kill_all(self) -> None:
        """Kill all nodes but the head."""
        for name in list(self._nodes):
            self.kill(name)

    def _ask(self, question: object) -> None:
        assert self._server.stdin
        self._server.stdin.write(json.dumps(question) + "\n")
        self._server.stdin.flush()
        assert self._answer() == "done"

    def _answer(self) -> str:
        assert self._server.stdout
        return self._server.stdout.readline().strip()


@contextmanager
def simulated_cluster(
    head: Mapping[str, object], environment: Mapping[str, str]
) -> Iterator[SimulatedCluster]:
    """A cluster of a head node, given as arguments of Ray's `Cluster.add_node`."""
    for attempt in range(3):  # Ray gives its daemons half a minute, which a busy machine may not
        arguments = dict(head)
        if head.get("include_dashboard"):  # other Rays of this machine may have the usual ports
            ports = ("dashboard_port", "dashboard_agent_listen_port")
            arguments |= {name: free_port() for name in ports}
        # In a folder of its own, where its jobs find its address, and not that of another one.
        with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
            log = Path(folder, "log")
            with log.open("w") as file:
                server = subprocess.Popen(
                    [sys.executable, "-c", _SERVER, json.dumps(arguments)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    text=True,
                    env={**environment, "RAY_TMPDIR": folder},
                )
            with server:  # closes its pipes, which ends it
                try:
                    cluster = SimulatedCluster(server)
                except ValueError as error:
                    if attempt == 2:
                        raise RuntimeError(_why(Path(folder))) from error
                    continue
                yield cluster
                return


def _why(folder: Path) -> str:
    """What Ray wrote before it ended: the cluster's own traceback, and errors of its daemons."""
    files = [folder / "log", *sorted(folder.rglob("*.err"))]
    parts = [f"{file.name}:\n{file.read_text(errors='replace')[-3000:]}" for file in files]
    return "no cluster after three attempts\n" + "\n".join(parts)


@dataclass(frozen=True)
class AutoscalingCluster:
    """environment: of who joins it. folder: its own, which tells its processes from all others."""

    environment: Mapping[str, str]
    folder: str

    def workers(self) -> list[int]:
        """The daemons of its nodes, the head's excluded; with one of them ends a whole node."""
        return [
            process
            for process, words in self.processes().items()
            if words[0].endswith("/raylet") and "--head" not in words
        ]

    def processes(self) -> dict[int, list[str]]:
        """All processes with their command lines."""
        found, mark = {}, f"RAY_TMPDIR={self.folder}\0".encode()
        for place in Path("/proc").iterdir():
            if place.name.isdecimal():
                with suppress(OSError):  # gone meanwhile, or of another user
                    if mark in (place / "environ").read_bytes():
                        words = (place / "cmdline").read_bytes().decode(errors="replace")
                        found[int(place.name)] = words.split("\0")
        return found


@contextmanager
def autoscaling_cluster(
    most: int, resources: Mapping[str, float], environment: Mapping[str, str]
) -> Iterator[AutoscalingCluster]:
    """A head that does no work, to which Ray's own autoscaler adds up to so many nodes, and ends
    them when they are idle for a few seconds.

    As Ray's `AutoscalingCluster`, but that one ends every other Ray of this machine.
    """
    from ray.autoscaler._private.fake_multi_node.node_provider import (
        FAKE_HEAD_NODE_ID,
        FakeMultiNodeProvider,
    )

    address = f"127.0.0.1:{free_port()}"
    config = {
        "cluster_name": "simulated",
        "provider": {
            "type": "external",
            "module": f"{FakeMultiNodeProvider.__module__}.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
        },
        "auth": {},
        "max_workers": most,
        "idle_timeout_minutes": 0.05,
        "upscaling_speed": 1.0,
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": dict(resources),
                "node_config": {},
                "min_workers": 0,
                "max_workers": most,
            },
        },
        "cluster_synced_files": [],
        "file_mounts": {},
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }
    simulation = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_AUTH_MODE": "disabled",
    }
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--num-cpus=0"),
            *(f"--port={address.rpartition(':')[2]}", "--include-dashboard=false"),
            f"--autoscaling-config={folder}/config.json",
        ]
        joining = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": simulation["RAY_AUTH_MODE"]}
        cluster = AutoscalingCluster(joining, folder)
        try:
            subprocess.run(
                command,
                env={**environment, **simulation, "RAY_TMPDIR": folder},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
            )
            yield cluster
        finally:
            for process in cluster.processes():
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
