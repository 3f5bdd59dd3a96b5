"""Exit codes, and the lines that go with them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.cli.exit import EXIT, MEANING, exit_code
from orchestrator.model import errors
from orchestrator.model.api import ReloadReport
from orchestrator.model.errors import InsulaError
from tests.cli.conftest import Insula
from tests.http.platform import SECRET, HandMadePlatform
from tests.http.serving import LEAVES_A_SOCKET, Served


def every_class(root: type[InsulaError] = InsulaError) -> Iterator[type[InsulaError]]:
    """Yield the classes of the tree; one drawn elsewhere is treated as its parent."""
    if root.__module__ == errors.__name__:
        yield root
    for child in root.__subclasses__():
        yield from every_class(child)


def test_every_error_has_an_exit_code() -> None:
    assert set(every_class()) == EXIT.keys()
    assert set(EXIT.values()) <= MEANING.keys()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TenantSuspended("acme_corp"), 4),
        (errors.NotAllowed("no"), 4),
        (errors.QuotaExceeded("acme_corp", limit="max_queue_length", allowed=1), 6),
        (errors.WorkflowNotFound("no workflow"), 3),
        (errors.InvalidInput("`$.month`: it is required"), 1),
        (errors.DatabaseUnavailable("the database does not answer"), 5),
        (errors.TenantQuarantined("sick"), 1),
    ],
)
def test_an_error_of_the_daemon_is_a_line_a_hint_and_a_code(
    insula: Insula, platform: HandMadePlatform, error: InsulaError, code: int
) -> None:
    platform.refuse = error

    done = insula("run", "start", "acme_corp", "slow")

    assert (done.code, done.out) == (code, "")
    assert exit_code(error) == code
    lines = [f"error[{error.code}]: {error}"] + [f"hint: {error.hint}"] * bool(error.hint)
    assert done.err.splitlines() == lines


def test_an_unexpected_error_of_the_daemon_shows_no_traceback(
    insula: Insula, platform: HandMadePlatform, capfd: pytest.CaptureFixture[str]
) -> None:
    platform.refuse = RuntimeError(SECRET)

    done = insula("run", "start", "acme_corp", "slow")

    assert done.code == 1
    assert done.err.startswith("error[internal]: the daemon met an error")


WRONG: list[tuple[list[str], str]] = [
    (["run", "strat"], "No such command 'strat'. Did you mean 'start'?"),
    (["status", "--jason"], "No such option: --jason"),
    (["run", "start", "acme_corp"], "Missing argument 'WORKFLOW'."),
    (["run", "start", "a", "b", "--input", "{"], "it is not JSON"),
    (["run", "start", "a", "b", "--input", "[1]"], "it is not a JSON object"),
    (["run", "start", "a", "b", "--input", "@none.json"], "No such file"),
    (["run", "start", "a", "b", "--input", "@"], "the @ needs a file"),
    (["run", "start", "a", "b", "--input", "@."], "the file . can not be read: Is a directory"),
    (["run", "start", "a", "b", "--input", "@/dev/null"], "the file /dev/null is empty"),
    (["run", "start", "a", "b", "--input", "@/dev/zero"], "/dev/zero is larger than 16 MiB"),
    (["run", "start", "a", "b", "--priority", "high"], "--priority"),
    (["run", "list", "a", "--limit", "0"], "--limit"),
    (["run", "list", "a", "--state", "done"], "--state"),
    (["run", "list", "a", "--since", "yesterday"], "neither a time"),
    (["run", "start", "a", "b", "--delay", "soon"], "--delay"),
    (["run", "start", "a", "b", "--deadline", "5"], "--deadline"),
    (["run", "start", "a", "b", "--at", "noon"], "not a time like"),
    (["run", "start", "a", "b", "--at", "2026-01-31", "--delay", "5m"], "one of --delay"),
    (["run", "signal", "a", "b", "go", "--data", "{"], "it is not JSON"),
    (["run", "signal", "a", "b", "go", "--data", "@none"], "No such file"),
    (["run", "delete", "a", "b"], "No such command"),
    (["dead", "replay", "a"], "give the runs, or --all"),
    (["dead", "discard", "a", "b", "--all"], "give the runs, or --all"),
    (["tenant", "create", "a", "--set", "weight"], "not KEY=VALUE"),
    (["tenant", "create", "a", "--set", "x", "--set", "y"], "'y' is not KEY=VALUE"),
    (["tenant", "create", "a", "--set", "x=1", "--set", "x=2"], "'x' is given twice"),
    (["status", "--url", "http://a", "--socket", "b"], "one of --url and --socket"),
]


@pytest.mark.parametrize("before", [["--config"], ["tenant", "--config"]])
def test_an_option_before_its_command_is_told_where_it_belongs(
    local: Insula, before: list[str]
) -> None:
    done = local(*before, "x.toml", "list")

    assert done.code == 2
    assert done.err == (
        "error[usage]: No such option: --config\n"
        "hint: options come after the command, as in: insula tenant list --config …\n"
    )


@pytest.mark.parametrize(("arguments", "says"), WRONG)
def test_a_wrong_command_line_is_a_document_for_scripts(
    local: Insula, arguments: list[str], says: str
) -> None:
    done = local(*arguments, "--json")

    problem = done.json["error"]
    assert (done.code, problem["code"]) == (2, "usage")
    assert problem["detail"] in done.err


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", [[], ["run"], ["run", "start"]])
def test_help_is_a_short_option_too(local: Insula, command: list[str], option: str) -> None:
    done = local(*command, option)

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: {' '.join(['insula', *command])} ")


@pytest.mark.parametrize("group", [[], ["run"]])
def test_without_a_command_the_help_is_shown(local: Insula, group: list[str]) -> None:
    done = local(*group)

    assert done.code == 0
    assert " ".join(["Usage: insula", *group]) in done.out


def test_the_version_is_told(local: Insula) -> None:
    done = local("--version")

    assert (done.code, done.out) == (0, f"insula {version('insula')}\n")


@pytest.mark.parametrize(("arguments", "says"), WRONG)
def test_a_wrong_command_line_is_one_line_and_where_to_look(
    local: Insula, arguments: list[str], says: str
) -> None:
    done = local(*arguments)

    error, hint = done.err.splitlines()
    assert (done.code, done.out) == (2, "")
    assert error.startswith("error[usage]: ")
    assert says in error
    assert hint.startswith("hint: insula")


def test_a_wrong_address_is_usage(local: Insula) -> None:
    done = local("status", "--url", "ftp://nowhere")

    assert done.code == 2
    assert "no address of a daemon" in done.err


@LEAVES_A_SOCKET
@pytest.mark.usefixtures("left_sockets")
def test_nobody_at_the_socket_says_what_to_do(local: Insula) -> None:
    done = local("status")

    assert done.code == 5
    assert done.err.splitlines()[1].startswith("hint: is it running? `insula serve` starts it;")


def test_a_broken_configuration_hides_no_daemon(
    local: Insula, tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INSULA_RUNTIME_DIR")
    (tmp_path / "broken.toml").write_text(f'[node]\nnme = 1\nruntime_dir = "{tmp_path}"\n[htp]\n')

    monkeypatch.setenv("INSULA_TOKEN", served.platform.tokens.operator)
    by_config = local("status", "--config", "broken.toml")
    by_socket = local("status", "--config", "broken.toml", "--socket", str(served.path))
    by_url = local("status", "--config", "broken.toml", "--url", served.tcp)

    assert [done.code for done in (by_config, by_socket, by_url)] == [0, 0, 0]
    (warning,) = by_config.err.splitlines()
    assert warning.startswith("warning: broken.toml:2: ")
    assert warning.endswith(f"(and 1 more); the daemon is looked for in {tmp_path}")
    assert by_socket.err == by_url.err == ""


def test_a_reload_of_a_broken_configuration_fails_with_what_the_daemon_says(
    insula: Insula, platform: HandMadePlatform, tmp_path: Path
) -> None:
    (tmp_path / "broken.toml").write_text("[node\n")
    platform.report = ReloadReport(applied=False, generation=1, problems=["insula.toml:1: x"])

    done = insula("reload", "--wait", "--config", "broken.toml")

    warning, problem, hint = done.err.splitlines()
    assert done.code == 1
    assert warning.startswith("warning: broken.toml:1: ")
    assert problem == "error[config_invalid]: insula.toml:1: x"
    assert hint == "hint: the old configuration stays in force"


def test_a_reload_that_the_database_kept_from_being_applied_says_that(
    insula: Insula, platform: HandMadePlatform
) -> None:
    platform.report = ReloadReport(
        applied=False, generation=1, code="database_unavailable", problems=["no answer"]
    )

    done = insula("reload", "--wait")

    assert done.code == 5
    assert done.err.splitlines() == [
        "error[database_unavailable]: no answer",
        "hint: the old configuration stays in force",
    ]


def test_a_configuration_that_is_not_there_leads_to_no_daemon(insula: Insula) -> None:
    done = insula("status", "--config", "nowhere.toml")

    assert (done.code, done.out) == (78, "")


def test_an_error_with_json_is_one_document_too(insula: Insula) -> None:
    done = insula("tenant", "show", "nobody", "--json")

    assert done.code == 3
    assert done.json["error"]["code"] == "tenant_not_found"
    assert "error[tenant_not_found]" in done.err


def test_control_characters_are_spelled_not_obeyed(
    insula: Insula, platform: HandMadePlatform
) -> None:
    platform.refuse = errors.RunRefused("bad\x1b[2J\nfake line\x9b")

    done = insula("run", "start", "acme_corp", "slow")

    assert done.err == "error[run_refused]: bad\\x1b[2J fake line\\x9b\n"


@pytest.mark.parametrize("command", ["status", "check", "serve", "replay history.json"])
def test_a_current_directory_that_is_gone_is_said(
    insula: Insula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    done = insula(*command.split())

    assert done.code == 78
    assert done.err.splitlines() == [
        "error[config_invalid]: the current directory does not exist any more",
        "hint: change to one that does, or give absolute paths",
    ]


def test_serve_reads_the_file_of_the_current_directory(insula: Insula, tmp_path: Path) -> None:
    usual = tmp_path / "config" / "insula.toml"
    usual.parent.mkdir()
    usual.write_text("[node]\nnmae = 'b'\n")

    done = insula("serve")

    assert done.code == 78
    assert f"{usual}:2: " in done.err
