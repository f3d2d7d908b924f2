"""Training photographs: every kind of source, what is skipped, and a split that never leaks."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StorageError, UsageError
from pipeline.images.encoding import encode
from pipeline.storage.open_storage import open_storage
from pipeline.training.photographs import (
    EmptySet,
    PhotographSet,
    Wanted,
    color_beyond_tone,
    describe_skipped,
    read_photographs,
)
from support.made_photographs import made_photograph, made_png, write_parquet, write_photographs

PNGS = [made_png(number) for number in range(12)]
DIGESTS = {hashlib.sha256(png).hexdigest() for png in PNGS}


def parts(source: Path, share: float = 0.3) -> tuple[PhotographSet, PhotographSet]:
    train = read_photographs(str(source), Wanted(8, "train", held_out=share))
    return train, read_photographs(str(source), Wanted(8, "validation", held_out=share))


def test_whole_frames_become_means_of_areas(tmp_path: Path) -> None:
    source = write_photographs(tmp_path / "photos", 3)
    found = read_photographs(str(source), Wanted(8))
    assert found.rgb.shape == (3, 8, 8, 3) and found.rgb.dtype == np.uint8 and len(found) == 3
    for name, rgb in zip(found.names, found.rgb, strict=True):
        whole = made_photograph(int(name[:3])).astype(float)
        means = whole.reshape(8, 3, 8, 3, 3).mean((1, 3))
        assert np.abs(rgb - means).max() <= 0.51


def test_centers_of_frames_are_read_on_request(tmp_path: Path) -> None:
    wide = np.concatenate([made_photograph(number) for number in range(3)], axis=1)
    source = tmp_path / "photos"
    source.mkdir()
    (source / "wide.png").write_bytes(encode(wide, "PNG"))
    (source / "gray_edges.png").write_bytes(
        encode(np.pad(made_photograph(3), ((0, 0), (24, 24), (0, 0))), "PNG")
    )
    found = read_photographs(str(source), Wanted(24, fit="crop"))
    by_name = dict(zip(found.names, found.rgb, strict=True))
    assert np.array_equal(by_name["wide.png"], made_photograph(1))
    assert np.array_equal(by_name["gray_edges.png"], made_photograph(3))


def test_every_kind_of_source_gives_the_same_photographs(tmp_path: Path, bucket: str) -> None:
    folder = write_photographs(tmp_path / "photos", 12)
    one = write_parquet(tmp_path / "set.parquet", PNGS)
    write_parquet(tmp_path / "many/0.parquet", PNGS[:7])
    write_parquet(tmp_path / "many/deeper/1.parquet", PNGS[7:])
    hugging_face = pa.table({"image": [{"bytes": png, "path": "x"} for png in PNGS]})
    pq.write_table(hugging_face, tmp_path / "structs.parquet")
    remote = f"s3://{bucket}/archive"
    storage = open_storage(remote)
    for path in folder.iterdir():
        storage.write(f"photos/{path.name}", path.read_bytes())
    storage.write("set.parquet", one.read_bytes())
    sources = [folder, one, tmp_path / "many", tmp_path / "structs.parquet"]
    expected = None
    for source in [*map(str, sources), f"{remote}/photos", f"{remote}/set.parquet"]:
        found = read_photographs(source, Wanted(8))
        assert set(found.digests) == DIGESTS and not found.skipped
        by_digest = dict(zip(found.digests, found.rgb.tolist(), strict=True))
        expected = expected or by_digest
        assert by_digest == expected


def test_what_is_no_color_photograph_is_counted_and_skipped(tmp_path: Path) -> None:
    folder = write_photographs(tmp_path / "photos", 4)
    (folder / "cut.png").write_bytes(PNGS[0][:200])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"not a picture")
    (folder / "gray.png").write_bytes(encode(made_photograph(5)[..., 0], "PNG"))
    sepia = np.outer(made_photograph(6)[..., 0], [1.0, 0.85, 0.6]).reshape(24, 24, 3)
    (folder / "sepia.png").write_bytes(encode(sepia.astype(np.uint8), "PNG"))
    (folder / "broken.png").symlink_to("nowhere")
    (folder / "notes.txt").write_text("ignored")
    (folder / ".hidden.png").write_bytes(PNGS[0])
    found = read_photographs(str(folder), Wanted(8))
    assert sorted(found.names) == ["000.png", "001.png", "002.png", "003.png"]
    assert dict(found.skipped) == {"corrupt": 2, "unsupported": 1, "not_color": 2, "missing": 1}
    assert describe_skipped(found.skipped).startswith("6 skipped (2 ")
    assert len(read_photographs(str(folder), Wanted(8, least_color=0))) == 6


def test_a_photograph_is_held_out_by_its_bytes_alone(tmp_path: Path) -> None:
    images = [made_png(number) for number in range(60)]
    one = write_parquet(tmp_path / "one.parquet", images)
    other = tmp_path / "other"
    other.mkdir()
    for number, image in enumerate(reversed(images)):
        (other / f"renamed {number}").write_bytes(image)
    (train, held_out), (again, held_out_again) = parts(one), parts(other)
    assert not set(train.digests) & set(held_out.digests)
    assert len(train) + len(held_out) == 60 and 8 <= len(held_out) <= 28
    assert set(held_out.digests) == set(held_out_again.digests)
    assert set(train.digests) == set(again.digests)
    assert held_out.held_out.all() and not train.held_out.any()
    whole = read_photographs(str(one), Wanted(8, held_out=0.3))
    held = {digest for digest, out in zip(whole.digests, whole.held_out, strict=True) if out}
    assert held == set(held_out.digests)


def test_columns_tell_split_and_group(tmp_path: Path) -> None:
    words = ["train", "val", "validation", "test"] * 3
    kinds = ["sea"] * 4 + ["wood"] * 8
    source = str(write_parquet(tmp_path / "set.parquet", PNGS, split=words, kind=kinds))
    validation = read_photographs(source, Wanted(8, "validation", split_column="split"))
    assert len(validation) == 6 and validation.held_out.all()
    train = read_photographs(source, Wanted(8, "train", split_column="split", group_column="kind"))
    assert sorted(train.groups) == ["sea", "wood", "wood"]
    assert len(read_photographs(source, Wanted(8, split_column="split"))) == 12
    with pytest.raises(UsageError, match="no column 'subset'; its columns are image, split, kind"):
        read_photographs(source, Wanted(8, split_column="subset"))


def test_a_limit_takes_a_sample_of_all_that_does_not_change(tmp_path: Path) -> None:
    source = str(write_parquet(tmp_path / "set.parquet", PNGS))
    some = read_photographs(source, Wanted(8, limit=4))
    assert len(some) == 4 and some.names == read_photographs(source, Wanted(8)).names[:4]
    assert {int(name.partition(":")[2]) // 5 for name in some.names} != {0}
    held_out = read_photographs(source, Wanted(8, "validation", limit=2, held_out=0.5))
    assert len(held_out) == 2 and held_out.held_out.all()


def test_an_empty_set_is_an_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(EmptySet, match="no color photograph among 0 candidates in"):
        read_photographs(str(empty), Wanted(8))
    (empty / "gray.png").write_bytes(encode(made_photograph(5)[..., 0], "PNG"))
    with pytest.raises(EmptySet, match=r"among 1 candidates in .*: 1 skipped \(1 not_color\)"):
        read_photographs(str(empty), Wanted(8))
    with pytest.raises(EmptySet, match="of the split 'validation'"):
        read_photographs(
            str(write_photographs(tmp_path / "p", 2)), Wanted(8, "validation", held_out=0)
        )


def test_unusable_sources_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        read_photographs(str(tmp_path / "nowhere"), Wanted(8))
    with pytest.raises(UsageError, match="nowhere.parquet does not exist"):
        read_photographs(str(tmp_path / "nowhere.parquet"), Wanted(8))
    (tmp_path / "text.parquet").write_text("not Parquet at all")
    with pytest.raises(UsageError, match="text.parquet is not a Parquet file"):
        read_photographs(str(tmp_path / "text.parquet"), Wanted(8))
    pq.write_table(pa.table({"picture": PNGS}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="no column 'image'; its columns are picture"):
        read_photographs(str(tmp_path / "other.parquet"), Wanted(8))
    folder = write_photographs(tmp_path / "photos", 2)
    with pytest.raises(UsageError, match="holds no Parquet file, so it has no column 'kind'"):
        read_photographs(str(folder), Wanted(8, group_column="kind"))


def test_only_color_that_brightness_does_not_tell_counts() -> None:
    gray = np.repeat(made_photograph(1)[..., :1], 3, axis=-1)
    assert color_beyond_tone(gray) < 0.01
    warm = gray * np.array([1.0, 0.9, 0.7])
    assert color_beyond_tone(warm.astype(np.uint8)) < 1
    assert color_beyond_tone(made_photograph(1)) > 20
