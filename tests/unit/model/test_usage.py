"""The place at which a list of usage goes on, as text that anybody may send."""

from __future__ import annotations

from datetime import UTC, timedelta
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.model.errors import InvalidRequest
from orchestrator.model.usage import Place, cursor_behind, place_of

SOME = UUID(int=1)
PLACES = st.tuples(
    st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True).map(lambda text: f"t{text}"),
    st.datetimes(timezones=st.just(UTC)),
    st.uuids(),
)


@given(PLACES)
def test_a_cursor_leads_to_the_place_that_it_was_made_of(place: Place) -> None:
    assert place_of(cursor_behind(place)) == place


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "on", "acme", f"acme 2026-01-31 {SOME}", f"acme 2026-01-31T00:00:00 {SOME}"),
        *("acme 2026-01-31T00:00:00Z", "acme 2026-01-31T00:00:00Z some", f"acme  {SOME}"),
        f"acme 0001-01-01T00:00:00+00:01 {SOME}",
        f"acme 9999-12-31T23:59:59-00:01 {SOME}",
        *(f"{tenant} 2026-01-31T00:00:00Z {SOME}" for tenant in ("\0", "Acme", "", "a b")),
    ],
)
def test_what_is_no_cursor_is_told_so_by_the_name_of_the_parameter(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="`cursor`") as refused:
        place_of(cursor)

    assert "page before" in refused.value.hint


@given(st.one_of(st.text(), st.text().map(lambda text: f"acme {text} {SOME}")))
@example(f"acme 2026-01-31T00:00:00+23:59:59.999999 {SOME}")
def test_whatever_is_sent_leads_somewhere_or_is_refused(cursor: str) -> None:
    try:
        _, moment, _ = place_of(cursor)
    except InvalidRequest:
        return
    assert moment.utcoffset() == timedelta(0)
