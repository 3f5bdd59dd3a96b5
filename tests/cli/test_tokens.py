"""`insula token create|list|revoke`, `insula tenant token`, and how a command shows its token."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Insula
from tests.http.platform import HandMadePlatform
from tests.http.serving import Served


def test_a_token_is_printed_once_and_alone_on_stdout(
    insula: Insula, platform: HandMadePlatform
) -> None:
    made = insula("token", "create", "--name", "deployment")
    of_tenant = insula("tenant", "token", "acme-corp", "--role", "write", "--json")
    listed = insula("token", "list")
    as_json = insula("token", "list", "--tenant", "acme_corp", "--json")

    (id,) = [made.out.split("_")[1]]
    assert made.err.startswith(f"token {id}, admin of the installation, until it is revoked; ")
    assert of_tenant.json["view"]["tenant"] == "acme_corp"
    assert [each["role"] for each in as_json.json["tokens"]] == ["write"]
    assert f"{id}  admin  deployment" in listed.out
    for text in (made.out.strip(), of_tenant.json["token"]):
        assert text.split("_")[1] in platform.tokens.kept
        assert text.split("_")[2] not in listed.out + as_json.out


def test_a_token_is_revoked_by_its_id(insula: Insula, platform: HandMadePlatform) -> None:
    id = insula("tenant", "token", "acme_corp").out.split("_")[1]

    unknown = insula("token", "revoke", "0" * 16)
    done = insula("token", "revoke", id)
    again = insula("token", "revoke", id, "--tenant", "acme_corp", "--json")

    assert (unknown.code, unknown.err.splitlines()[0]) == (
        3,
        f"error[token_not_found]: there is no token '{'0' * 16}'",
    )
    assert done.err == f"revoked {id}, read of tenant acme_corp\n"
    assert again.json["revoked_at"] is not None
    assert [(entry.operation, entry.outcome) for _, entry in platform.audit.entries] == [
        ("token.create", "done"),
        ("admin_token.revoke", "token_not_found"),
        ("token.revoke", "done"),
        ("token.revoke", "done"),
    ]


def test_who_gives_the_token_instead_of_its_id_is_not_quoted(insula: Insula) -> None:
    token = insula("token", "create").out.strip()

    done = insula("token", "revoke", token)

    assert done.code == 2
    assert token.split("_")[2] not in done.err


@pytest.mark.parametrize("words", [("--role", "owner"), ("--expires", "soon")])
def test_what_can_not_be_is_refused_before_anybody_is_asked(
    insula: Insula, platform: HandMadePlatform, words: tuple[str, str]
) -> None:
    assert insula("tenant", "token", "acme_corp", *words).code == 2
    assert platform.audit.entries == []


def test_over_tcp_the_token_comes_from_the_environment_or_a_file(
    local: Insula, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(f"{served.platform.tokens.operator}\n")
    (tmp_path / "binary").write_bytes(b"\xff")

    without = local("status", "--url", served.tcp)
    by_file = local("status", "--url", served.tcp, "--token-file", "token")
    missing = local("status", "--url", served.tcp, "--token-file", "nothing")
    no_text = local("status", "--url", served.tcp, "--token-file", "binary")
    no_url = local("status", "--token-file", "token")
    monkeypatch.setenv("INSULA_TOKEN", served.platform.tokens.operator)
    by_variable = local("status", "--url", served.tcp)
    unread = local("status", "--url", "http://192.0.2.1:8088")

    assert without.err.startswith("error[unauthenticated]: this needs a valid token\nhint: ")
    assert "INSULA_TOKEN or --token-file" in without.err
    codes = [each.code for each in (without, by_file, missing, no_text, no_url, by_variable)]
    assert codes == [4, 0, 2, 2, 2, 0]
    assert unread.code == 2
    assert "--plain-http" in unread.err
