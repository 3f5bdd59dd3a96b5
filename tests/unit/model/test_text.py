"""Text from outside is one line, and never drives a terminal."""

from __future__ import annotations

import json
import re

import pytest

from orchestrator.model import text

ODD = "a\x1b[2J\x9b1m\u202eb\r\n\tc\x7f\ud800"


@pytest.mark.parametrize("bad", ["a\0", "a\n", "\n", "a\nb", "\x1b[2J", "\x7f", "\x9b1m"])
def test_a_control_character_is_a_problem(bad: str) -> None:
    assert text.line_problem(bad) == "has a control character"
    assert not re.search(text.LINE, bad)


@pytest.mark.parametrize("good", ["", "a b", "Zoë's «report» №1", "日本", "2013-01/a:b"])
def test_ordinary_text_is_none(good: str) -> None:
    assert text.line_problem(good) == ""
    assert re.search(text.LINE, good)


def test_shown_text_holds_nothing_that_a_terminal_obeys() -> None:
    assert text.one_line(ODD) == r"a\x1b[2J\x9b1m\u202eb\x0d  c\x7f\ud800"
    assert text.block(ODD) == "a\\x1b[2J\\x9b1m\\u202eb\\x0d\n\tc\\x7f\\ud800"


def test_json_means_the_same_after_its_escapes() -> None:
    written = text.in_json(json.dumps(ODD, ensure_ascii=False))

    assert json.loads(written) == ODD
    assert written.isascii()
