"""Sizes that all stacks of axial layers share, and checks of settings.

Configurations are frozen dataclasses; the header of a weights file holds their fields.
"""

from dataclasses import dataclass


def check_whole_numbers(config: object, *names: str) -> None:
    """Raise ValueError unless each named setting is a positive whole number."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive whole number, not {value!r}")


def check_booleans(config: object, *names: str) -> None:
    """Raise ValueError unless each named setting is True or False."""
    for name in names:
        check_choice(config, name, (True, False))


def check_choice(config: object, name: str, choices: tuple[object, ...]) -> None:
    """Raise ValueError unless a setting is one of the choices, all of the same type."""
    value = getattr(config, name)
    if type(value) is not type(choices[0]) or value not in choices:
        wanted = ", ".join(str(choice).lower() for choice in choices)
        raise ValueError(f"{name} must be one of {wanted}, not {value!r}")


def check_dropout(config: object, name: str = "dropout") -> None:
    """Raise ValueError unless a setting is a number of at least 0 and below 1."""
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number of at least 0 and below 1, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class LayerSize:
    """Sizes of one layer; defaults are those of the published core.

    hidden: D, features at each position. ff: features between the two dense layers of an MLP.
    heads: of attention. resolution: H and W. dropout: share of features that training drops.

    Raises:
        ValueError: a size that cannot be built, with its name and value.
    """

    hidden: int = 512
    ff: int = 512
    heads: int = 4
    resolution: int = 64
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_whole_numbers(self, "hidden", "ff", "heads", "resolution")
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not divisible by {self.heads} heads")
        if self.resolution < 2:
            raise ValueError(f"resolution must be at least 2, not {self.resolution}")
        check_dropout(self)


@dataclass(frozen=True, kw_only=True)
class StackConfig(LayerSize):
    """Sizes of a stage whose encoder has `enc` axial layers, each a pair of row and column.

    Raises:
        ValueError: a size that cannot be built, with its name and value.
    """

    enc: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_numbers(self, "enc")
