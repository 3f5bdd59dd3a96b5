"""Loading: what is wrong is said with file and line, all of it at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.model.errors import ConfigError
from orchestrator.settings.load import load


def problems_of(directory: Path, text: str, **environ: str) -> list[str]:
    """Load `text` and return the problems, with the file's directory cut off."""
    path = directory / "insula.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    return [each.removeprefix(f"{directory}/") for each in caught.value.problems]


def test_every_problem_of_every_file_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text("[http]\nlisten = 1\n\n[tenants.acme]\nweight = 101\n")
    (tmp_path / "c.toml").write_text("[tenants.broken\n")

    problems = problems_of(
        tmp_path,
        """include = ["[bc].toml"]
[node]
max_awake_tenants = 0
[supervision]
idle_ttl = "1 minute"
restart_intensity = "five"
drain_timeout = "2d"
""",
    )

    assert problems == [
        "insula.toml:3: node.max_awake_tenants: must be at least 1, not 0",
        (
            "insula.toml:5: supervision.idle_ttl: '1 minute' is not a duration"
            ' (write "250ms", "30s", "1h30m" or "30d")'
        ),
        "insula.toml:6: supervision.restart_intensity: must be a whole number, not 'five'",
        "insula.toml:7: supervision.drain_timeout: must be at most 1d, not '2d'",
        "b.toml:1: http: an included file may only have [tenants.*] and [tiers.*]",
        "b.toml:5: tenants.acme.weight: must be at most 100, not 101",
        "c.toml:1: is no valid TOML here: Expected ']' at the end of a table declaration",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[nod]", "1: nod: unknown key; did you mean 'node'?"),
        ("[log]\nzzz = 1", "2: log.zzz: unknown key; known here: format, level"),
        ("node = 3", "1: node: must be a table, not 3"),
        ("tenants = 3", "1: tenants: must be a table, not 3"),
        ("[tenants]\nacme = true", "2: tenants.acme: must be a table, not true"),
        (
            '[log]\nformat = "xml"',
            '2: log.format: must be one of "auto", "json", "console", not \'xml\'',
        ),
        (
            "[supervision]\nidle_ttl = 60",
            (
                "2: supervision.idle_ttl: 60 is not a duration: write it with a unit,"
                ' for example "30s"'
            ),
        ),
        (
            '[supervision]\nnode_expiry = "5s"',
            "1: supervision.node_renewal: must be at most half of node_expiry (5s)",
        ),
        ("[tenants.a]\nenabled = 1", "2: tenants.a.enabled: must be true or false, not 1"),
        ('[tenants.a]\nname = ""', "2: tenants.a.name: must not be empty"),
        ("[tenants.a]\naliases = 'x'", "2: tenants.a.aliases: must be a list, not 'x'"),
        ("[tenants.a]\naliases = [\n'ok',\n3]", "4: tenants.a.aliases[1]: must be text, not 3"),
        (
            "[tenants.a]\nfeatures = { x = 1 }",
            "2: tenants.a.features.x: must be true or false, not 1",
        ),
        ("[tenants.a]\nsettings = []", "2: tenants.a.settings: must be a table, not a list"),
        (
            "[tenants.a.settings]\nsince = 2020-01-01",
            (
                "2: tenants.a.settings.since: is a date or time, which JSON has not;"
                " write '2020-01-01' as text"
            ),
        ),
        (
            "[tenants.a]\nmetadata = { n = [nan] }",
            "2: tenants.a.metadata.n[0]: must be a finite number, not nan",
        ),
        (
            f"[tenants.a]\nmetadata = {{ n = {2**63} }}",
            "2: tenants.a.metadata.n: must fit in 64 bits; write a longer number as text",
        ),
        (
            "[tenants.a.limits]\nmax_payload_bytes = '1 mib'",
            (
                "2: tenants.a.limits.max_payload_bytes: '1 mib' is not a size"
                ' (write "500kB", "1MiB" or a number of bytes)'
            ),
        ),
        (
            "[tenants.a]\nretention_days = 9",
            "2: tenants.a.retention_days: unknown key; did you mean 'limits.retention_days'?",
        ),
        (
            "[shards.eu]\nurl = 'postgresql:///eu'\n[tenants.a]\nshard = 'eux'",
            "4: tenants.a.shard: no shard 'eux' is configured; did you mean 'eu'?",
        ),
        (
            "[tiers.gold]\nshard = 'us'",
            "2: tiers.gold.shard: no shard 'us' is configured; shards: control",
        ),
        ("[shards.eu]", "1: shards.eu.url: must be given"),
        (
            "[shards.eu]\nurl = 'mysql://db/eu'",
            "2: shards.eu.url: does not start with postgresql://",
        ),
        (
            "[shards.eu]\nurl = 'postgresql:///${NOT_SET_ANYWHERE}'",
            "2: shards.eu.url: the environment variable NOT_SET_ANYWHERE is not set",
        ),
        (
            "[shards.eu]\nurl = 'postgresql:///a'\n[shards.us]\nurl = 'postgresql:///a'",
            "4: shards.us.url: is the same as that of [shards.eu]",
        ),
        (
            "[database]\nurl = 'postgresql:///a'\n[shards.us]\nurl = 'postgresql:///a'",
            "4: shards.us.url: is the same as that of [database]",
        ),
        (
            "[shards.control]\nurl = 'postgresql:///a'",
            "1: shards.control: the name is that of the database with the control schema",
        ),
        (
            "[shards.eu]\nurl = 'postgresql:///a'\nisolation = 'none'",
            '3: shards.eu.isolation: must be one of "role", "database", not \'none\'',
        ),
        (
            "[tiers.gold]\n[tenants.a]\ntier = 'golf'",
            "3: tenants.a.tier: no tier 'golf' is declared; did you mean 'gold'?",
        ),
        (
            "[tenants.'Acme Corp']",
            (
                "1: tenants.\"Acme Corp\": 'Acme Corp' can not be a tenant id:"
                " it has upper-case letters; ids are lower case, an alias may be mixed;"
                " it has characters other than a-z, 0-9 and underscore"
            ),
        ),
        (
            "[tenants.a]\naliases = ['x y']",
            (
                "2: tenants.a.aliases[0]: 'x y' can not be an alias:"
                " an alias has only ASCII letters, digits, hyphens and underscores"
            ),
        ),
        (
            "[tenants.a]\naliases = ['X']\n[tenants.b]\naliases = ['x']",
            "4: tenants.b.aliases[0]: alias 'x' belongs to tenant 'a' already",
        ),
        (
            "[tenants.a]\naliases = ['B']\n[tenants.b]",
            "2: tenants.a.aliases[0]: alias 'B' is the id of another tenant",
        ),
        ("include = ['no.d/*.toml']", "1: include[0]: there is no directory DIR/no.d"),
        ("include = ['no.toml']", "1: include[0]: there is no file DIR/no.toml"),
        ("[migrations]\npath = 'no'", "2: migrations.path: there is no directory DIR/no"),
        ("[database]\nurl = 'mysql://x'", "2: database.url: does not start with postgresql://"),
        (
            "[database]\nurl = 'postgresql://${NOPE}'",
            "2: database.url: the environment variable NOPE is not set",
        ),
        (
            "[database]\nurl = 'file:no'",
            "2: database.url: the file DIR/no can not be read: No such file or directory",
        ),
        (
            "[http]\nlisten = '0.0.0.0:80'",
            (
                "2: http.listen: must be a loopback address such as 127.0.0.1, not 0.0.0.0:80:"
                " tokens would be sent in plain text. With a TLS proxy before it set"
                " behind_tls_proxy"
            ),
        ),
        (
            "[http]\nlisten = '0.0.0.0:80'\nbehind_tls_proxy = true",
            ("1: http.hosts: must name what callers reach it by, since it listens at 0.0.0.0:80"),
        ),
        (
            "[http]\nlisten = '127.0.0.1:80'\nbehind_tls_proxy = true\nrequire_token = false",
            (
                "4: http.require_token: must be true with behind_tls_proxy:"
                " others than us may connect"
            ),
        ),
        (
            "[http]\nhosts = ['https://insula.example.com']",
            (
                "2: http.hosts[0]: is a name in lower case, without scheme and port, unlike"
                " 'https://insula.example.com'"
            ),
        ),
        (
            "[http]\nlisten = '127.0.0.1'",
            '2: http.listen: needs a port, for example "127.0.0.1:8088"',
        ),
        (
            "[http]\nlisten = 'x:y'",
            "2: http.listen: must be an address and a port such as \"127.0.0.1:8088\", not 'x:y'",
        ),
        (
            "[workflows]\nmodules = ['a-b']",
            "2: workflows.modules[0]: names a module such as app.reports, unlike 'a-b'",
        ),
    ],
)
def test_one_problem_is_said_in_one_sentence(tmp_path: Path, text: str, problem: str) -> None:
    spelled = problem.replace("DIR", str(tmp_path))

    assert problems_of(tmp_path, text) == [f"insula.toml:{spelled}"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (r'name = "a\u001b[2J"', r"name: may have no control characters, unlike 'a\x1b[2J'"),
        (r'name = "a\n"', r"name: may have no control characters, unlike 'a\n'"),
        (
            r'workflows = ["a\u009b"]',
            r"workflows[0]: has 1 to 200 characters, without spaces and control characters, unlike",
        ),
        (r'settings = { a = ["\u0000"] }', "settings.a[0]: has a NUL character, which PostgreSQL"),
        (r'settings = { a = { "\u0000" = 1 } }', "has a NUL character, which PostgreSQL"),
        (r'features = { "\u0007" = true }', "the name has a control character"),
        (r'"a\u001b" = 1', "unknown key"),
    ],
)
def test_control_characters_are_refused(tmp_path: Path, line: str, problem: str) -> None:
    (found,) = problems_of(tmp_path, f"[tenants.acme]\n{line}")

    assert found.startswith("insula.toml:2: tenants.acme.")
    assert problem in found


def test_names_of_tables_and_schedules_are_one_line(tmp_path: Path) -> None:
    schedule = r"""[[tenants.acme.schedules]]
name = "a\n"
workflow = "w"
every = "1h"
"""
    problems = problems_of(tmp_path, schedule + '[tiers."a\\u001b"]\n[tenants."b\\n"]\n')

    assert len(problems) == 3
    assert "schedules[0].name: has up to 100 letters" in problems[0]
    assert "the name has a control character" in problems[1]
    assert "can not be a tenant id: it has characters other than" in problems[2]


@pytest.mark.parametrize("listen", ["127.0.0.1:8088", "[::1]:0", "localhost:80", "127.1.2.3:65535"])
def test_a_loopback_address_is_accepted(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "insula.toml"
    path.write_text(f'[http]\nlisten = "{listen}"')

    assert load(path, {}).settings.http.listen == listen


def test_a_tenant_is_declared_once(tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text("\n[tenants.acme]\n")

    problems = problems_of(tmp_path, "include = ['two.toml']\n[tenants.acme]\n")

    assert problems == [
        f"two.toml:2: tenants.acme: is declared already at {tmp_path}/insula.toml:2"
    ]


def test_the_line_of_a_syntax_error_is_named(tmp_path: Path) -> None:
    unfinished = problems_of(tmp_path, '[node]\nname = "a"\n\nx = [1,\n\n')

    assert problems_of(tmp_path, "a = 1\nb = = 2\n") == [
        "insula.toml:2: is no valid TOML here: Invalid value"
    ]
    assert unfinished[0].startswith("insula.toml:4: is no valid TOML here:")


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"# fine\nname = '\xff'\n")

    with pytest.raises(ConfigError, match=r"no\.toml: can not be read: No such file"):
        load(tmp_path / "no.toml", {})
    with pytest.raises(ConfigError, match=r"binary\.toml:2: is not UTF-8 text"):
        load(binary, {})


def test_a_dangling_link_does_not_make_a_tenant_vanish(tmp_path: Path) -> None:
    (tmp_path / "gone.toml").symlink_to(tmp_path / "nowhere.toml")

    problems = problems_of(tmp_path, "include = ['g*.toml']")

    assert problems == ["gone.toml: can not be read: No such file or directory"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_can_not_be_read_does_not_make_tenants_vanish(tmp_path: Path) -> None:
    closed = tmp_path / "closed.d"
    closed.mkdir(mode=0)

    problems = problems_of(tmp_path, "include = ['closed.d/*.toml']")

    assert problems == [f"insula.toml:1: include[0]: the directory {closed} can not be read"]


def test_a_runtime_directory_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, f'[node]\nname = "a"\nruntime_dir = "/{"x" * 100}"')

    assert problems[0].startswith("insula.toml:3: node.runtime_dir: the control socket /xxx")


def test_a_wrong_url_in_the_environment_is_said_without_showing_it(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "", DATABASE_URL="mysql://ann:hunter2@db")

    assert problems == ["environment: DATABASE_URL does not start with postgresql://"]


def test_a_wrong_node_name_in_the_environment_is_said(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "", INSULA_NODE_NAME="West")

    assert problem == (
        "environment: INSULA_NODE_NAME has up to 32 lower-case letters, digits, '_' and '-', "
        "a letter or digit first, unlike 'West'"
    )
