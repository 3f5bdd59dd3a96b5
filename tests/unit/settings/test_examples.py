"""The files in config/ and the reference page say everything, and say it right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from orchestrator.settings import reference
from orchestrator.settings.database import ShardSection
from orchestrator.settings.decode import describe
from orchestrator.settings.keys import RELOADS
from orchestrator.settings.lines import Lines
from orchestrator.settings.lines import Path as Keys
from orchestrator.settings.load import load
from orchestrator.settings.model import Limits, ScheduleSection, Settings, Tenant, Tier
from orchestrator.settings.section import Section

ROOT = Path(__file__).parents[3]
COMPLETE = (ROOT / "config" / "insula.toml").read_text()

SETTING = re.compile(r"^#(?=[a-z_]+ = |\[)", re.MULTILINE)
EXAMPLE = re.compile(r"^#?[^\n]*# example[^\n]*\n", re.MULTILINE)


def keys_of(kind: type[Section], path: Keys = ()) -> Iterator[Keys]:
    """Yield the path of every key that a file may have."""
    for each in msgspec.structs.fields(kind):
        inner = describe(each.type).kind
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from keys_of(inner, (*path, each.name))
        elif each.name not in {"shards", "tiers", "tenants"}:
            yield (*path, each.name)


def test_the_complete_file_names_every_key() -> None:
    written = Lines(SETTING.sub("", COMPLETE)).paths()

    tenant_keys = set(Tenant.__struct_fields__) - set(Tier.__struct_fields__)
    expected = {
        *keys_of(Settings),
        *keys_of(ShardSection, ("shards", "eu")),
        *keys_of(Limits, ("tiers", "basic", "limits")),
        *keys_of(Tier, ("tiers", "basic")),
        *(("tenants", "globex", key) for key in tenant_keys),
    }
    assert expected <= written
    schedules = {path[4] for path in written if path[2:3] == ("schedules",) and path[4:]}
    assert schedules >= set(ScheduleSection.__struct_fields__)


def test_the_complete_file_shows_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "insula.toml"
    without_examples = SETTING.sub("", EXAMPLE.sub("", COMPLETE)).replace(
        "enabled = true", "[tenants.globex]\nenabled = true"
    )
    path.write_text(without_examples)

    settings = load(path, {}).settings

    assert settings == Settings(tenants={"globex": Tenant()})


def test_the_examples_in_the_complete_file_are_valid(tmp_path: Path) -> None:
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "migrations").mkdir()
    path = tmp_path / "insula.toml"
    path.write_text(SETTING.sub("", COMPLETE))

    snapshot = load(path, {})

    assert list(snapshot.tenants) == ["globex"]
    assert snapshot.migrations_path == tmp_path / "migrations"


@pytest.mark.parametrize(
    ("name", "tenants"),
    [
        ("insula.toml", []),
        ("minimal.toml", ["acme_corp"]),
        ("tenants.d/acme_corp.toml", ["acme_corp"]),
    ],
)
def test_the_files_in_config_load_as_they_are(name: str, tenants: list[str]) -> None:
    assert list(load(ROOT / "config" / name, {}).tenants) == tenants


def test_the_reference_page_is_current() -> None:
    written = (ROOT / "docs" / "reference" / "configuration.md").read_text()

    assert written == reference.page(), "run `make docs`"


def test_every_key_is_described_and_says_what_a_reload_does() -> None:
    sections = [each.type for each in msgspec.structs.fields(Settings)]
    kinds: list[type[Section]] = [Limits, ScheduleSection, Tenant]
    kinds += [each for each in sections if isinstance(each, type) and issubclass(each, Section)]

    for kind in kinds:
        for each in msgspec.structs.fields(kind):
            described = describe(each.type)
            assert described.description, each.name
            assert described.extra["reload"] in RELOADS, each.name
