"""Manifests of a delivery: valid IIIF Presentation 3, and true of the files that they name."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import iiif_prezi3
import pydantic
import pytest
from PIL import Image

from pipeline.delivery.deliver import deliver
from pipeline.delivery.order import Order
from pipeline.errors import UsageError
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from support.colored_places import EXAMPLES, colored_folder, example_photos
from support.written_shards import RECIPE, gray_photo

BASE = "https://archive.example/colored"
AWKWARD = "Straße/100% & 'ä'#?.png"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalStorage, LocalStorage, Any]:
    photos = example_photos() | {AWKWARD: gray_photo(1)}
    folder = tmp_path_factory.mktemp("place")
    return colored_folder(folder, photos, replace(RECIPE, candidates=2))


@pytest.fixture(scope="module")
def out(place: tuple[LocalStorage, LocalStorage, Any]) -> MemoryStorage:
    out = MemoryStorage("out")
    source, destination, run = place
    deliver(source, destination, run, out, Order(candidates="all", iiif=f"{BASE}/"))
    return out


def file_of(out: MemoryStorage, uri: str) -> bytes:
    assert uri.startswith(f"{BASE}/")
    return out.read(unquote(uri.removeprefix(f"{BASE}/")))


def manifests(out: MemoryStorage) -> Iterator[dict[str, Any]]:
    collection = json.loads(out.read("iiif/collection.json"))
    for entry in collection["items"]:
        manifest = json.loads(file_of(out, entry["id"]))
        assert {name: manifest[name] for name in entry} == entry
        yield manifest


def images_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if value.get("type") == "Image":
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from images_in(each)


def test_they_are_valid_by_the_models_of_the_schema(out: MemoryStorage) -> None:
    iiif_prezi3.Collection(**json.loads(out.read("iiif/collection.json")))
    found = list(manifests(out))
    assert len(found) == 9
    for content in found:
        manifest = iiif_prezi3.Manifest(**content)
        assert json.loads(manifest.json())["items"] == content["items"]  # it understood all
        for name in ("label", "items", "id"):
            with pytest.raises(pydantic.ValidationError):
                iiif_prezi3.Manifest(**{**content, name: 1})


def test_every_image_is_there_with_the_size_that_is_said(out: MemoryStorage) -> None:
    for manifest in manifests(out):
        images = list(images_in(manifest))
        assert len({each["id"] for each in images}) == len(images)
        for each in images:
            with Image.open(io.BytesIO(file_of(out, each["id"]))) as opened:
                assert opened.get_format_mimetype() == each["format"]
                if "width" in each:
                    assert opened.size == (each["width"], each["height"])


def test_a_choice_offers_color_first_and_gray_last(out: MemoryStorage) -> None:
    by_label = {manifest["label"]["none"][0]: manifest for manifest in manifests(out)}
    [canvas] = by_label["animals/cat.jpg"]["items"]
    with Image.open(EXAMPLES / "animals" / "cat.jpg") as master:
        assert (canvas["width"], canvas["height"]) == master.size
        small_size = master.size if max(master.size) <= 256 else None
    [painting] = canvas["items"][0]["items"]
    first, second, gray = painting["body"]["items"]
    assert painting["body"]["type"] == "Choice" and painting["target"] == canvas["id"]
    assert first["label"]["en"][0].startswith("Colorized by a machine, candidate ")
    assert {first["label"]["en"][0][-1], second["label"]["en"][0][-1]} == {"0", "1"}
    with Image.open(io.BytesIO(file_of(out, gray["id"]))) as opened:
        assert opened.mode == "L" and max(opened.size) <= 256
        assert small_size is None or opened.size == small_size
    [thumbnail] = by_label["animals/cat.jpg"]["thumbnail"]
    assert thumbnail["width"] == 2 * gray["width"] and thumbnail["height"] == gray["height"]
    assert "colorized by a machine" in by_label[AWKWARD]["requiredStatement"]["value"]["en"][0]


def test_what_browsers_do_not_show_is_painted_small_and_linked_to(out: MemoryStorage) -> None:
    [manifest] = [each for each in manifests(out) if "launch-pad" in each["id"]]
    [canvas] = manifest["items"]
    shown = [each["format"] for each in canvas["items"][0]["items"][0]["body"]["items"]]
    assert shown == ["image/jpeg"] * 3
    assert [each["format"] for each in canvas["rendering"]] == ["image/tiff"] * 2


def test_without_previews_the_picture_alone_is_painted(
    place: tuple[LocalStorage, LocalStorage, Any],
) -> None:
    source, destination, run = place
    bare, out = MemoryStorage("bare"), MemoryStorage("out")
    for found in destination.list():
        if not found.path.startswith("report/"):
            bare.write(found.path, destination.read(found.path))
    deliver(source, bare, run, out, Order(iiif=BASE))
    for manifest in manifests(out):
        iiif_prezi3.Manifest(**manifest)
        assert manifest["items"][0]["items"][0]["items"][0]["body"]["type"] == "Image"
        assert "thumbnail" not in manifest


def test_a_bags_manifests_name_what_lies_in_its_data(
    place: tuple[LocalStorage, LocalStorage, Any], tmp_path: Path
) -> None:
    source, destination, run = place
    out = MemoryStorage("bag")
    deliver(source, destination, run, out, Order(bag=True, iiif=BASE))
    collection = json.loads(out.read("data/iiif/collection.json"))
    assert collection["id"] == f"{BASE}/data/iiif/collection.json"
    for entry in collection["items"]:
        for each in images_in(json.loads(file_of(out, entry["id"]))):
            assert file_of(out, each["id"])


@pytest.mark.parametrize(
    "base",
    ["", "archive.example", "ftp://a.example", "https://", "https://a.example/?q", "https://a b",
     "https://a.example/#x", "https://ä.example", "https://[", "https://a.example:99999"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(base: str) -> None:
    with pytest.raises(UsageError, match="is not an address such as"):
        Order(iiif=base)
