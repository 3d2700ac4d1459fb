"""The files of `deploy/monitoring`: rules that fire when they should, and no name that the service does not export."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.engine.status.reading import prepare, read

FILES = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FILES / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((FILES / "grafana_dashboard.json").read_text())
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
]
NAME = re.compile(r"\b(?:knowledge|migration)_[a-z_]+")
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and "TESTS_INSIST" not in os.environ,
    reason="needs promtool (Debian's package prometheus)",
)


def check(*arguments: str) -> None:
    """Runs promtool among the files."""
    done = subprocess.run(["promtool", *arguments], cwd=FILES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")],
)
def test_promtool_accepts_the_files_and_every_test_of_a_rule_passes(arguments: tuple[str, ...]) -> None:
    check(*arguments)


def test_every_rule_is_tested_to_fire_and_to_stay_quiet_and_says_what_to_do() -> None:
    tested = [one["name"] for one in yaml.safe_load((FILES / "alerts_test.yml").read_text())["tests"]]
    names = [rule["alert"] for rule in RULES]
    assert tested == [f"{name} {what}" for name in names for what in ("fires", "stays quiet")]
    assert all(rule["annotations"]["action"] and rule["labels"]["severity"] for rule in RULES)


@pytest.fixture
def exported(expanded: Database) -> Iterator[set[str]]:
    """Every name that a process of the service can export, of a database that has one of each thing."""
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        prepare(connection)
    read(expanded, metrics.exporter, Flags(dual_write=True))
    names = set()
    for family in metrics.registry.collect():
        kinds = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}.get(family.type, ("",))
        names |= {f"{family.name}{ending}" for ending in kinds}
    yield names
    metrics.exporter.reset()


def test_every_name_in_alerts_and_dashboard_is_exported(exported: set[str]) -> None:
    used = {name for expression in EXPRESSIONS for name in NAME.findall(expression)}
    assert used <= exported, used - exported
    assert len(used) > 20


def test_the_dashboard_shows_everything_that_the_migration_exports(exported: set[str]) -> None:
    shown = {name for expression in EXPRESSIONS for name in NAME.findall(expression)}
    assert {name for name in exported if name.startswith("migration_")} <= shown


def test_panels_have_titles_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert panel["title"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


OF_PROMETHEUS = {"/annotations/list/0/titleFormat"}
"""What the data source reads, not Grafana itself."""


def lost(given: Any, read: Any, place: str = "") -> set[str]:
    """The places of a document that another one does not have, or has otherwise."""
    if isinstance(given, dict) and isinstance(read, dict):
        gone = {f"{place}/{key}" for key in given.keys() - read.keys()}
        return gone.union(*(lost(given[key], read[key], f"{place}/{key}") for key in given.keys() & read.keys()))
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        return set().union(
            *(lost(one, other, f"{place}/{n}") for n, (one, other) in enumerate(zip(given, read, strict=True)))
        )
    return set() if given == read else {place}


def test_grafana_reads_every_part_of_the_dashboard_by_its_schema() -> None:
    register_default_plugins()  # the options of each kind of panel
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert lost(DASHBOARD, read) == OF_PROMETHEUS


def test_the_dashboard_is_one_that_provisioning_and_import_load() -> None:
    assert re.fullmatch(r"[\w-]{1,40}", DASHBOARD["uid"])
    assert DASHBOARD["schemaVersion"] >= 36
    assert {"id", "__inputs", "__requires"} & set(DASHBOARD) == set(), "they belong to an export of one Grafana"
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    for panel in DASHBOARD["panels"]:
        targets = panel.get("targets", [])
        assert bool(targets) == (panel["type"] != "row"), panel["title"]
        assert len({target["refId"] for target in targets}) == len(targets), panel["title"]
    sources = [
        one["datasource"] for one in (*DASHBOARD["panels"], *DASHBOARD["annotations"]["list"]) if "datasource" in one
    ]
    assert len(sources) > 10
    assert [source for source in sources if source != {"type": "prometheus", "uid": f"${{{variable['name']}}}"}] == []


@promtool
def test_every_expression_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    expressions += [one["expr"] for one in DASHBOARD["annotations"]["list"] if "expr" in one]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert len(rules) > 20
    check("check", "rules", str(tmp_path / "rules.yml"))


@promtool
def test_promtool_accepts_the_configuration_of_the_containers(tmp_path: Path) -> None:
    for file in (FILES / "alerts.yml", FILES.parent / "compose" / "prometheus.yml"):
        text = file.read_text().replace("/run/secrets", str(tmp_path))
        (tmp_path / file.name).write_text(text)
    (tmp_path / "reviewer_token").write_text("token")
    check("check", "config", str(tmp_path / "prometheus.yml"))
