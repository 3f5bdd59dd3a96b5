"""Loading: what a good configuration becomes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.model.errors import ConfigError
from orchestrator.model.ids import TenantId
from orchestrator.settings.load import Snapshot, find_config, load, load_runtime_dir
from orchestrator.settings.model import Settings

ACME = TenantId("acme_corp")


def load_text(directory: Path, text: str, **environ: str) -> Snapshot:
    """Load `text` as `insula.toml` in `directory`."""
    path = directory / "insula.toml"
    path.write_text(text)
    return load(path, environ)


def test_no_file_gives_the_defaults_and_an_embedded_database() -> None:
    snapshot = load(None, {"HOME": "/home/ann"})

    assert snapshot.settings == Settings()
    assert snapshot.database_url is None
    assert snapshot.tenants == {}


def test_what_may_tell_how_to_get_into_the_database_is_known(tmp_path: Path) -> None:
    url = "postgresql://app:${APP_PASSWORD}@db/app"
    snapshot = load_text(tmp_path, f'[database]\nurl = "{url}"', APP_PASSWORD="x")

    assert {"APP_PASSWORD", "DATABASE_URL", "PGPASSWORD"} <= snapshot.secret_variables


def test_a_home_that_nobody_has_is_a_path_like_any_other(tmp_path: Path) -> None:
    snapshot = load_text(tmp_path, '[node]\nstate_dir = "~nobody-of-that-name/x"')

    assert snapshot.state_dir == tmp_path / "~nobody-of-that-name" / "x"


def test_the_file_given_goes_before_the_usual_one(tmp_path: Path) -> None:
    usual = tmp_path / "config" / "insula.toml"

    assert find_config(None, tmp_path) is None
    usual.parent.mkdir()
    usual.touch()
    assert find_config(None, tmp_path) == usual
    assert find_config(Path("other.toml"), tmp_path) == Path("other.toml")


@pytest.mark.requirement("T2.tier")
def test_a_tenant_inherits_from_its_tier_and_overrides_it(tmp_path: Path) -> None:
    snapshot = load_text(
        tmp_path,
        """
        [tiers.basic]
        settings = { region = "eu", days = 7 }
        limits = { max_queue_length = 10, max_payload_bytes = "1MiB" }
        weight = 3
        [tenants.acme_corp]
        tier = "basic"
        settings = { days = 30 }
        limits = { max_queue_length = 20 }
        [tenants.globex]
        idle_ttl = "5m"
        workflows = ["report"]
        """,
    )

    acme, globex = snapshot.tenants[ACME], snapshot.tenants[TenantId("globex")]
    assert acme.settings == {"region": "eu", "days": 30}
    assert (acme.limits.max_queue_length, acme.limits.max_payload_bytes) == (20, 2**20)
    assert (acme.weight, acme.name, acme.workflows) == (3, "acme_corp", None)
    assert (globex.weight, globex.idle_ttl) == (1, timedelta(minutes=5))
    assert globex.workflows == ("report",)


def test_tenants_come_from_included_files_but_not_from_hidden_ones(tmp_path: Path) -> None:
    tenants = tmp_path / "tenants.d"
    tenants.mkdir()
    (tenants / "acme.toml").write_text('[tenants.acme_corp]\naliases = ["ACME"]\n')
    (tenants / ".#acme.toml").write_text("an editor's lock file")

    snapshot = load_text(tmp_path, 'include = ["tenants.d/*.toml", "tenants.d/acme.toml"]')

    assert list(snapshot.tenants) == [ACME]
    assert snapshot.aliases == {"acme": ACME}
    assert [path.name for path in snapshot.files] == ["insula.toml", "acme.toml"]


def test_where_the_daemon_listens_is_known_without_opening_the_files_of_tenants(
    tmp_path: Path,
) -> None:
    path = tmp_path / "insula.toml"
    path.write_text('include = ["*.d/*.toml"]\n[node]\nruntime_dir = "run"\n[tenants.pg_x]\n')
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "tenants.d" / "broken.toml").write_text("[")

    with pytest.raises(ConfigError):
        load(path, {})
    assert load_runtime_dir(path, {}) == tmp_path / "run"
    path.write_text("[nod]")
    with pytest.raises(ConfigError, match="nod"):
        load_runtime_dir(path, {})


def test_the_first_variable_that_is_set_names_the_database(tmp_path: Path) -> None:
    text = '[database]\nurl = "postgresql:///file"'

    from_file = load_text(tmp_path, text, DATABASE_URL="")
    from_environment = load_text(
        tmp_path, text, DATABASE_URL="postgresql:///b", POSTGRESQL_URL="postgresql:///c"
    )

    assert from_file.database_url == "postgresql:///file"
    assert from_environment.database_url == "postgresql:///b"


@pytest.mark.parametrize("url", ["postgresql://ann:${PW}@db/app", "file:secret/url"])
def test_a_secret_is_resolved_and_never_shown(tmp_path: Path, url: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "url").write_text("postgresql://ann:hunter2@db/app\n")

    snapshot = load_text(tmp_path, f'[database]\nurl = "{url}"', PW="hunter2")

    assert snapshot.database_url == "postgresql://ann:hunter2@db/app"
    assert "hunter2" not in repr(snapshot) + repr(snapshot.settings)


def test_a_password_in_the_file_is_never_shown(tmp_path: Path) -> None:
    snapshot = load_text(tmp_path, '[database]\nurl = "postgresql://ann:hunter2@db/app"')

    assert "hunter2" not in repr(snapshot) + repr(snapshot.settings)


def test_relative_paths_start_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sql").mkdir()
    monkeypatch.chdir(tmp_path.parent)
    text = '[node]\nstate_dir = "state"\nruntime_dir = "run"\n[migrations]\npath = "sql"'

    snapshot = load_text(Path(tmp_path.name), text)

    assert snapshot.state_dir == tmp_path / "state"
    assert snapshot.runtime_dir == tmp_path / "run"
    assert snapshot.migrations_path == tmp_path / "sql"


def test_the_environment_goes_before_the_directories_of_the_file(tmp_path: Path) -> None:
    text = '[node]\nstate_dir = "state"\nruntime_dir = "run"'

    snapshot = load_text(tmp_path, text, INSULA_STATE_DIR="/s", INSULA_RUNTIME_DIR="/r")

    assert (snapshot.state_dir, snapshot.runtime_dir) == (Path("/s"), Path("/r"))


def test_the_environment_names_the_node_before_the_file_does(tmp_path: Path) -> None:
    text = '[node]\nname = "b"\nmax_awake_tenants = 7'

    named = load_text(tmp_path, text, INSULA_NODE_NAME="west").settings.node
    assert (named.name, named.max_awake_tenants) == ("west", 7)
    assert load_text(tmp_path, text, INSULA_NODE_NAME="").settings.node.name == "b"


def test_the_digest_follows_the_meaning_and_not_the_spelling(tmp_path: Path) -> None:
    one = load_text(tmp_path, '[supervision]\nidle_ttl = "90s"\n[log]\nlevel = "debug"')
    same = load_text(tmp_path, '# x\n[log]\nlevel = "debug"\n[supervision]\nidle_ttl = "1m30s"')
    other = load_text(tmp_path, '[supervision]\nidle_ttl = "91s"\n[log]\nlevel = "debug"')

    assert one.digest == same.digest != other.digest


def test_an_alias_may_repeat_the_own_id_in_another_case(tmp_path: Path) -> None:
    snapshot = load_text(tmp_path, '[tenants.acme_corp]\naliases = ["Acme_Corp", "acme-corp"]')

    assert snapshot.aliases == {"acme_corp": ACME, "acme-corp": ACME}
