"""Durations and sizes as a file spells them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.settings.duration import Duration, dec_hook, enc_hook, parse_size

MILLISECONDS = st.integers(min_value=0, max_value=10**14)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("1.5h", 5400)],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert Duration.parse(text).total_seconds() == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "30 s", "s", "-1s", "1m1h", "1s1s", "1y", "PT30S", "٣s"]
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match='write "250ms", "30s", "1h30m" or "30d"'):
        Duration.parse(text)


def test_a_duration_too_long_to_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than any duration"):
        Duration.parse(f"{10**12}d")


@pytest.mark.parametrize("parse", [Duration.parse, parse_size])
@pytest.mark.parametrize("unit", ["", "s", "B"])
def test_a_number_without_end_is_refused_in_a_short_sentence(
    parse: Callable[[str], object], unit: str
) -> None:
    with pytest.raises(ValueError, match="write") as refused:
        parse("9" * 100_000 + unit)
    assert len(str(refused.value)) < 200


@given(MILLISECONDS)
def test_a_duration_is_spelled_so_that_it_reads_back(milliseconds: int) -> None:
    duration = Duration(milliseconds=milliseconds)

    assert Duration.parse(str(duration)) == duration


@given(MILLISECONDS)
def test_a_duration_survives_json(milliseconds: int) -> None:
    duration = Duration(milliseconds=milliseconds)
    encoded = msgspec.json.encode(duration, enc_hook=enc_hook)

    assert msgspec.json.decode(encoded, type=Duration, dec_hook=dec_hook) == timedelta(
        milliseconds=milliseconds
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("500kB", 500_000), ("1MiB", 1_048_576), ("1.5 KiB", 1536), ("2TB", 2 * 10**12)],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1", "MiB", "1 mib", "-1kB", "1KB"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match='write "500kB", "1MiB"'):
        parse_size(text)
