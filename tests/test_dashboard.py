"""deploy/grafana.json: every query asks for metrics and labels that there are."""

import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pipeline.run import metrics

# What a run tells Prometheus: kind and tags of each metric.
METRICS = {
    "autochrome_photos": ("counter", {"status"}),
    "autochrome_failures": ("counter", {"reason"}),
    "autochrome_bytes": ("counter", {"direction"}),
    "autochrome_shards": ("counter", set()),
    "autochrome_stage_seconds": ("histogram", {"stage"}),
    "autochrome_pending_photos": ("gauge", set()),
}
# How Ray 2.60 names them there (seen at its metrics port).
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
SERIES = {
    f"ray_{name}{suffix}": tags | ({"le"} if suffix == "_bucket" else set())
    for name, (kind, tags) in METRICS.items()
    for suffix in SUFFIXES[kind]
}

Dashboard = dict[str, Any]


@pytest.fixture
def dashboard(repository: Path) -> Dashboard:
    text = (repository / "deploy" / "grafana.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def rays_own() -> set[str]:
    """Metrics that Ray's own dashboards ask for."""
    spec = find_spec("ray.dashboard.modules.metrics")
    assert spec and spec.origin
    panels = Path(spec.origin).parent / "dashboards" / "default_dashboard_panels.py"
    return metrics_in(panels.read_text(encoding="utf-8"))


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:ray|autoscaler)_\w+", text))


def queries(dashboard: Dashboard) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def problems(dashboard: Dashboard, rays_own: set[str]) -> list[str]:
    found = []
    ids = [panel["id"] for panel in dashboard["panels"]]
    found += [f"panel {each} is there twice" for each in set(ids) if ids.count(each) > 1]
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    if variables.get("datasource", {}).get("type") != "datasource":
        found.append("no variable chooses the data source")
    for panel in dashboard["panels"]:
        for part in (panel, *panel["targets"]):
            if part["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
                found.append(f"{panel['title']} has a data source of its own")
        refs = [target["refId"] for target in panel["targets"]]
        if len(set(refs)) < len(refs):
            found.append(f"{panel['title']}: two queries of one name")
    for query in queries(dashboard):
        named = metrics_in(query)
        ours = {name for name in named if name.startswith("ray_autochrome_")}
        found += [f"no such metric of ours: {name}" for name in sorted(ours - SERIES.keys())]
        found += [f"no such metric of Ray: {name}" for name in sorted(named - ours - rays_own)]
        found += [
            f"no such variable: {name}"
            for name in re.findall(r"\$(\w+)", query)
            if name not in variables
        ]
        if ours and ours == named:
            tags = set().union(*(SERIES.get(name, set()) for name in ours))
            grouped = {tag for by in re.findall(r"by \(([^)]*)\)", query) for tag in by.split(", ")}
            asked = grouped | set(re.findall(r"(\w+)=~?\"", query)) - {"SessionName"}
            found += [f"no such tag: {tag} of {query}" for tag in sorted(asked - tags)]
        if 'SessionName=~"$session"' not in query:
            found.append(f"all sessions at once: {query}")
    return found


def test_nothing_is_wrong_with_it(dashboard: Dashboard, rays_own: set[str]) -> None:
    assert problems(dashboard, rays_own) == []
    assert dashboard["title"] and dashboard["uid"] and dashboard["schemaVersion"] >= 39


def test_it_shows_all_that_a_run_tells(dashboard: Dashboard) -> None:
    assert METRICS.keys() == metrics.METRICS.keys()
    asked = metrics_in("\n".join(queries(dashboard)))
    shown = {name for name in METRICS if any(each.startswith(f"ray_{name}") for each in asked)}
    assert shown == METRICS.keys()


def first(key: str, value: Any) -> Callable[[Dashboard], None]:
    return lambda dashboard: dashboard["panels"][0].update({key: value})


def query(text: str) -> Callable[[Dashboard], None]:
    return lambda dashboard: dashboard["panels"][0]["targets"][0].update(expr=text)


def no_variables(dashboard: Dashboard) -> None:
    dashboard["templating"]["list"].clear()


BROKEN = {
    "panel 2 is there twice": first("id", 2),
    "no variable chooses": no_variables,
    "no such variable: session": no_variables,
    "Photos/s has a data source of its own": first("datasource", "Prometheus"),
    "of ours: ray_autochrome_photos": query("rate(ray_autochrome_photos[5m])"),
    "of ours: ray_autochrome_photo_total": query("ray_autochrome_photo_total"),
    "of Ray: ray_node_gpu_temperature": query("ray_node_gpu_temperature"),
    "no such tag: reason": query("sum by (reason) (ray_autochrome_photos_total)"),
    "no such tag: stage": query('ray_autochrome_photos_total{stage="read"}'),
    "all sessions at once": query("ray_autochrome_shards_total"),
}


@pytest.mark.parametrize("complaint", BROKEN)
def test_a_broken_dashboard_is_refused(
    dashboard: Dashboard, rays_own: set[str], complaint: str
) -> None:
    BROKEN[complaint](dashboard)
    assert complaint in "\n".join(problems(dashboard, rays_own))
