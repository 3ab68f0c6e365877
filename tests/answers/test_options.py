"""Reading options: which one an answer gives, and when it gives none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_speceyes.answers.options import LETTERS, parted, read_option
from langgraph_speceyes.answers.words import unwrapped

INSTRUCTION = "Answer with the option's letter from the given choices directly."
COLOURS = ("red", "Brown", "light blue", "blue")
WORDS = (
    "red",
    "blue",
    "light blue",
    "dark light blue",
    "2",
    "2.5",
    "left",
    "to the left",
    "yes",
    "no",
    "Brown & Co",
    "x-ray",
)
OPTIONS = st.lists(st.sampled_from(WORDS), min_size=2, max_size=6, unique=True).map(tuple)


def read(text: str, options: tuple[str, ...] = COLOURS) -> str | None:
    return read_option(unwrapped(text), options)


@pytest.mark.parametrize(
    ("letter", "text"),
    [
        ("B", "B"),
        ("B", "(B)"),
        ("B", "b."),
        ("B", "**B**"),
        ("B", "“B”"),
        ("B", "B: Brown"),
        ("B", "B brown"),
        ("B", "b) brown"),
        ("C", "C — light blue"),
        ("B", "Answer: B"),
        ("B", "The answer is B."),
        ("B", "The answer is b."),
        ("B", "The answer is most likely B."),
        ("B", "The correct answer is option B."),
        ("B", "The correct letter is B."),
        ("B", "It is B because the hat has that colour."),
        ("B", "Therefore, B."),
        ("B", "I think B is right."),
        ("B", "The star is brown. (B)"),
        ("A", "A. The car by the wall."),
        ("A", "A is correct."),
        ("A", "The answer is A"),
        # by text
        ("D", "It is blue."),
        ("C", "light blue"),
        ("C", "The car is light-blue."),
        ("C", "The car is a LIGHT  blue one"),
        ("B", "The car is not red but brown."),
        # an article, not the letter
        ("B", "A brown car."),
        ("B", "Answer: A brown car"),
        ("B", "I see it now. A brown car, (B)."),
        # a letter that is only part of what is shown
        ("A", "The vitamin B bottle is red."),
        # other colours may be named beside the letter
        ("B", "B) The star is brown, the moon red."),
    ],
)
def test_what_is_read(letter: str, text: str) -> None:
    assert read(text) == letter


@pytest.mark.parametrize(
    "text",
    [
        "C. Brown",  # a name, with another option's letter
        "(B) red",
        "B. The car is red.",
        "The star is red. (B)",
        "B or C",
        "B, C",
        "B and C",
        "The answer is B, not C.",
        "(A) (B)",
        "Not (B).",
        "The answer is not B.",
        "The vitamin B bottle is green.",
        "The letter B is on the sign.",
        "The U.S.B. plug.",
        "A green car.",
        "a green car",
        "red or blue",
        "The car is not red.",
        "The car isn't the red one.",
        "A. red - no\nB. brown - yes",
        "E",
        "(E)",
        "reddish",
        "?",
    ],
)
def test_what_is_unclear_is_not_read(text: str) -> None:
    assert read(text) is None


def test_numbers_match_as_a_whole() -> None:
    options = ("2", "2.5", "-5", "5", "15")
    assert [read(t, options) for t in ("2", "There are 2.", "It is 2.5 m", "-5", "5", "15")] == list("AABCDE")
    assert read("25", options) is None
    assert read("12", options) is None


def test_options_that_are_letters_are_read_as_letters() -> None:
    options = ("C", "A", "D", "B")
    assert [read(t, options) for t in ("B", "(B) A", "A. C", "The answer is D.")] == list("BBAD")


def test_a_letter_in_an_options_text_is_not_an_answer() -> None:
    options = ("Vitamin C", "Vitamin B", "Vitamin D")
    assert read("It is vitamin C.", options) == "A"
    assert read("The label says vitamin C. (A)", options) == "A"
    assert read("The answer is vitamin C: A", options) == "A"
    assert read("The label says vitamin C. (C)", options) is None


def test_yes_and_no_as_options() -> None:
    options = ("no", "yes")
    right = ("No, there is no star. (A)", "The triangle not in view: no.", "(A) no", "Yes. (B)", "The star at e3: yes.")
    assert [read(t, options) for t in right] == list("AAABB")
    assert read("Yes, there is a star. (A)", options) is None


def test_options_with_the_same_text_need_the_letter() -> None:
    options = ("red", "red", "blue")
    assert read("red", options) is None
    assert read("the red one", options) is None
    assert read("(B) red", options) == "B"


def test_wrappers() -> None:
    assert unwrapped(r"so it is \boxed{\text{B}}.") == "B"
    assert unwrapped(r"\boxed{a{b}c} and more") == "a{b}c"
    assert unwrapped(r"\boxed{B") == "B"
    assert unwrapped("<think>A? no, <answer>C</answer></think> <answer> B </answer>") == "B"
    assert unwrapped("first A, <answer>B") == "B"
    assert unwrapped("<answer>\\boxed{B}</answer>") == "B"
    assert unwrapped("<answer>B</answer> or <answer>B</answer>") == "B"
    assert unwrapped(None) == unwrapped("  ") == unwrapped("<answer></answer>") == ""
    assert read("<answer>A</answer><answer>B</answer>") is None
    # what stands outside is reasoning
    assert read(r"A is wrong, C is too: \boxed{B}") == "B"


@given(OPTIONS, st.data())
@settings(deadline=None)
def test_two_letters_are_none_and_so_is_a_letter_beside_another_text(
    options: tuple[str, ...], data: st.DataObject
) -> None:
    one, two = data.draw(st.permutations(LETTERS[: len(options)]))[:2]
    other = options[LETTERS.index(two)]
    letters = (f"{one} or {two}", f"{one}, {two}", f"({one}) ({two})", f"Answer: {one}. No, {two}.", f"{one}\n{two}")
    texts = (f"({one}) {other}", f"{one}. {other}", f"The thing is {other}. ({one})", f"The answer is {one}: {other}")
    form = data.draw(st.sampled_from(letters + texts))
    assert read(form, options) is None, form


@given(
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).filter(lambda t: "(" not in t),
    st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1), min_size=2, max_size=8).filter(
        lambda options: not any("(" in option for option in options)
    ),
    st.sampled_from(["\n", " ", "\n\n"]),
)
@settings(deadline=None)
def test_questions_and_options_are_parted(question: str, options: list[str], between: str) -> None:
    text = between.join([question, *(f"({one}) {option}" for one, option in zip("ABCDEFGH", options, strict=False))])
    assert parted(text) == (question, tuple(options))
    assert parted(f"{text}\n{INSTRUCTION}") == (question, tuple(options))
    assert parted(question) == (question, ())


def test_what_is_no_list_of_options() -> None:
    assert parted("Is (A) left of (C)?") == ("Is (A) left of (C)?", ())
    assert parted("What? (A) one (C) two (B) three") == ("What?", ("one (C) two", "three"))
    assert parted("f(A) and f(B)") == ("f(A) and f(B)", ())
