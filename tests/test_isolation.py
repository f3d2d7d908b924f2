"""Work that takes its process with it costs one photo, and says why."""

import ctypes
import os
import signal
import time
from collections.abc import Callable

import pytest

from pipeline.deadline import allow
from pipeline.errors import PhotoError
from pipeline.run import isolation
from pipeline.run.isolation import call_here, call_isolated


def shout(text: str) -> str:
    print("a decoder's chatter")
    os.write(1, b"and that of its C part")
    return text.upper()


def refuse(reason: str) -> None:
    raise PhotoError(reason, "no")


def stumble() -> None:
    raise KeyError("x")


def starve() -> None:
    raise MemoryError


def segfault() -> None:
    ctypes.string_at(0)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    time.sleep(60)


def hang_with_pythons_lock() -> None:
    ctypes.PyDLL(None).sleep(60)


def test_the_answer_comes_back_whatever_is_printed() -> None:
    assert call_here(shout, "ä") == call_isolated(shout, "ä") == "Ä"


@pytest.mark.parametrize(
    ("function", "arguments", "reason", "words"),
    [
        (refuse, ("corrupt",), "corrupt", "^no$"),
        (stumble, (), "internal", "KeyError: 'x'"),
        (segfault, (), "internal", "died: SIGSEGV"),
        (os._exit, (3,), "internal", "died: exit code 3"),
        (be_killed, (), "out_of_memory", "was killed"),
    ],
)
def test_a_death_is_a_photos_failure(
    function: object, arguments: tuple[object, ...], reason: str, words: str
) -> None:
    with pytest.raises(PhotoError, match=words) as caught:
        call_isolated(function, *arguments)  # type: ignore[arg-type]
    assert caught.value.reason == reason


def test_lack_of_memory_stays_what_it_is() -> None:
    with pytest.raises(MemoryError):
        call_isolated(starve)


HANGS = pytest.mark.parametrize("hang", [hang, hang_with_pythons_lock])


@HANGS
def test_a_hang_is_a_photos_failure(
    monkeypatch: pytest.MonkeyPatch, hang: Callable[[], None]
) -> None:
    monkeypatch.setattr(isolation, "SECONDS", 0.5)
    with pytest.raises(PhotoError, match="more than 0.5 seconds") as caught:
        call_isolated(hang)
    assert caught.value.reason == "timeout"


def chatter_and_hang(before: int, after: int) -> None:
    os.write(2, b"!" * before)  # without an end of line
    allow(200_000)
    os.write(2, b"!" * after)
    time.sleep(60)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [(9, 9, "took more than 1.5 seconds"), (0, 2**17, "took too long")],
)
def test_a_hang_is_known_whatever_is_printed(
    monkeypatch: pytest.MonkeyPatch, before: int, after: int, words: str
) -> None:
    monkeypatch.setattr(isolation, "SECONDS", 0.5)
    with pytest.raises(PhotoError, match=words) as caught:
        call_isolated(chatter_and_hang, before, after)
    assert caught.value.reason == "timeout"


@pytest.mark.parametrize("ignored", [False, True])
@HANGS
def test_a_hang_in_a_worker_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch, hang: Callable[[], None], ignored: bool
) -> None:
    monkeypatch.setattr(isolation, "SECONDS", 0.3)
    child = os.fork()
    if not child:
        if ignored:  # as a child may find it
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
        call_here(hang)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGALRM


def take(size: int) -> int:
    return len(bytearray(size))


def take_in_a_decoder() -> None:
    raise PhotoError("corrupt", "the picture cannot be decoded: cannot allocate 3 GB")


def decode_for(seconds: float, pixels: int) -> str:
    allow(pixels)
    time.sleep(seconds)
    return "done"


def test_a_process_gets_no_more_memory_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "free_memory", lambda: 2**28)
    assert call_isolated(take, 2**24) == 2**24
    with pytest.raises(MemoryError):
        call_isolated(take, 2**31)
    with pytest.raises(PhotoError) as caught:
        call_isolated(take_in_a_decoder)
    assert caught.value.reason == "out_of_memory"


def test_free_memory_is_that_of_the_machine_or_less() -> None:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert isolation.LEAST_ROOM <= isolation.free_memory() < whole


def test_a_process_ends_before_ray_would_end_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"MemTotal": 100 * 2**30, "MemAvailable": 15 * 2**30}
    monkeypatch.setattr(isolation, "_meminfo", known.get)
    monkeypatch.setattr(isolation, "_number", lambda path: None)
    monkeypatch.delenv("RAY_memory_usage_threshold", raising=False)
    assert isolation.free_memory() == pytest.approx(0.75 * 10 * 2**30)
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.9")
    assert isolation.free_memory() == pytest.approx(0.75 * 5 * 2**30)
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.5")
    assert isolation.free_memory() == isolation.LEAST_ROOM


@pytest.mark.parametrize("call", [call_here, call_isolated])
def test_time_grows_with_the_pixels(monkeypatch: pytest.MonkeyPatch, call: isolation.Call) -> None:
    monkeypatch.setattr(isolation, "SECONDS", 0.3)
    assert call(decode_for, 1.0, 10**8) == "done"
