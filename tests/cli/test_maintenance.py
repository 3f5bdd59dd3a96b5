"""`insula tenant maintain`."""

from __future__ import annotations

from tests.cli.conftest import Insula
from tests.http.platform import HandMadePlatform


def test_all_tables_are_cared_for_and_told_as_they_are_done(insula: Insula) -> None:
    done = insula("tenant", "maintain", "acme-corp")

    assert (done.code, done.err) == (0, "")
    assert [line.split() for line in done.out.splitlines()] == [
        ["table", "vacuumed", "time", "size", "indexes", "checked"],
        *(
            [table, "yes", "0.1", "s", "8.0", "KiB", "no", "amcheck"]
            for table in ("boarding", "flight", "seat")
        ),
    ]


def test_a_corrupt_index_is_a_failure_that_is_told(
    insula: Insula, platform: HandMadePlatform
) -> None:
    platform.add("worn")

    done = insula("tenant", "maintain", "worn", "--json")

    assert done.code == 1
    assert [table["name"] for table in done.json["tables"]] == ["boarding", "flight", "seat"]
    assert insula("tenant", "maintain", "worn").err.endswith(
        "seat: corrupt: seat_pkey: item order invariant violated\n"
    )
