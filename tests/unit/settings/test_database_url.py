"""Database URLs: what is wrong is said before anybody connects, and never with the password."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.model.errors import ConfigError
from orchestrator.settings.database_url import url_problems
from orchestrator.settings.load import load
from orchestrator.store.connect import Target


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///app",
        "postgresql://",
        "postgres://ann@db.example:5433/main?sslmode=require",
        "postgresql://ann:p%40ss%2Fw%25@db.example/main",
        "postgresql://a@one:5432,two:5433/main?target_session_attrs=read-write",
        "postgresql://a@[::1]:5432/main",
        "postgresql://a@/b?host=/run/my%20dir&port=5432",
        "postgresql://a@b/c?options=-c%20work_mem%3D8MB&sslpassword=x",
    ],
)
def test_a_url_that_the_driver_takes_has_no_problem(url: str) -> None:
    assert url_problems(url) == []
    assert Target.parse(url).database


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "is empty"),
        ("mysql://ann:Zqsh@db/app", "does not start with postgresql://"),
        ("postgresql+asyncpg://ann:Zqsh@db/app", "does not start with postgresql://"),
        ("postgresql:ann:Zqsh@db/app", "does not start with postgresql://"),
        ("postgresql://ann:Zq sh@db/app", "has a space"),
        ("postgresql://ann:Zqsh@db/app\npostgresql://x", "a line break"),
        ("postgresql://ann:Zq@sh@db/app", "has an @ too many"),
        ("postgresql://ann:Zq/sh@db/app", "a / or ? before it"),
        ("postgresql://ann:Zq?sh@db/app", "a / or ? before it"),
        ("postgresql://ann:Zq#sh@db/app", "has a #"),
        ("postgresql://ann:Zq:sh@db/app", "has a : too many"),
        ("postgresql://ann:Zqsh%@db/app", "write it as %25"),
        ("postgresql://ann:Zqsh%zz@db/app", "write it as %25"),
        ("postgresql://ann:Zqsh%ff@db/app", "are no UTF-8 text"),
        ("postgresql://ann:Zqsh%00@db/app", "has a NUL character in the user or password"),
        ("postgresql://ann:Zqsh@db:0/app", "needs ports from 1 to 65535"),
        ("postgresql://ann:Zqsh@db:65536/app", "needs ports from 1 to 65535"),
        ("postgresql://ann:Zqsh@db:/app", "needs ports from 1 to 65535"),
        ("postgresql://ann:Zqsh@db:5432x/app", "needs ports from 1 to 65535"),
        ("postgresql://ann:Zqsh", "needs ports from 1 to 65535, as numbers; in a password"),
        ("postgresql://ann:Zqsh@db:1:2/app", "has no host:port where one belongs"),
        ("postgresql://ann:Zqsh@db/app?sslmode=on", "has a wrong 'sslmode': it is one of disable"),
        ("postgresql://ann:Zqsh@db/app?sslrootcert=/no/such.crt", "'/no/such.crt' can not be read"),
        ("postgresql://ann:Zqsh@db/app?sslrootcert=root.crt", "is the absolute path of a file"),
        ("postgresql://ann:Zqsh@db/app?port=x", "has a wrong 'port'"),
        ("postgresql://ann:Zqsh@db/app?sslmod=require", "did you mean 'sslmode'?"),
        ("postgresql://ann:Zqsh@db/app?connect_timeout=3", "write database.connect_timeout"),
        ("postgresql://ann:Zqsh@db/app?sslmode", "is not OPTION=VALUE"),
        ("postgresql://ann:Zqsh@db/app?sslmode=", "'sslmode' without a value"),
        ("postgresql://ann@db/app?password=Zqsh&password=Zqsh", "has the option 'password' twice"),
    ],
)
def test_a_wrong_url_is_explained_without_its_password(url: str, problem: str) -> None:
    found = "; ".join(url_problems(url))

    assert problem in found
    assert "Zq" not in found
    with pytest.raises(ConfigError) as caught:
        Target.parse(url)
    assert problem in str(caught.value)


def problems_of(path: Path, text: str, **environ: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    return caught.value.problems


def test_a_wrong_url_has_the_line_of_the_file_wherever_it_comes_from(tmp_path: Path) -> None:
    config, secret = tmp_path / "insula.toml", tmp_path / "url"
    wrong = "postgresql://ann:Zqsh@db:99999/app?sslmode=on"
    secret.write_text(wrong + "\n")
    where = f"{config}:3: database.url: "
    sentence = "needs ports from 1 to 65535, as numbers"

    direct = problems_of(config, f'[database]\n\nurl = "{wrong}"')
    from_file = problems_of(config, '[database]\n\nurl = "file:url"')
    from_variable = problems_of(config, '[database]\n\nurl = "${DB}"', DB=wrong)
    from_environment = problems_of(config, "", INSULA_DATABASE_URL=wrong)

    assert direct == from_file == from_variable == [where + sentence]
    assert from_environment == [f"environment: INSULA_DATABASE_URL {sentence}"]
