"""A file beside each picture: what it says, and that verify knows it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.ledger.plan import Schedule
from pipeline.ledger.planning import prepare_run
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import committed_shards
from pipeline.ledger.run_file import Run
from pipeline.provenance.sidecar import sidecar_of, sidecar_path
from pipeline.run.options import RecipeOptions, decide_recipe
from pipeline.run.steps import write_shard
from pipeline.storage.memory import MemoryStorage
from pipeline.verify import prune, repair, verify
from support.written_shards import RECIPE, candidates_of, gray_photo

Place = tuple[MemoryStorage, MemoryStorage, Run]
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"


def work(source: MemoryStorage, destination: MemoryStorage, run: Run) -> None:
    """Do whatever is open."""
    for shard in Schedule(destination, run).open(committed_shards(destination).keys()):
        colored = candidates_of(run.recipe, source, shard)
        write_shard(shard.number, colored, source, destination, run)


@pytest.fixture
def place() -> Place:
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    for number in range(3):
        source.write(f"sub/{number}.png", gray_photo(number))
    source.write("sub/broken.png", b"")
    recipe = replace(RECIPE, candidates=2, sidecar=True, digital_source_type="compositeSynthetic")
    run = prepare_run(source, destination, recipe, 2)
    work(source, destination, run)
    return source, destination, run


def test_a_sidecar_says_where_a_picture_comes_from_and_how_it_was_made(place: Place) -> None:
    source, destination, _ = place
    names = {path.removeprefix("images/sub/") for path in destination.objects if "images" in path}
    pictures = {f"{photo}.candidate-{number}.png" for photo in range(3) for number in range(2)}
    assert names == pictures | {f"{name}.json" for name in pictures}
    master, image = source.read("sub/1.png"), destination.read("images/sub/1.candidate-1.png")
    said = json.loads(destination.read("images/sub/1.candidate-1.png.json"))
    assert said["photo"] == "sub/1.png"
    assert said["source"] == {
        "uri": "memory://source/sub/1.png",
        "sha256": hashlib.sha256(master).hexdigest(),
        "bytes": len(master),
        "width": 30,
        "height": 20,
        "mode": "L",
        "tone": "gray",
    }
    assert said["result"] == {
        "path": "images/sub/1.candidate-1.png",
        "sha256": hashlib.sha256(image).hexdigest(),
        "bytes": len(image),
        "digital_source_type": DIGITAL_SOURCE_TYPE,
    }
    assert said["tool"] == {"name": "Autochrome", "version": "1.2", "libraries": {"pillow": "3"}}
    assert said["model"] == {"name": "ColTran", "weights_sha256": RECIPE.weights}
    assert said["settings"]["temperature"] == 0.5
    assert (said["candidate"], said["rank"]) == (1, 2)
    assert said["scores"]["log_likelihood"] == -said["seed"] / 3e18
    assert said["scores"]["colorfulness"] > 0


@pytest.mark.parametrize(
    ("begun", "name"), [(None, "PIC"), (replace(RECIPE, model="pic"), "ColTran")]
)
def test_a_sidecar_names_its_model_unless_its_run_is_older(begun: Recipe | None, name: str) -> None:
    facts = {each: getattr(RECIPE, each) for each in ("source", "weights", "versions")}
    recipe = decide_recipe(RecipeOptions(model="pic", sidecar=True), begun, "cpu", facts)
    source, destination = MemoryStorage("source"), MemoryStorage("destination")
    source.write("0.png", gray_photo(0))
    run = prepare_run(source, destination, recipe, 2)
    work(source, destination, run)
    assert json.loads(destination.read("images/0.png.json"))["model"]["name"] == name
    assert not verify(source, destination, run).problems


def test_the_same_photo_weights_and_seed_give_the_same_sidecar(place: Place) -> None:
    source, destination, run = place
    again = MemoryStorage("destination")
    again.objects = {path: data for path, data in destination.objects.items() if "/" not in path}
    again.objects |= {path: data for path, data in destination.objects.items() if "plan/" in path}
    work(source, again, run)
    pictures = {path: data for path, data in destination.objects.items() if "images" in path}
    assert {path: data for path, data in again.objects.items() if "images" in path} == pictures


def test_without_sidecars_there_are_none(place: Place) -> None:
    source, _, run = place
    destination = MemoryStorage("destination")
    plain = prepare_run(source, destination, replace(run.recipe, sidecar=False), 4)
    work(source, destination, plain)
    assert not [path for path in destination.objects if path.endswith("png.json")]
    destination.write("images/sub/1.candidate-0.png.json", b"{}")
    [problem] = verify(source, destination, plain).problems
    assert (problem.kind, problem.path) == ("orphan", "images/sub/1.candidate-0.png.json")


def lose(destination: MemoryStorage, path: str) -> None:
    destination.delete(path)


def change(destination: MemoryStorage, path: str) -> None:
    destination.write(path, destination.read(path).replace(b"Autochrome", b"an artist"))


@pytest.mark.parametrize(("harm", "kind"), [(lose, "missing_sidecar"), (change, "damaged_sidecar")])
def test_verify_names_sidecars_that_are_gone_or_say_something_else(
    place: Place, harm: Callable[[MemoryStorage, str], None], kind: str
) -> None:
    source, destination, run = place
    assert not verify(*place).problems
    before = dict(destination.objects)
    path = "images/sub/2.candidate-0.png.json"
    harm(destination, path)
    findings = verify(*place)
    assert [(problem.kind, problem.path) for problem in findings.problems] == [(kind, path)]
    assert repair(destination, run, findings) == 1
    work(source, destination, run)
    assert not verify(*place).problems
    images = {path: data for path, data in before.items() if "images" in path}
    assert {path: destination.read(path) for path in images} == images


def test_a_sample_still_misses_no_missing_sidecar(place: Place) -> None:
    _, destination, _ = place
    destination.delete("images/sub/2.candidate-0.png.json")
    assert [problem.kind for problem in verify(*place, share=1e-9).problems] == ["missing_sidecar"]


def test_a_sidecar_without_its_picture_is_an_orphan(place: Place) -> None:
    _, destination, _ = place
    destination.write("images/sub/other.png.json", b"{}")
    findings = verify(*place)
    assert [problem.path for problem in findings.of_kind("orphan")] == ["images/sub/other.png.json"]
    assert prune(destination, findings) == 1
    assert not verify(*place).problems


def test_what_json_cannot_hold_is_null() -> None:
    row = dict.fromkeys(
        (
            *("photo", "source_uri", "source_sha256", "source_bytes", "width", "height"),
            *("source_mode", "source_tone", "output_sha256", "output_bytes", "seed", "candidate"),
            *("rank", "bits_per_pixel", "color_bits_per_dim", "spatial_bits_per_dim"),
            "colorfulness",
        )
    )
    said = json.loads(sidecar_of(row | {"log_likelihood": float("-inf")}, "images/a.png", RECIPE))
    assert said["scores"]["log_likelihood"] is None
    assert sidecar_path("images/a.png") == "images/a.png.json"
