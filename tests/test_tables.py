"""Text in columns."""

from envpool_wrap.tables import table


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    lines = table(("env", "steps/s", "note"), [("noop", "1,744,521", ""), ("cartpole", "99", "x")])
    assert lines.splitlines() == [
        "env         steps/s  note",
        "noop      1,744,521",
        "cartpole         99  x",
    ]


def test_a_column_that_holds_a_word_is_no_column_of_numbers() -> None:
    assert table(("a",), [("12",), ("failed",)]).splitlines() == ["a", "12", "failed"]


def test_no_lines_leave_the_header() -> None:
    assert table(("a", "b"), []) == "a  b"
