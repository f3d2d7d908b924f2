import itertools
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.images.formats import SUFFIX_OF_FORMAT
from pipeline.ledger.names import Names, ending_of, output_path
from pipeline.provenance.sidecar import sidecar_path

PARTS = [
    *("a", "b", "A", "\u00e9", "e\u0301", "", ".", "..", "~", " ", "\0", "x" * 240, "y" * 300),
    *(".jpg", ".JPG", ".png", ".bmp", ".tif", ".jp2", ".page-0001", ".candidate-0", "~12345678"),
    ".rank-1-by-nearness",
]
PHOTOS = st.lists(
    st.lists(st.lists(st.sampled_from(PARTS), max_size=4).map("".join), min_size=1, max_size=3)
    .map("/".join)
    .filter(lambda name: name and not name.endswith("/")),
    max_size=12,
    unique=True,
)


def folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def all_outputs(
    name: str, candidates: int, every_page: bool, rank_by: str | None = None
) -> set[str]:
    """All files that a photo's results may become."""
    numbers = [ending_of(candidates, rank_by, one, one + 1) for one in range(candidates)]
    pages = (None, 1, 2) if every_page else (None,)
    images = {
        folded(output_path(name, suffix, number, page))
        for suffix, number, page in itertools.product(SUFFIX_OF_FORMAT.values(), numbers, pages)
    }
    return images | {sidecar_path(image) for image in images}


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(
    PHOTOS,
    st.sampled_from([1, 2]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "nearness"]),
)
def test_no_two_photos_can_ever_share_a_file(
    photos: list[str], candidates: int, every_page: bool, in_order: bool, rank_by: str | None
) -> None:
    names = Names(candidates, every_page, in_order, rank_by)
    every = sorted(photos, key=str.encode) if in_order else photos
    taken: set[str] = set()
    folders: set[str] = set()
    for photo in every:
        outputs = all_outputs(names.of(photo), candidates, every_page, rank_by)
        assert not outputs & taken
        taken |= outputs
        for folder in {output.rpartition("/")[0] for output in outputs}:
            folders |= {str(above) for above in (Path(folder), *Path(folder).parents)}
        assert all(len(output.encode()) < 1000 and "\0" not in output for output in outputs)
        parts = {part for output in outputs for part in output.split("/")}
        assert not {"", ".", ".."} & parts
        # A case that is folded may be longer: "ß" and its like are none of these.
        assert all(len(part.encode()) <= 255 for part in parts)
    assert not taken & folders


@pytest.mark.parametrize(
    ("photos", "expected"),
    [
        (["a.jpg", "a.png", "a.tif"], [None, None, None]),
        (["d/a.jpg", "e/a.jpg"], [None, None]),
        (["a.bmp", "a.bmp.png"], [None, "a.bmp~91d4dbee.png"]),
        (["a.bmp.png", "a.bmp"], [None, "a~de45c3a0.bmp"]),
        (["a", "a.png"], [None, "a~c4d1d1e3.png"]),
        (["A.jpg", "a.jpg"], [None, "a~3d3d0fbe.jpg"]),
        (["scan.page-0001.tif", "scan.tif"], [None, None]),
    ],
)
def test_photos_keep_their_names_unless_others_could_have_them(
    photos: list[str], expected: list[str | None]
) -> None:
    names = Names(1, False, False)
    found = [names.of(photo) for photo in photos]
    for photo, name, wanted in zip(photos, found, expected, strict=True):
        if wanted is None:
            assert name == photo
        else:
            stem, _, digits_and_own = wanted.partition("~")
            assert name.startswith(f"{stem}~") and name.endswith(digits_and_own[8:])


@settings(deadline=None)
@given(PHOTOS, st.sampled_from([1, 2]), st.booleans())
def test_photos_in_order_get_the_names_that_they_would_get_if_all_were_kept_in_mind(
    photos: list[str], candidates: int, every_page: bool
) -> None:
    """A plan that began in order is continued otherwise where a photo is not."""
    ordered, kept = (Names(candidates, every_page, in_order) for in_order in (True, False))
    for photo in sorted(photos, key=str.encode):
        assert ordered.of(photo) == kept.of(photo)


def test_names_depend_on_no_order_where_there_is_no_conflict() -> None:
    photos = [f"box-{box}/{name}" for box in (2, 1, 2) for name in ("b.tif", "a.jpg")][:4]
    for in_order in (True, False):
        names = Names(4, True, in_order)
        assert [names.of(photo) for photo in photos] == photos


def test_folders_that_look_like_pictures_are_kept_apart_from_them() -> None:
    names = Names(1, False, False)
    assert names.of("a.bmp") == "a.bmp"
    inside = names.of("a.bmp.png/b.jpg")
    assert inside != "a.bmp.png/b.jpg" and inside.endswith("/b.jpg")


def test_a_name_that_is_long_already_is_shortened() -> None:
    names = Names(1, False, True)
    long = names.of("x" * 250 + ".bmp")
    assert "~" in long and len(long) < 250 and long.endswith(".bmp")
    deep = names.of("/".join(["folder" * 20] * 9) + "/a.jpg")
    assert len(deep.encode()) < 900 and deep.endswith("/a.jpg")
