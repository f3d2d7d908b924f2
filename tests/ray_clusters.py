"""Simulated Ray clusters in a process of their own: nodes come, and go without grace."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_SERVER = """
import json, os, socket, sys
os.environ.update(RAY_BACKEND_LOG_LEVEL="fatal", RAY_USAGE_STATS_ENABLED="0")
from ray.cluster_utils import Cluster

def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

head = json.loads(sys.argv[1])
if head.get("include_dashboard"):
    # Other Rays of this machine may have the usual ports.
    head |= {"dashboard_port": free_port(), "dashboard_agent_listen_port": free_port()}
cluster, nodes = Cluster(initialize_head=True, head_node_args=head), {}
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
    """address: for RAY_ADDRESS; dashboard: its job server, where the head has one."""

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        self._server = server
        self.address, self.dashboard = json.loads(self._answer())

    def add(self, name: str, **arguments: object) -> None:
        """Add a node; arguments as num_cpus, num_gpus."""
        self._ask([name, arguments])

    def kill(self, name: str) -> None:
        """Kill all processes of a node, as a machine vanishes."""
        self._ask([name, None])

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
        server = subprocess.Popen(
            [sys.executable, "-c", _SERVER, json.dumps(head)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=dict(environment),
        )
        with server:  # closes its pipes, which ends it
            try:
                cluster = SimulatedCluster(server)
            except ValueError:
                if attempt == 2:
                    raise
                continue
            yield cluster
            return
