"""No two namespaces and keys meet, whatever they are called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cache.names import KEY_BYTES, fits, like, within

NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8
) | st.sampled_from(["1:a", "a", "a:b", "2:", "%", "*"])
PATHS = st.lists(NAMES, max_size=4)


def path(names: list[str]) -> str:
    space = ""
    for name in names:
        space = within(space, name)
    return space


@given(PATHS, PATHS)
@pytest.mark.requirement("T12.paths")
def test_a_path_begins_with_another_only_when_it_lies_within_it(
    one: list[str], other: list[str]
) -> None:
    assert path(one).startswith(path(other)) == (one[: len(other)] == other)


@given(NAMES, NAMES)
def test_a_key_that_is_escaped_fits_itself_alone(key: str, other: str) -> None:
    escaped = "".join(f"\\{each}" for each in key)

    assert fits(like(escaped), key)
    assert fits(like(escaped), other) == (key == other)


@pytest.mark.parametrize("name", ["", "x" * (KEY_BYTES + 1), "\0"])
def test_a_namespace_has_a_name(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
        within("", name)


def test_a_path_has_an_end() -> None:
    with pytest.raises(ValueError, match="at most 1024 bytes"):
        path(["x" * 300] * 4)
