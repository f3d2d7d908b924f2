"""One Ray of this machine for all tests of a process that need one, as a start costs 5 CPU seconds
and another 7 until its workers have imported what they need."""

from contextlib import ExitStack

from pipeline.cluster.session import quiet_ray


class LocalRay:
    """Two CPUs on any machine, so that as many processes start everywhere."""

    def __init__(self) -> None:
        self._running: ExitStack | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._running is None:
            with ExitStack() as block:
                block.enter_context(quiet_ray(num_cpus=2))
                self._running = block.pop_all()

    def end(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None
