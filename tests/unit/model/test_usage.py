"""The place at which a list of usage goes on, as text that anybody may send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.model.errors import InvalidRequest
from orchestrator.model.usage import cursor_behind, place_of

PLACES = st.tuples(
    st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True).map(lambda text: f"t{text}"),
    st.datetimes(timezones=st.just(UTC)),
)


@given(PLACES)
def test_a_cursor_leads_to_the_place_that_it_was_made_of(place: tuple[str, datetime]) -> None:
    assert place_of(cursor_behind(*place)) == place


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "on", "acme", "acme 2026-01-31", "acme 2026-01-31T00:00:00"),
        *("acme 0001-01-01T00:00:00+00:01", "acme 9999-12-31T23:59:59-00:01"),
        *("\0 2026-01-31T00:00:00Z", "Acme 2026-01-31T00:00:00Z", " 2026-01-31T00:00:00Z"),
    ],
)
def test_what_is_no_cursor_is_told_so_by_the_name_of_the_parameter(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="`cursor`") as refused:
        place_of(cursor)

    assert "page before" in refused.value.hint


@given(st.one_of(st.text(), PLACES.map(lambda place: f"{place[0]} {place[1]:%Y-%m-%d}T24+99:99")))
@example("acme 2026-01-31T00:00:00+23:59:59.999999")
def test_whatever_is_sent_leads_somewhere_or_is_refused(cursor: str) -> None:
    try:
        _, moment = place_of(cursor)
    except InvalidRequest:
        return
    assert moment.utcoffset() == timedelta(0)
