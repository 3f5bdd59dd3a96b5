"""`insula tenant secret set|list|delete` and `insula tenant rotate-key`."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Insula
from tests.http.platform import HandMadePlatform
from tests.http.serving import Served

PLAIN = "k-7f3a"


def test_a_value_comes_from_stdin_or_a_file_without_its_last_line_break(
    insula: Insula, platform: HandMadePlatform, tmp_path: Path
) -> None:
    (tmp_path / "pem").write_text(f"{PLAIN}\nsecond\r\n")

    done = insula("tenant", "secret", "set", "acme-corp", "api_key", input=f"{PLAIN}\n")
    from_file = insula("tenant", "secret", "set", "acme-corp", "pem", "--from-file", "pem")

    assert (done.code, done.out, done.err) == (0, "", "set api_key\n")
    assert from_file.code == 0
    assert platform.secrets.values == {
        ("acme_corp", "api_key"): PLAIN,
        ("acme_corp", "pem"): f"{PLAIN}\nsecond",
    }


def test_a_value_that_is_typed_is_not_shown(
    served: Served, platform: HandMadePlatform, spawned: Callable[..., subprocess.Popen[bytes]]
) -> None:
    ours, terminal = pty.openpty()
    try:
        command = ("tenant", "secret", "set", "acme_corp", "api_key", "--socket", str(served.path))
        process = spawned(*command, stdin=terminal, stderr=subprocess.PIPE, start_new_session=True)
        assert process.stderr is not None
        asked = process.stderr.read(len("the secret (not shown): "))  # what came before is dropped
        os.write(ours, f"{PLAIN}\n".encode())
        _, told = process.communicate(timeout=60)
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1)  # nothing was shown
    finally:
        os.close(ours)
        os.close(terminal)

    assert asked == b"the secret (not shown): "
    assert platform.secrets.values == {("acme_corp", "api_key"): PLAIN}
    assert PLAIN.encode() not in told


def test_they_are_listed_and_deleted(insula: Insula) -> None:
    empty = insula("tenant", "secret", "list", "acme-corp")
    insula("tenant", "secret", "set", "acme-corp", "api_key", input=PLAIN)
    listed = insula("tenant", "secret", "list", "acme-corp")
    as_json = insula("tenant", "secret", "list", "acme-corp", "--json")
    rotated = insula("tenant", "rotate-key", "acme-corp")
    gone = insula("tenant", "secret", "delete", "acme-corp", "api_key", "--json")
    again = insula("tenant", "secret", "delete", "acme-corp", "api_key")

    assert empty.err == "no secrets; insula tenant secret set acme-corp NAME\n"
    assert listed.out.splitlines()[1].split()[0] == "api_key"
    assert [each["name"] for each in as_json.json["secrets"]] == ["api_key"]
    assert rotated.err == "sealed 1 secrets of acme_corp anew\n"
    assert gone.json == {"tenant": "acme-corp", "deleted": "api_key"}
    assert (again.code, again.err.splitlines()[0]) == (
        3,
        "error[secret_not_found]: tenant 'acme_corp' has no secret 'api_key'",
    )
    assert PLAIN not in listed.out + as_json.out


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "it is empty"),
        ("\n", "it is empty"),
        (f"{PLAIN}{'x' * 65536}", "it is longer than 65536 characters"),
    ],
)
def test_what_is_no_value_is_refused_without_being_shown(
    insula: Insula, platform: HandMadePlatform, value: str, why: str
) -> None:
    done = insula("tenant", "secret", "set", "acme-corp", "api_key", input=value)

    assert done.code == 2
    assert why in done.err
    assert PLAIN not in done.err
    assert platform.secrets.values == {}


def test_bytes_that_are_no_text_are_refused(insula: Insula, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")

    binary = insula("tenant", "secret", "set", "acme-corp", "k", "--from-file", "key")
    missing = insula("tenant", "secret", "set", "acme-corp", "k", "--from-file", "nothing")

    assert "not UTF-8 text" in binary.err
    assert "can not be read" in missing.err


def test_a_value_is_no_argument(insula: Insula) -> None:
    assert insula("tenant", "secret", "set", "acme-corp", "api_key", PLAIN).code == 2


def test_credentials_are_a_url_for_psql(insula: Insula) -> None:
    done = insula("tenant", "credentials", "acme-corp")

    assert (done.code, done.out) == (0, "postgresql://a_acme_corp:pw@/db\n")
