"""Processes of a command, found by its session, and how they are killed.

A command that runs in a session of its own takes all that it starts with it, Ray's daemons and
workers included: so no process of anyone else can be a victim. Linux only, as it reads /proc.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

# What may be killed, and how often `choose_victims` takes it. Processes of pipeline.run.isolation
# are spared: one that is killed is a photo's own failure, by design.
VICTIMS = {
    "driver": 2,
    "raylet": 1,
    "control store": 1,  # Ray's own: the GCS
    "agent": 1,  # of the raylet, which ends with it
    "session": 3,  # all that a command has started, and itself, as when a machine fails
    "actor": 14,
    "reader": 50,
    "writer": 60,
    "starting worker": 30,  # not assigned to any work yet
    "idle worker": 6,
    "helper": 8,  # actors of Ray Data that hold statistics and the like
    "daemon": 2,  # of Ray: logs, dashboard and autoscaler
}
ENDING = {"driver", "raylet", "control store", "agent", "session"}  # whose death ends a command
_STARTS = {
    "ray::MapWorker(Map(ColorizeActor))": "actor",
    "ray::Map(read_row)": "reader",
    "ray::Map(write_row)": "writer",
    "ray::IDLE": "idle worker",
    "ray::DashboardAgent": "agent",
    "ray::RuntimeEnvAgent": "agent",
    "ray::_": "helper",
    "ray::ActorLocationTracker": "helper",
}


def choose_victims(kills: int, random: Random) -> list[str]:
    return random.choices(list(VICTIMS), list(VICTIMS.values()), k=kills)


def members(session: int) -> Iterator[tuple[int, str]]:
    """Processes of a session that live, each with its title: of a Python, all its arguments."""
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with suppress(OSError):  # gone meanwhile
                state, _, _, own, *_ = (place / "stat").read_text().rpartition(")")[2].split()
                if int(own) == session and state not in "ZX":
                    title, *arguments = (place / "cmdline").read_bytes().split(b"\0")
                    if b"python" in title.rpartition(b"/")[2]:
                        title = b" ".join([title, *arguments])
                    yield int(place.name), title.decode(errors="replace")


def kind_of(process: int, title: str, session: int) -> str | None:
    """One of VICTIMS; None for what is none of them."""
    if process == session:
        return "driver"
    if title.endswith("/raylet") or title.endswith("/gcs_server"):
        return "raylet" if title.endswith("/raylet") else "control store"
    if "/ray/" in title and ".py" in title:
        return "starting worker" if "default_worker.py" in title else "daemon"
    return next((kind for start, kind in _STARTS.items() if title.startswith(start)), None)


def at_work(title: str) -> bool:
    """Whether a process has something to do: Ray's actors add the method to their title."""
    kind = kind_of(0, title, -1)
    if kind in ("actor", "helper"):
        return "." in title
    return kind not in ("idle worker", "daemon")


def kinds_in(session: int) -> set[str | None]:
    """What could be killed."""
    return {"session", *(kind_of(*each, session) for each in members(session))}


def kill_one(session: int, kind: str, random: Random) -> bool | None:
    """SIGKILL to a process of this kind, or to all; None where there is none, else whether it had
    something to do. One that had is preferred."""
    if kind == "session":
        return True if kill_session(session) else None
    found = [
        (process, title)
        for process, title in sorted(members(session))
        if kind_of(process, title, session) == kind
    ]
    if not found:
        return None
    busy = [each for each in found if each[0] == session or at_work(each[1])]
    process, _ = random.choice(busy or found)
    return bool(busy) if _kill(process, session) else None


def kill_session(session: int) -> bool:
    """SIGKILL to all of a session until none is left; False where none was."""
    if not any(members(session)):
        return False
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)  # its leader's group, at one blow; then all others
    while processes := [process for process, _ in members(session)]:
        for process in processes:
            _kill(process, session)
    return True


def _kill(victim: int, session: int) -> bool:
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(victim)
        try:
            if os.getsid(victim) == session:  # its number is not that of another meanwhile
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False
