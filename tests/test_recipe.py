"""The script that trains the default weights: every command of it is one that Autochrome knows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.main import main
from model.weights import WEIGHTS, read_config

RECORD = """#!{python}
import json, os, sys
if sys.argv[1] == "train":
    os.makedirs(sys.argv[4], exist_ok=True)
with open({log!r}, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
"""


@pytest.mark.parametrize("split", [[], ["--split-column", "split"]])
def test_the_recipe_makes_weights_of_the_shipped_sizes(
    split: list[str], repository: Path, tmp_path: Path
) -> None:
    log, command = tmp_path / "log", tmp_path / "bin" / "autochrome"
    command.parent.mkdir()
    command.write_text(RECORD.format(python=sys.executable, log=str(log)))
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    environment |= {"SPLIT_COLUMN": split[1]} if split else {}
    script = repository / "examples" / "train_default_weights.sh"
    given = ["sh", str(script), "photos", str(tmp_path / "out"), "--seed", "7"]
    subprocess.run(given, env=environment, check=True)
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert [call[:2] for call in calls[:-1]] == [
        *[["train", "core"]] * 4,
        ["train", "color"],
        *[["train", "spatial"]] * 2,
    ]
    assert calls[-1][0] == "evaluate"
    sizes: dict[str, dict[str, object]] = {}
    for name, *arguments in calls:
        made = main.commands[name].make_context(name, list(arguments))
        assert made.params["split_column"] == (split[1] if split else None)
        if name == "train":
            assert made.params["seed"] == 7
            given_sizes = {key: made.params[key] for key in ("hidden", "ff", "heads", "enc")}
            known = sizes.setdefault(made.params["stage"], {})
            known |= {key: value for key, value in given_sizes.items() if value is not None}
            known["resolution"] = made.params["resolution"] or known["resolution"]
    for stage, expected in sizes.items():
        _, config = read_config(WEIGHTS / f"{stage}.safetensors")
        assert {key: getattr(config, key) for key in expected} == expected
