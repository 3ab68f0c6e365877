"""Whether two answers say the same: never wrongly so."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from langgraph_speceyes.answers.agreement import agree
from langgraph_speceyes.answers.options import LETTERS, parted
from langgraph_speceyes.answers.values import read_date, read_number
from langgraph_speceyes.answers.words import MOST_CHARACTERS
from langgraph_speceyes.bench.rules import free_form, multiple_choice, yes_no
from langgraph_speceyes.testbed.questions import SPLITS, Split, questions

OPEN, THERE, SIDE = "What is it?", "Is there a dog?", "Is the star to the left or to the right of the moon?"
LETTERED = "What colour is the car?\n(A) red\n(B) blue\n(C) light blue"
YES_NO = "Is there a dog?\n(A) yes\n(B) no"
MANY, SIGN, COLOUR = "How many cats are there?", "What does the sign say?", "Is the car red or blue?"


@pytest.mark.parametrize(
    ("question", "first", "second"),
    [
        (OPEN, "a stop sign", "Stop sign."),
        (OPEN, "**Red**", "red"),
        (OPEN, "“red”", "Red!"),
        (OPEN, "<answer>red</answer>", "red"),
        (OPEN, r"so it is \boxed{red}", "red"),
        (OPEN, "B", "(b)"),
        (OPEN, "It could be red or blue.", "It could be red or blue."),
        (LETTERED, "B", "blue"),
        (LETTERED, "The car is blue. (B)", "(B)"),
        (LETTERED, "The answer is C.", "It is light blue."),
        (YES_NO, "The dog not in view: no. (B)", "B"),
        (YES_NO, "Yes, there is a dog.", "A. yes"),
        (THERE, "yes", "Yes, there is a dog by the wall."),
        (THERE, "The dog at e3: yes.", "Yes"),
        (THERE, "No, there is no dog.", "The dog not in view: no."),
        (THERE + " Answer yes or no.", "No.", "No, I see no dog."),
        (SIDE, "The star at e3, the moon at a1: right.", "right"),
        (SIDE, "The star at e3, the moon at a1: right.", "The star at e4, the moon at a1: right."),
        (MANY, "two", "2"),
        (MANY, "2 cats", "Two cats."),
        (MANY, "1,000", "1000"),
        (MANY, "2.50 m", "2.5 m"),
        (MANY, "$5", "5 $"),
        (MANY, "5 %", "5 percent"),
        ("When?", "2024-02-13", "13 February 2024"),
        ("When?", "Feb. 13th, 2024", "13/02/2024"),
        ("When?", "2/13/2024", "13.2.2024"),
    ],
)
def test_what_says_the_same(question: str, first: str, second: str) -> None:
    for pair in ((first, second), (second, first)):
        found = agree(question, *pair)
        assert (found.agree, found.by) == (True, "rule"), found


@pytest.mark.parametrize(
    ("kind", "question", "first", "second"),
    [
        ("options", LETTERED, "B", "C"),
        ("options", LETTERED, "blue", "light blue"),
        ("options", LETTERED, "(A) red", "It is blue."),
        ("options", OPEN, "A", "(B)"),
        ("options", SIDE, "left", "The star at e3, the moon at a1: right."),
        ("yes_no", THERE, "yes", "No, there is none."),
        ("number", MANY, "2", "3"),
        ("number", MANY, "2", "2.5"),
        ("number", MANY, "-5", "5"),
        ("number", MANY, ".5", "5"),
        ("number", MANY, "two cats", "3 cats"),
        ("date", "When?", "2024-02-13", "14 February 2024"),
    ],
)
def test_what_plainly_differs(kind: str, question: str, first: str, second: str) -> None:
    found = agree(question, first, second)
    assert (found.agree, found.by, found.kind) == (False, "rule", kind)
    assert agree(question, second, first).agree is False


@pytest.mark.parametrize(
    ("question", "first", "second"),
    [
        # nothing to compare
        (OPEN, "", ""),
        (OPEN, "", "red"),
        (OPEN, "<answer></answer>", " "),
        # denials, hedges, contradictions
        (OPEN, "not red", "red"),
        (OPEN, "no, red", "no red"),
        (OPEN, "red?", "red"),
        (OPEN, "red...", "red"),
        (LETTERED, "not red", "red"),
        (LETTERED, "It is not: red", "red"),
        (LETTERED, "anything but red", "red"),
        (LETTERED, "probably B", "B"),
        (LETTERED, "red or blue", "red"),
        (LETTERED, "Near a red car is a bus.", "red"),
        (LETTERED, "A. It is blue.", "A"),
        (LETTERED, "<answer>A</answer><answer>B</answer>", "A"),
        (THERE, "no, yes", "yes"),
        (THERE, "yes and no", "yes"),
        (THERE, "No doubt there is.", "no"),
        (THERE, "no", "No problem, I see it."),
        (THERE, "Yes, but it is a toy.", "yes"),
        (THERE, "Yes, though not a dog.", "yes"),
        (THERE, "I am not sure: yes", "yes"),
        (THERE, "It is not: yes", "yes"),
        (YES_NO, "No doubt there is a dog", "B"),
        (YES_NO, "Yes, there is no dog", "A"),
        (SIDE, "not left", "left"),
        (SIDE, "The star left of it, the moon: right", "right"),
        (SIDE, "right of the left one", "right"),
        ("Is there a dog, and is it red?", "Yes", "Yes, blue"),
        ("Is there a dog? What colour?", "Yes, a red one", "Yes, a blue one"),
        # other things
        (OPEN, "left of", "right of"),
        (OPEN, "left lens: cracked", "right lens: cracked"),
        (OPEN, "Paris, France", "Paris"),
        (OPEN, "The star is blue.", "blue"),
        (OPEN, "Plan A", "Plan"),
        (OPEN, "few", "a few"),
        (OPEN, "C++", "C"),
        (OPEN, "C#", "C"),
        (OPEN, "Maße", "Masse"),
        (OPEN, "Maße", "masse"),
        # numbers and units
        (MANY, "3 cm", "3 m"),
        (MANY, "3 cm", "3"),
        (MANY, "3 mW", "3 MW"),
        (MANY, "5 Mb", "5 MB"),
        (MANY, "about 5", "5"),
        (MANY, "5+", "5"),
        (MANY, "~5", "5"),
        (MANY, "<5", "5"),
        (MANY, "5!", "5"),
        (MANY, "(5)", "5"),
        (MANY, "5'", '5"'),
        (MANY, "5-6", "5, 6"),
        (MANY, "10²", "102"),
        (MANY, "½", "1/2"),
        (MANY, "½", "12"),
        (MANY, "1.000", "1"),
        (MANY, "1.000", "1000"),
        (MANY, "1,5", "1.5"),
        (MANY, "007", "7"),
        (MANY, "3/4", "0.75"),
        (MANY, "5 %", "0.05"),
        (MANY, "$5", "€5"),
        (MANY, "$5", "5"),
        (MANY, "three or four", "three"),
        (MANY, "tennis", "10 nis"),
        (MANY, "11:30", "30"),
        (MANY, "11: 30", "12: 30"),
        (MANY, "1st", "1"),
        (COLOUR, "the left one: red", "Yes, the left one: red"),
        # as it is written
        (SIGN, "two", "2"),
        (SIGN, "1,000", "1000"),
        (SIGN, "2024-02-13", "13 February 2024"),
        ("What number is on the bus?", "2.50", "2.5"),
        # days that may be two
        ("When?", "1/2/2024", "2/1/2024"),
        ("When?", "1/2/2024", "2024-02-01"),
        ("When?", "13/2/24", "2024-02-13"),
        ("When?", "February 2024", "2024-02-01"),
        ("When?", "2024-02-31", "2024-03-02"),
    ],
)
def test_what_is_not_plainly_the_same_is_undecided(question: str, first: str, second: str) -> None:
    for pair in ((first, second), (second, first)):
        found = agree(question, *pair)
        assert (found.agree, found.by) == (None, "undecided"), found


def test_a_long_answer_is_the_same_only_if_it_is_equal() -> None:
    long = "The car by the wall on the far side of the street that runs behind all of the houses of the old town " * 2
    assert agree(OPEN, long, long.upper()).agree
    assert agree(LETTERED, f"{long} is red", "red").agree is None
    assert agree(THERE, f"Yes, {long}", "yes").agree is None


def test_there_is_nothing_to_compare_without_an_answer() -> None:
    assert agree(OPEN, None, None).agree is None
    assert agree(OPEN, None, "red").agree is None


VALUES = {
    OPEN: ["red", "blue", "a car", "2", "-2", "2.5", "not red", "left of it", "3 cm", "3 m", "vitamin A", "vitamin"],
    LETTERED: ["red", "blue", "light blue", "(A)", "(B)", "(C)", "green"],
    THERE: ["yes", "no"],
    YES_NO: ["yes", "no", "(A)", "(B)"],
    SIDE: ["left", "right", "above"],
    COLOUR: ["red", "blue", "green"],
    MANY: ["2", "3", "2 cats", "2.5", "twelve", "1,000", "1.000", "none"],
}
FORMS = [
    *("{}", "{}.", "{}!", "**{}**", "({})", '"{}"', "Answer: {}", "The answer is {}.", "<answer>{}</answer>", "The {}"),
    *("The star at e3: {}.", "It is {}", "It is not {}", "not {}", "No, {}", "Yes, {}", "{}, no", "{} or so", "{}?"),
    *(
        "maybe {}",
        "{} and red",
        "{} (B)",
        "A. {}",
        "There is no {}",
        "{}, not red",
        "red: {}",
        "{}: red",
        "\\boxed{{{}}}",
    ),
    *("<think>red</think>{}", "{}\nred", "{}, a blue one", "10{}", "{}²", "{} left", "the left one: {}", "-{}"),
]
QUESTION = st.sampled_from(list(VALUES))


@st.composite
def compared(draw: st.DrawFn) -> tuple[str, str, str]:
    question = draw(QUESTION)
    value = st.sampled_from(VALUES[question])
    one, two = (draw(st.sampled_from(FORMS)).format(draw(value)) for _ in range(2))
    if draw(st.booleans()):
        two = draw(st.sampled_from(FORMS)).format(one)
    return question, one, two


@given(compared())
@settings(max_examples=600)
def test_what_agrees_is_right_or_wrong_together(case: tuple[str, str, str]) -> None:
    """By the evaluation's own rules, whatever the right answer is; numbers and dates may be written in two ways."""
    question, first, second = case
    found = agree(question, first, second)
    assert found.agree == agree(question, second, first).agree
    if not found.agree or found.kind in ("number", "date"):
        return
    options = parted(question)[1]
    for letter in LETTERS[: len(options)]:
        assert multiple_choice(first, options, letter).right == multiple_choice(second, options, letter).right
    if options:
        return
    for gold in ("yes", "no"):
        assert yes_no(first, gold).right == yes_no(second, gold).right
    if found.kind != "yes_no":
        golds = set(VALUES[question])
        if found.kind == "text":
            golds |= {free_form(first, "x").read or "", free_form(second, "x").read or ""}
        for gold in golds:
            assert free_form(first, gold).right == free_form(second, gold).right, gold


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
@example("(A) (B) x", "A", "B")
def test_any_texts_can_be_compared(question: str, first: str, second: str) -> None:
    found = agree(question, first, second)
    assert found.agree == agree(question, second, first).agree
    assert (found.agree is None) == (found.by == "undecided") == (found.kind is None)


@given(
    st.decimals(-1000, 1000, places=2), st.decimals(-1000, 1000, places=2), st.sampled_from(["", " cm", "%", " cats"])
)
def test_numbers_are_the_same_if_they_are_equal(one: object, two: object, unit: str) -> None:
    found = agree(MANY, f"{one}{unit}", f"{two}{unit}.")
    assert found.agree in ((one == two), *([None] if f"{one}".startswith("-0") else []))
    assert agree(MANY, f"{one}{unit}", f"{two} in").agree is not True or unit == " in"


@given(st.dates(), st.dates())
def test_days_are_the_same_if_they_are_one(one: object, two: object) -> None:
    import datetime

    assert isinstance(one, datetime.date)
    assert isinstance(two, datetime.date)
    long = f"{two:%d} {two:%B} {two.year:04}"
    assert agree("When?", one.isoformat(), long).agree == (one == two)
    numeric = agree("When?", one.isoformat(), f"{two.day}/{two.month}/{two.year:04}").agree
    assert numeric == (None if two.day <= 12 and two.day != two.month else one == two)


def test_very_long_answers_are_compared() -> None:
    loops = ("A ", "not ", "**", "((", "it is: ", "1,000", "\\boxed{", "- ", "yes, ", "or ", "' ")
    for text in (loop * 20_000 for loop in loops):
        for question in (OPEN, LETTERED, THERE, SIDE, MANY, text):
            assert agree(question, text, text + "x").agree is not True


def test_what_is_no_number_and_no_day() -> None:
    assert [read_number(t) for t in ("", "-", ".", "cm", "$", "1 2", "1e3", "+5", "٣", "5 a b c")] == [None] * 10
    assert [read_date(t) for t in ("", "2024", "99/99/2024", "2024-13-01", "5 Foo 2024")] == [None] * 5


@pytest.mark.parametrize("split", SPLITS)
def test_the_embedded_pairs_answers_are_compared(split: Split) -> None:
    for question in questions(split, "calibration", 40):
        right = question.answer
        assert agree(question.text, right, right).agree
        for wrong in question.wrong:
            assert not agree(question.text, right, right.replace(question.key, wrong)).agree
            if question.letter:
                assert agree(question.text, right, wrong).agree is False
        if question.letter:
            assert agree(question.text, f"{right.rstrip('.')}. ({question.letter})", f"({question.letter})").agree
        elif question.family in ("existence", "relations"):
            assert agree(question.text, right, question.key).agree


def test_long_answers_are_the_same_only_where_they_are_written_alike() -> None:
    long = "word " * MOST_CHARACTERS
    assert agree("What is it?", long, long).agree is True
    assert agree("What is it?", long, f"a {long}").agree is None
    assert agree(f"What is it? {long}", "red", "Red").agree is None
    # a thought is not of the answer
    assert agree("What is it?", f"<think>{long}</think>red", "red").agree is True


def test_marks_beyond_reason_stay_in_their_order() -> None:
    one, other = "e\u0301\u0316" * 40, "e\u0316\u0301" * 40
    assert agree("What is it?", one, other).agree is True
    many, turned = "e" + "\u0301\u0316" * 40, "e" + "\u0316\u0301" * 40
    assert agree("What is it?", many, many + " ").agree is True
    assert agree("What is it?", many, turned + "\u0301").agree is None
