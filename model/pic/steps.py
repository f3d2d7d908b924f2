"""The order of PixelCNN++'s steps: blocks and changes of level, down and back (section 2.4)."""

from typing import NamedTuple


class Step(NamedTuple):
    """A block, or a change of level.

    source, level: of its input, and of its result; at level n a position stands for 2 ** n rows and
    columns. short_cut: of a block of the way back, the features that it takes: 0 is the input of
    the first step, n + 1 the result of step n.
    """

    source: int
    level: int
    short_cut: int | None = None

    @property
    def clock(self) -> int:
        """The level at whose positions this step runs: the finer one of its two."""
        return min(self.source, self.level)


def steps_of(levels: int, inner: int) -> list[Step]:
    """The steps of the way down, then those of the way back.

    Each block of the way back has a short-cut from a step of the way down, the last one first. The
    result of the last step down is no short-cut, as it is the input of the way back.
    """
    steps: list[Step] = []
    left_over = [0]
    for level in range(levels):
        if level:
            steps.append(Step(level - 1, level))
            left_over.append(len(steps))
        for _ in range(inner):
            steps.append(Step(level, level))
            left_over.append(len(steps))
    left_over.pop()
    for level in reversed(range(levels)):
        finer = level < levels - 1
        if finer:
            steps.append(Step(level + 1, level))
        steps += [Step(level, level, left_over.pop()) for _ in range(inner + finer)]
    return steps
