"""32 bits with a checksum, in a code that is read from soft votes: a convolutional code of rate 1/3
with 256 states, and Viterbi's algorithm."""

import zlib

import numpy as np

PAYLOAD_BITS, _CHECK_BITS, _MEMORY = 32, 16, 8
_GENERATORS = (0o557, 0o663, 0o711)  # the best of this length and rate: Proakis, table 8.2-2
_STEPS = PAYLOAD_BITS + _CHECK_BITS + _MEMORY
CODED = _STEPS * len(_GENERATORS)  # bits


def encoded(payload: int) -> np.ndarray:
    """A payload below 2**32 as CODED signs, float32: 1 for a set bit, else -1."""
    number = payload << _CHECK_BITS | _check(payload)
    bits = [number >> place & 1 for place in reversed(range(PAYLOAD_BITS + _CHECK_BITS))]
    register, signs = 0, []
    for bit in (*bits, *[0] * _MEMORY):
        register = (register << 1 | bit) & (2 ** (_MEMORY + 1) - 1)
        signs += [_sign(register, generator) for generator in _GENERATORS]
    return np.array(signs, np.float32)


def decoded(votes: np.ndarray) -> int | None:
    """The payload for which CODED votes stand, each the surer the further from 0; None if the
    checksum does not fit. One in 65,536 fits by chance."""
    states = np.arange(2**_MEMORY)
    # The two states that may come before, which differ in the bit that was shifted out.
    older = states >> 1, states >> 1 | 2 ** (_MEMORY - 1)
    signs = [
        np.array(
            [[_sign(int(a) << 1 | int(b) & 1, g) for g in _GENERATORS]
             for a, b in zip(before, states, strict=True)]
        )
        for before in older
    ]  # fmt: skip
    sums = np.full(2**_MEMORY, -np.inf)
    sums[0] = 0
    ways = []
    for step in np.asarray(votes, np.float64).reshape(_STEPS, len(_GENERATORS)):
        low, high = (sums[old] + each @ step for old, each in zip(older, signs, strict=True))
        ways.append(high > low)
        sums = np.maximum(low, high)
    state, number = 0, 0
    for place, way in enumerate(reversed(ways)):
        number |= (state & 1) << place
        state = int(older[int(way[state])][state])
    number >>= _MEMORY
    payload, check = divmod(number, 2**_CHECK_BITS)
    return payload if check == _check(payload) else None


def _check(payload: int) -> int:
    return zlib.crc32(payload.to_bytes(4, "big")) & (2**_CHECK_BITS - 1)


def _sign(register: int, generator: int) -> int:
    return 1 if (register & generator).bit_count() % 2 else -1
