"""Readers of published benchmark files, on files in exactly their layouts."""

from __future__ import annotations

import base64
import csv
import gc
import hashlib
import io
import json
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from langgraph_speceyes.bench.datasets import (
    NAMES,
    BadRow,
    Item,
    embedded,
    hrbench,
    open_benchmark,
    own,
    pope,
    vstar,
)
from langgraph_speceyes.bench.datasets.rows import Images, Row
from langgraph_speceyes.bench.datasets.tsv import Tsv
from langgraph_speceyes.bench.rules import score, shuffled
from langgraph_speceyes.errors import ArgumentError, ImageError, MissingExtraError
from langgraph_speceyes.images import load_image
from langgraph_speceyes.testbed.files import write_vstar
from langgraph_speceyes.testbed.questions import questions

INSTRUCTION = "Answer with the option's letter from the given choices directly."


def encoded(colour: int = 0, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    # large enough that its base64 is not taken for the index of another row
    Image.new("RGB", (40, 30), (colour, 255 - colour, 9)).save(buffer, format)
    return buffer.getvalue()


def base64_of(colour: int = 0) -> str:
    return base64.b64encode(encoded(colour)).decode()


def picture(path: Path, colour: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(colour, "JPEG" if path.suffix == ".jpg" else "PNG"))
    return path


def lines(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(rows: Iterator[Item | BadRow]) -> list[Item]:
    found = list(rows)
    assert all(isinstance(one, Item) for one in found)
    return found  # type: ignore[return-value]


def refused(rows: Callable[[], Iterator[Item | BadRow]], *texts: str) -> ArgumentError:
    """The reader's error, which must name all of that."""
    with pytest.raises(ArgumentError) as caught:
        list(rows())
    for text in texts:
        assert text in str(caught.value)
    return caught.value


# ----------------------------------------------------------------------------------------------------------------------
# V*


def vstar_question(
    folder: Path, name: str, split: str = "direct_attributes", suffix: str = ".jpg", **more: Any
) -> Path:
    picture(folder / split / f"{name}{suffix}")
    facts = {
        "target_object": ["glove"],
        "bbox": [[1055, 1002, 40, 40]],
        "question": "What is the material of the glove?",
        "options": [
            "The material of the glove is rubber.",
            "The material of the glove is cotton.",
            "The material of the glove is kevlar.",
            "The material of the glove is leather.",
        ],
    } | more
    path = folder / split / f"{name}.json"
    path.write_text(json.dumps({k: v for k, v in facts.items() if v is not None}))
    return path


@pytest.fixture
def vstar_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "vstar_bench"
    vstar_question(folder, "sa_4690")
    vstar_question(folder, "sa_10033", suffix=".PNG")
    for other in (".DS_Store", "._sa_4690.jpg", "notes.txt"):
        (folder / "direct_attributes" / other).write_bytes(b"x")
    options = ["The dog is left of the cat.", "The dog is right of the cat."]
    vstar_question(folder, "sa_7", "relative_position", question="Is the dog left of the cat?", options=options)
    # the published repository has these too, in other forms
    vstar_question(folder, "0", "GPT4V-hard", options=None)
    return folder


def test_vstar_folders(vstar_folder: Path) -> None:
    items = read(vstar(vstar_folder))
    assert [(i.id, i.split) for i in items] == [
        ("direct_attributes/sa_10033", "direct_attributes"),
        ("direct_attributes/sa_4690", "direct_attributes"),
        ("relative_position/sa_7", "relative_position"),
    ]
    first, _, last = items
    assert first.question == "What is the material of the glove?"
    assert (first.letter, first.answer, len(first.options)) == ("A", "The material of the glove is rubber.", 4)
    assert first.text.splitlines()[:2] == [first.question, "(A) The material of the glove is rubber."]
    assert first.image.source == str(vstar_folder / "direct_attributes" / "sa_10033.PNG")
    assert load_image(last.image).size == (40, 30)
    assert last.options == ("The dog is left of the cat.", "The dog is right of the cat.")
    assert len({shuffled(first, seed).letter for seed in range(20)}) == 4
    assert [i.id for i in read(vstar(vstar_folder, splits=["relative_position"]))] == ["relative_position/sa_7"]


def test_vstar_reads_what_the_testbed_writes(tmp_path: Path) -> None:
    asked = questions("attributes", "calibration", 2) + questions("relations", "calibration", 1)
    list(write_vstar(asked, tmp_path))
    items = read(open_benchmark(tmp_path))
    assert [i.answer for i in items] == [q.key for q in asked]
    assert [i.question for i in items] == [q.stem for q in asked]


@pytest.mark.parametrize(
    ("more", "texts"),
    [
        ({"question": None}, ("question: expected text, found nothing",)),
        ({"question": " "}, ("question: expected text, found empty text",)),
        ({"question": 3.5, "options": None}, ("options: expected a list of texts, found nothing",)),
        ({"options": "a, b"}, ("options: expected a list of texts, found str",)),
        ({"options": ["a", ""]}, ("options: expected a list of texts",)),
        ({"options": ["a"]}, ("options: expected 2 to 26 options, found 1",)),
        ({"options": [str(k) for k in range(27)]}, ("options: expected 2 to 26 options, found 27",)),
    ],
)
def test_bad_vstar_questions(vstar_folder: Path, more: dict[str, Any], texts: tuple[str, ...]) -> None:
    file = vstar_question(vstar_folder, "sa_4690", **more)
    refused(lambda: vstar(vstar_folder), *texts, f"in {file}")
    found = list(vstar(vstar_folder, skip_bad=True))
    assert [type(one) for one in found] == [Item, BadRow, Item]
    bad = found[1]
    assert isinstance(bad, BadRow)
    assert (bad.file, bad.row, bad.id, bad.split) == (file, "", "direct_attributes/sa_4690", "direct_attributes")
    assert bad.reason.startswith(texts[0])


def test_vstar_images_and_their_json_come_in_pairs(vstar_folder: Path) -> None:
    folder = vstar_folder / "direct_attributes"
    (folder / "sa_4690.json").rename(folder / "alone.json")
    picture(folder / "sa_10033.jpg")
    (folder / "broken.json").write_text("{")
    picture(folder / "broken.jpg")
    (folder / "list.json").write_text("[]")
    picture(folder / "list.jpg")
    found = [one for one in vstar(vstar_folder, skip_bad=True) if isinstance(one, BadRow)]
    assert {bad.file.name: bad.reason.partition(" (")[0] for bad in found} == {
        "alone.json": "image: expected one image of the same name, found none",
        "broken.json": "path: expected a JSON object, found other text",
        "list.json": "path: expected a JSON object, found a JSON list",
        "sa_10033.json": "image: expected one image of the same name, found sa_10033.PNG, sa_10033.jpg",
        "sa_4690.json": "path: expected the question to an image, found none",
    }


def test_a_vstar_folder_that_lacks_something(vstar_folder: Path, tmp_path: Path) -> None:
    refused(lambda: vstar(vstar_folder, splits=["relative_position", "OCR"]), "a folder OCR", str(vstar_folder))
    (vstar_folder / "OCR").mkdir()
    refused(lambda: vstar(vstar_folder, splits=["OCR"]), "at least one question", str(vstar_folder / "OCR"))
    refused(lambda: vstar(tmp_path / "gone"), "nothing at", "gone")
    (tmp_path / "empty").mkdir()
    refused(lambda: vstar(tmp_path / "empty"), "test_questions.jsonl", "none in")


def vstar_line(number: int, **more: Any) -> dict[str, Any]:
    text = f"What is the material of the glove?\n(A) rubber\n(B) cotton (white)\n(C) kevlar\n(D) leather\n{INSTRUCTION}"
    row = {"image": "direct_attributes/sa_1.jpg", "text": text, "category": "direct_attributes", "label": "B"}
    return row | {"question_id": str(number)} | more


@pytest.fixture
def vstar_jsonl(tmp_path: Path) -> Path:
    picture(tmp_path / "hf" / "direct_attributes" / "sa_1.jpg")
    rows = [vstar_line(0), vstar_line(1, category="relative_position", label="d"), "", vstar_line(2, category="OCR")]
    return lines(tmp_path / "hf" / "test_questions.jsonl", rows)


def test_vstar_questions_of_the_hub(vstar_jsonl: Path) -> None:
    first, second = read(vstar(vstar_jsonl))
    assert first == Item(
        "0",
        "direct_attributes",
        "What is the material of the glove?",
        ("rubber", "cotton (white)", "kevlar", "leather"),
        "cotton (white)",
        first.image,
        letter="B",
    )
    assert first.image.source == str(vstar_jsonl.parent / "direct_attributes" / "sa_1.jpg")
    assert (second.letter, second.answer, second.split) == ("D", "leather", "relative_position")
    assert INSTRUCTION not in second.text


def test_a_folder_with_only_the_questions_of_the_hub(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.jpg")
    lines(tmp_path / "test_questions.jsonl", [vstar_line(3, image="images/a.jpg")])
    assert [i.id for i in read(vstar(tmp_path))] == [i.id for i in read(open_benchmark(tmp_path))] == ["3"]


@pytest.mark.parametrize(
    ("row", "texts", "id"),
    [
        ('{"image": ', ("path: expected a JSON object",), None),
        ("[1]", ("found a JSON list",), None),
        (vstar_line(9, label="E"), ("label: expected the letter of an option, A to D, found 'E'",), "9"),
        (vstar_line(9, label="AB"), ("label: expected the letter of an option, A to D, found 'AB'",), "9"),
        (vstar_line(9, text="What?"), ("options: expected 2 to 26 options, found 0",), "9"),
        (vstar_line(9, text="What? (A) a (B)"), ("text: expected a text for every option, found an empty",), "9"),
        (vstar_line(9, label=None), ("label: expected text, found nothing",), "9"),
        (vstar_line(0), ("id: expected an id of its own in every row, found '0' a second time",), "0"),
        (vstar_line(9, image="no.jpg"), ("image: expected an image file", "no.jpg (No such file"), "9"),
        (vstar_line(9, image="broken.jpg"), ("image: expected an image (PNG", "broken.jpg"), "9"),
        (vstar_line(9, image=None), ("image: expected an encoded image, found nothing",), "9"),
        (
            {k: v for k, v in vstar_line(9).items() if k != "category"},
            ("category: expected text, found nothing",),
            None,
        ),
    ],
)
def test_bad_vstar_lines(vstar_jsonl: Path, row: Any, texts: tuple[str, ...], id: str | None) -> None:
    (vstar_jsonl.parent / "broken.jpg").write_bytes(b"no image")
    lines(vstar_jsonl, [vstar_line(0), "", row, vstar_line(1)])
    refused(lambda: vstar(vstar_jsonl), *texts, f"in {vstar_jsonl}, line 3")
    first, bad, last = vstar(vstar_jsonl, skip_bad=True)
    assert isinstance(first, Item)
    assert isinstance(last, Item)
    assert isinstance(bad, BadRow)
    assert (bad.file, bad.row, bad.id) == (vstar_jsonl, "line 3", id)
    assert all(text in bad.reason for text in texts)


def test_truncated_images_are_found(vstar_jsonl: Path) -> None:
    image = vstar_jsonl.parent / "direct_attributes" / "sa_1.jpg"
    image.write_bytes(encoded()[:-40])
    error = refused(lambda: vstar(vstar_jsonl), "a complete image", "truncated", "line 1")
    assert isinstance(error, ImageError)


# ----------------------------------------------------------------------------------------------------------------------
# HR-Bench

HR_COLUMNS = ["index", "question", "A", "B", "C", "D", "answer", "category", "cycle_category", "image"]


def hr_rows(count: int = 2, first: int = 0) -> list[dict[str, Any]]:
    """`count` questions, each in its four rotations."""
    options = ["27B", 'the "red" one', "27D", "27\tE"]
    rows = []
    for question in range(first, first + count):
        for cycle in range(4):
            texts = options[-cycle:] + options[:-cycle] if cycle else options
            row = {
                "index": 4 * question + cycle,
                "question": "What is the number on the house?",
                "answer": "ABCD"[cycle],
            }
            row |= dict(zip("ABCD", texts, strict=True))
            row |= {"category": ["single", "cross"][question % 2], "cycle_category": cycle}
            rows.append(row | {"image": base64_of(question)})
    return rows


def tsv(path: Path, rows: list[dict[str, Any]], columns: list[str] = HR_COLUMNS) -> Path:
    """As pandas writes it: quotes where needed, doubled inside."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n", extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    return path


def test_hrbench(tmp_path: Path) -> None:
    items = read(hrbench(tsv(tmp_path / "hr_bench_4k.tsv", hr_rows())))
    assert [i.id for i in items] == [str(k) for k in range(8)]
    assert [i.split for i in items] == ["single"] * 4 + ["cross"] * 4
    assert items[0].options == ("27B", 'the "red" one', "27D", "27\tE")
    assert items[1].options == ("27\tE", "27B", 'the "red" one', "27D")
    assert [i.letter for i in items] == list("ABCD") * 2
    assert {i.answer for i in items} == {"27B"}
    # the second question has the same words and another image
    assert len({i.group for i in items[:4]}) == len({i.group for i in items[4:]}) == 1
    assert items[0].group != items[4].group
    assert items[0].image.inline_bytes() == encoded(0)
    assert items[4].image.mime_type == "image/png"
    assert load_image(items[4].image).getpixel((0, 0)) == (1, 254, 9)


def test_hrbench_groups_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = hr_rows(2)
    mixed = rows[::2] + rows[1::2]
    one = {i.id: i.group for i in read(hrbench(tsv(tmp_path / "a.tsv", rows)))}
    assert one == {i.id: i.group for i in read(hrbench(tsv(tmp_path / "b.tsv", mixed)))}


@pytest.mark.parametrize("holder", [0, 3])
def test_an_image_may_be_the_index_of_the_row_that_has_it(tmp_path: Path, holder: int) -> None:
    rows = hr_rows(2, first=100)
    for question in (0, 1):
        for cycle in range(4):
            if cycle != holder:
                rows[4 * question + cycle]["image"] = str(400 + 4 * question + holder)
    items = read(hrbench(tsv(tmp_path / "a.tsv", rows)))
    assert [i.id for i in items] == [str(k) for k in range(400, 408)]
    assert [i.image.inline_bytes() for i in items] == [encoded(100)] * 4 + [encoded(101)] * 4
    assert len({i.group for i in items}) == 2


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("99", "image: expected an encoded image, or the index of the row that has it, found '99'"),
        ("3", "image: expected the index of a row that holds an image, found '3', which holds none"),
        ("7", "image: expected the index of a row that holds an image, found '7', which holds none"),
        ("", "image: expected an encoded image, found nothing"),
        ("!" * 80, "image: expected base64 image data"),
        (base64.b64encode(b"no image" * 20).decode(), "image: expected an image (PNG"),
        (base64_of()[:80], "image: expected a complete image"),
    ],
)
def test_bad_hrbench_images(tmp_path: Path, image: str, text: str) -> None:
    rows = hr_rows(2)
    rows[3]["image"] = image
    rows[7]["image"] = "3"
    file = tsv(tmp_path / "a.tsv", rows)
    error = refused(lambda: hrbench(file), text, f"in {file}, line 5")
    assert len(str(error)) < 600
    found = list(hrbench(file, skip_bad=True))
    bad = [one for one in found if isinstance(one, BadRow)]
    assert [(b.row, b.id) for b in bad] == [("line 5", "3"), ("line 9", "7")]
    assert text in bad[0].reason
    assert [one.id for one in found] == [str(k) for k in range(8)]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"answer": "E"}, "answer: expected the letter of an option, A to D, found 'E'"),
        ({"D": "", "answer": "D"}, "answer: expected the letter of an option, A to C, found 'D'"),
        ({"answer": ""}, "answer: expected text, found empty text"),
        ({"B": ""}, "B: expected a text for every option up to the last one, found empty text"),
        ({"B": "", "C": "", "D": ""}, "options: expected 2 to 26 options, found 1"),
        ({"question": ""}, "question: expected text"),
        ({"category": ""}, "category: expected text"),
        ({"index": ""}, "index: expected text"),
        ({"index": 0}, "id: expected an id of its own in every row, found '0' a second time"),
    ],
)
def test_bad_hrbench_rows(tmp_path: Path, more: dict[str, Any], text: str) -> None:
    rows = hr_rows()
    # a cell with a line break: what is named is the line, not the row
    rows[0]["question"] = "What\nis it?"
    rows[2] |= more
    file = tsv(tmp_path / "a.tsv", rows)
    refused(lambda: hrbench(file), text, f"in {file}, line 5")
    found = list(hrbench(file, skip_bad=True))
    assert [isinstance(one, BadRow) for one in found] == [k == 2 for k in range(8)]
    assert found[0].question == "What\nis it?"  # type: ignore[union-attr]


def test_hrbench_rows_that_do_not_fit_the_header(tmp_path: Path) -> None:
    file = tsv(tmp_path / "a.tsv", hr_rows(1))
    content = file.read_bytes().splitlines()
    content[2] = content[2].rpartition(b"\t")[0]
    content[3] = content[3].replace(b"house", b"h\xffuse")
    content.insert(4, b"")
    file.write_bytes(b"\r\n".join([b"\xef\xbb\xbf" + content[0], *content[1:]]))
    first, short, odd, last = hrbench(file, skip_bad=True)
    assert isinstance(first, Item)
    assert isinstance(last, Item)
    assert isinstance(short, BadRow)
    assert isinstance(odd, BadRow)
    assert (first.id, last.id, last.image.inline_bytes()) == ("0", "3", encoded(0))
    assert (short.row, short.reason) == ("line 3", "path: expected 10 cells, as in the header, found 9")
    assert (odd.row, odd.reason) == ("line 4", "path: expected UTF-8 text, found other bytes (invalid start byte)")


def test_a_stray_quote_does_not_swallow_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langgraph_speceyes.bench.datasets.tsv.LONGEST_QUOTE", 100)
    file = tsv(tmp_path / "a.tsv", [row | dict.fromkeys("ABCD", "x") for row in hr_rows(1)])
    content = file.read_bytes().splitlines()
    content[1] = content[1].replace(b"What is", b'"What is')
    content[-1] = content[-1].replace(b"What is", b'"What is')
    file.write_bytes(b"\n".join(content))
    found = list(hrbench(file, skip_bad=True))
    assert [one.row if isinstance(one, BadRow) else one.id for one in found] == ["line 2", "1", "2", "line 5"]
    assert "a quote that closes" in found[0].reason  # type: ignore[union-attr]
    # the same at the end of the file, before any limit
    monkeypatch.setattr("langgraph_speceyes.bench.datasets.tsv.LONGEST_QUOTE", 1 << 20)
    file.write_bytes(b"\n".join(content[:1] + content[4:]))
    (only,) = hrbench(file, skip_bad=True)
    assert isinstance(only, BadRow)
    assert (only.row, only.reason) == ("line 2", "path: expected a quote that closes, found the end of the file")


CELL = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda text: bool(text.strip())
)


@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=4))
@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_what_csv_writes_is_read(tmp_path: Path, texts: list[tuple[str, str, str]]) -> None:
    rows = hr_rows(1)[: len(texts)]
    for row, (question, a, b) in zip(rows, texts, strict=False):
        row |= {"question": question, "A": a, "B": b}
    items = read(hrbench(tsv(tmp_path / "a.tsv", rows)))
    assert [(i.question, *i.options[:2]) for i in items] == [tuple(t.strip() for t in row) for row in texts[:4]]


def test_the_file_that_vlmevalkit_makes_of_it(tmp_path: Path) -> None:
    rows = hr_rows()
    for row in rows:
        row["image_path"] = f"images/HRBench4K/{row['index']}.jpg"
        picture(tmp_path / row["image_path"], row["index"] // 4)
    file = tsv(tmp_path / "hr_bench_4k_local.tsv", rows, [*HR_COLUMNS[:-1], "image_path"])
    items = read(hrbench(file))
    assert items[5].image.source == str(tmp_path / "images/HRBench4K/5.jpg")
    assert [len({i.group for i in part}) for part in (items[:4], items[4:], items)] == [1, 1, 2]


@pytest.mark.parametrize("column", ["index", "question", "A", "D", "answer", "category", "image"])
def test_hrbench_columns(tmp_path: Path, column: str) -> None:
    file = tsv(tmp_path / "a.tsv", hr_rows(), [c for c in HR_COLUMNS if c != column])
    refused(lambda: hrbench(file), f"a column '{column}' in {file}")
    # no row of it can be read: there is nothing to go on with
    refused(lambda: hrbench(file, skip_bad=True), f"a column '{column}' in {file}")


@pytest.mark.parametrize("content", ["", "\t".join(HR_COLUMNS) + "\n", "\t".join(HR_COLUMNS) + "\n\n\n"])
def test_an_empty_hrbench_file(tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.tsv"
    file.write_text(content)
    refused(lambda: hrbench(file, skip_bad=True), "at least one question", str(file))
    refused(lambda: hrbench(tmp_path), "an HR-Bench file", str(tmp_path))


def noise(number: int) -> bytes:
    """A bitmap of 3.75 MB that no compression makes smaller."""
    size = (1250, 1000)
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "BMP")
    data = bytearray(buffer.getvalue())
    data[-8:] = number.to_bytes(8, "little")
    return bytes(data)


def test_a_large_hrbench_file_is_streamed(tmp_path: Path) -> None:
    file = tmp_path / "hr_bench_4k.tsv"
    rows = hr_rows(8)
    with file.open("w") as table:
        table.write("\t".join(HR_COLUMNS) + "\n")
        for row in rows:
            image = base64.b64encode(noise(row["index"])).decode() if row["index"] % 4 < 3 else str(row["index"] - 3)
            cells = ["a b" if c in "ABCD" else str(row[c]) for c in HR_COLUMNS[:-1]]
            table.write("\t".join([*cells, image]) + "\n")
    assert file.stat().st_size > 24 * 5_000_000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        groups = []
        for item in hrbench(file):
            assert isinstance(item, Item)
            assert len(item.image.source) > 4_900_000
            groups.append(item.group)
        # one row of 5 MB in its few forms (line, cells, text, reference), and the one the caller still has
        assert tracemalloc.get_traced_memory()[1] - before < 45_000_000
    finally:
        tracemalloc.stop()
    assert len(groups) == 32
    assert groups[3] == groups[0] != groups[1]


@pytest.mark.parametrize("kind", ["hrbench", "vstar", "pope"])
def test_an_image_is_held_by_its_item_only(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows_alive() -> int:
        gc.collect()
        return sum(type(one) is Row for one in gc.get_objects())

    before = rows_alive()
    if kind == "hrbench":
        rows = hrbench(tsv(tmp_path / "a.tsv", hr_rows()))
    else:
        pytest.importorskip("pyarrow", reason="only parquet files of this benchmark hold images")
        rows = {"vstar": vstar, "pope": pope}[kind](parquets(tmp_path)[kind])
    item = next(rows)
    assert isinstance(item, Item)
    assert rows_alive() == before
    last = weakref.ref(item.image)
    del item
    alive = []
    check = Images.check
    monkeypatch.setattr(Images, "check", lambda self, ref: alive.append(last()) or check(self, ref))
    assert isinstance(next(rows), Item)
    # when the next one was read, the last one was gone
    assert alive == [None]


def test_a_file_is_searched_once_for_indices_it_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row | {"image": "99"} for row in hr_rows(10)]
    file = tsv(tmp_path / "a.tsv", rows)
    reads = []
    record = Tsv._record
    monkeypatch.setattr(Tsv, "_record", lambda self: reads.append(1) or record(self))
    assert len(list(hrbench(file, skip_bad=True))) == 40
    assert len(reads) < 4 * 40


# ----------------------------------------------------------------------------------------------------------------------
# POPE

COCO = "COCO_val2014_000000310196.jpg"


def pope_line(number: int, **more: Any) -> dict[str, Any]:
    return {"question_id": number, "image": COCO, "text": "Is there a snowboard in the image?", "label": "yes"} | more


@pytest.fixture
def pope_folder(tmp_path: Path) -> Path:
    picture(tmp_path / "val2014" / COCO)
    for split in ("adversarial", "popular", "random"):
        lines(tmp_path / "coco" / f"coco_pope_{split}.json", [pope_line(1), pope_line(2, label="No")])
    return tmp_path


def test_popes_own_files(pope_folder: Path) -> None:
    items = read(pope(pope_folder / "coco", images=pope_folder / "val2014"))
    # every file counts from 1
    ids = [f"{split}/{k}" for split in ("adversarial", "popular", "random") for k in (1, 2)]
    assert [i.id for i in items] == ids
    assert [i.answer for i in items] == ["yes", "no"] * 3
    assert {i.split for i in items} == {"adversarial", "popular", "random"}
    assert items[0].text == "Is there a snowboard in the image?"
    assert (items[0].options, items[0].letter, items[0].group) == ((), "", "")
    assert items[0].image.source == str(pope_folder / "val2014" / COCO)
    (one, _) = read(pope(pope_folder / "coco" / "coco_pope_random.json", images=pope_folder / "val2014"))
    assert one.id == "random/1"


@pytest.mark.parametrize(
    ("row", "text", "id"),
    [
        (pope_line(3, label="maybe"), "label: expected yes or no, found 'maybe'", None),
        ({"question_id": 3, "image": COCO, "text": "?"}, "label: expected text, found nothing", None),
        (pope_line(1), "id: expected an id of its own in every row, found 'random/1' a second time", "random/1"),
        (pope_line(3, image="COCO_val2014_000000000001.jpg"), "image: expected an image file", "random/3"),
        (pope_line(3, text=7), "", "random/3"),
        (pope_line(True), "question_id: expected text, found bool", None),
    ],
)
def test_bad_pope_lines(pope_folder: Path, row: Any, text: str, id: str | None) -> None:
    file = lines(pope_folder / "coco" / "coco_pope_random.json", [pope_line(1), row, pope_line(9)])
    images = pope_folder / "val2014"
    _, bad, last = pope(file, images=images, skip_bad=True)
    assert last.id == "random/9"
    if not text:
        assert isinstance(bad, Item)
        return
    refused(lambda: pope(file, images=images), text, f"in {file}, line 2")
    assert isinstance(bad, BadRow)
    assert (bad.row, bad.id, bad.split) == ("line 2", id, "random")
    assert text in bad.reason


def test_the_images_that_popes_own_files_name_are_found_near_them(pope_folder: Path) -> None:
    given = read(pope(pope_folder / "coco", images=pope_folder / "val2014"))
    assert read(pope(pope_folder / "coco")) == given
    assert read(pope(pope_folder / "coco" / "coco_pope_random.json")) == given[4:]


def test_what_pope_needs(pope_folder: Path) -> None:
    file = pope_folder / "coco" / "coco_pope_random.json"
    (pope_folder / "val2014").rename(pope_folder / "images")
    assert refused(lambda: pope(file), "the folder of the COCO images", str(file)).argument == "images"
    (pope_folder / "images").rename(pope_folder / "val2014")
    refused(lambda: pope(file, images=pope_folder / "gone"), "no folder at", "gone")
    refused(lambda: pope(pope_folder / "val2014"), "parquet files or POPE's JSON files")
    file.write_text("\n\n")
    refused(lambda: pope(file, images=pope_folder / "val2014"), "at least one question", str(file))


# ----------------------------------------------------------------------------------------------------------------------
# Parquet: needs pyarrow


def parquets(folder: Path) -> dict[str, Path]:
    """One file of each benchmark, with row groups of two rows."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    image = [{"bytes": encoded(k), "path": f"{k}.png"} for k in range(5)]
    pope_rows = [
        {"id": str(k), "question_id": str(k + 1), "question": "Is there a dog?", "answer": ["yes", "no"][k % 2]}
        | {"image_source": COCO[:-4], "image": image[k], "category": ["adversarial", "random"][k // 3]}
        for k in range(5)
    ]
    vstar_rows = [{k: v for k, v in vstar_line(k).items() if k != "image"} | {"image": image[k]} for k in range(5)]
    found = {}
    for name, rows in (("pope", pope_rows), ("vstar", vstar_rows), ("hrbench", hr_rows(1))):
        found[name] = folder / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), found[name], row_group_size=2)
    return found


def rewritten(file: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = pq.read_table(file).to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=2)
    return file


def test_parquet_files(tmp_path: Path) -> None:
    files = parquets(tmp_path)
    items = read(pope(files["pope"]))
    assert [i.id for i in items] == [*(f"adversarial/{k}" for k in (1, 2, 3)), "random/4", "random/5"]
    assert [i.answer for i in items] == ["yes", "no", "yes", "no", "yes"]
    assert [i.image.inline_bytes() for i in items] == [encoded(k) for k in range(5)]
    items = read(vstar(files["vstar"]))
    assert [(i.id, i.answer) for i in items] == [(str(k), "cotton (white)") for k in range(5)]
    assert items[4].image.inline_bytes() == encoded(4)
    assert [i.letter for i in read(hrbench(files["hrbench"]))] == list("ABCD")
    for name, file in files.items():
        assert read(open_benchmark(file)) == read(open_benchmark(name, file))


def test_the_hubs_folder_holds_popes_questions_twice(tmp_path: Path) -> None:
    file = parquets(tmp_path)["pope"]
    for place in ("Full/adversarial-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"):
        target = tmp_path / "POPE" / place
        target.parent.mkdir(parents=True)
        target.write_bytes(file.read_bytes())
    assert len(read(pope(tmp_path / "POPE"))) == len(read(open_benchmark(tmp_path / "POPE"))) == 5


def test_bad_parquet_rows(tmp_path: Path) -> None:
    files = parquets(tmp_path)

    def spoil(rows: list[dict[str, Any]]) -> None:
        rows[1]["answer"] = "perhaps"
        rows[3]["image"] = {"bytes": b"no image", "path": None}
        rows[4]["image"] = {"bytes": None, "path": "gone.png"}

    file = rewritten(files["pope"], spoil)
    refused(lambda: pope(file), "yes or no", f"in {file}, row group 0, row 1")
    found = [one for one in pope(file, skip_bad=True) if isinstance(one, BadRow)]
    assert [bad.row for bad in found] == ["row group 0, row 1", "row group 1, row 1", "row group 2, row 0"]
    assert "no such image" in found[1].reason
    assert str(tmp_path / "gone.png") in found[2].reason


def test_bad_parquet_files(tmp_path: Path) -> None:
    files = parquets(tmp_path)
    file = rewritten(files["pope"], lambda rows: [row.pop("answer") for row in rows] and None)
    refused(lambda: pope(file, skip_bad=True), f"a column 'answer' in {file}")
    refused(
        lambda: hrbench(rewritten(files["hrbench"], lambda rows: [r.pop("image") for r in rows] and None)), "'image'"
    )
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pq.read_table(files["vstar"]).slice(0, 0), files["vstar"])
    refused(lambda: vstar(files["vstar"]), "at least one question")
    files["vstar"].write_bytes(b"PAR1 no more")
    refused(lambda: vstar(files["vstar"]), "a parquet file", str(files["vstar"]))
    with pytest.raises(ArgumentError, match="a parquet file"):
        open_benchmark(files["vstar"])


def test_questions_of_ones_own_are_no_parquet_file(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist([own_line()]), tmp_path / "own.parquet")
    refused(lambda: open_benchmark(tmp_path / "own.parquet"), "your own as .jsonl or .csv, found a parquet file")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    file = tmp_path / "a.parquet"
    file.write_bytes(b"PAR1")
    for reader in (vstar, hrbench, pope, open_benchmark):
        with pytest.raises(MissingExtraError, match=r"langgraph-speceyes\[eval\]"):
            list(reader(file))


# ----------------------------------------------------------------------------------------------------------------------
# Own questions


def own_line(**more: Any) -> dict[str, Any]:
    return {"image": "a.png", "question": "What colour?", "answer": "red"} | more


def test_own_json_lines(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    elsewhere = picture(tmp_path / "else" / "b.png")
    rows = [
        own_line(),
        own_line(id=7, split="mine", options=["blue", "red", 3], image=str(elsewhere)),
        own_line(id="c", options=["blue", "red"], answer="B"),
        own_line(id="d", options=["B", "A"], answer="b", question="Which letter?"),
        own_line(id="e", options=["B", "A"], answer="B"),
        own_line(id="f", options=[], answer=2),
    ]
    items = read(own(lines(tmp_path / "own.jsonl", rows)))
    assert [(i.id, i.split) for i in items][:2] == [("line 1", "own"), ("7", "mine")]
    assert [(i.answer, i.letter) for i in items] == [
        ("red", ""),
        ("red", "B"),
        ("red", "B"),
        ("A", "B"),
        # what is both the text of one option and the letter of another is the text
        ("B", "A"),
        ("2", ""),
    ]
    assert items[1].options == ("blue", "red", "3")
    assert items[1].image.source == str(elsewhere)
    assert items[0].image.source == str(tmp_path / "a.png")


def test_own_csv(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    file = tmp_path / "own.csv"
    file.write_text(
        "\ufeffid,image,question,answer,options,split\n"
        'x,a.png,"What colour,\nif any?",red,blue|red | green,mine\n'
        'y,a.png,What?,"red, mostly","[""blue"", ""red, mostly""]",\n'
        ",a.png,Why?,because,,\n"
    )
    items = read(own(file))
    assert [(i.id, i.split, i.answer, i.options) for i in items] == [
        ("x", "mine", "red", ("blue", "red", "green")),
        ("y", "own", "red, mostly", ("blue", "red, mostly")),
        ("line 5", "own", "because", ()),
    ]
    assert items[0].question == "What colour,\nif any?"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"image": "a.png", "question": "?"}, "answer: expected text, found nothing"),
        (own_line(answer=None), "answer: expected text, found nothing"),
        (own_line(answer=True), "answer: expected text, found bool"),
        (own_line(question=["?"]), "question: expected text, found list"),
        (own_line(image="b.png"), "image: expected an image file"),
        (own_line(image="."), "which is a directory"),
        (own_line(image="a\0.png"), "image: expected an image file"),
        (own_line(image="data:image/png;base64," + "x" * 5000), "image: expected a path of at most 4096 characters"),
        (own_line(options=["blue", "green"]), "answer: expected the letter of an option, A to B, found 'red'"),
        (own_line(options=["red"]), "options: expected 2 to 26 options, found 1"),
        (own_line(options=["red", None]), "options: expected a text for every option"),
        (own_line(options="[red"), "options: expected a JSON list, found '[red'"),
        (own_line(options={"A": "red"}), "options: expected a list"),
        (own_line(id="x"), "id: expected an id of its own in every row, found 'x' a second time"),
        ("nonsense", "path: expected a JSON object"),
    ],
)
def test_bad_own_lines(tmp_path: Path, row: Any, text: str) -> None:
    picture(tmp_path / "a.png")
    file = lines(tmp_path / "own.jsonl", [own_line(id="x"), row, own_line(id="z")])
    error = refused(lambda: own(file), text, f"in {file}, line 2")
    assert len(str(error)) < 700
    _, bad, last = own(file, skip_bad=True)
    assert isinstance(bad, BadRow)
    assert last.id == "z"


def test_bad_own_csv(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    file = tmp_path / "own.csv"
    file.write_text("image,question,answer\na.png,What?\na.png,What?,red,more\na.png,What?,red\n")
    found = list(own(file, skip_bad=True))
    assert [(b.row, b.reason) for b in found if isinstance(b, BadRow)] == [
        (f"line {k}", "path: expected 3 cells, as in the header, found others") for k in (2, 3)
    ]
    assert found[2].id == "line 4"
    file.write_text("\nimage,question,answer\n\na.png,What?,red\n\na.png,What?\n")
    assert [one.row if isinstance(one, BadRow) else one.id for one in own(file, skip_bad=True)] == ["line 4", "line 6"]
    file.write_text("image,question\na.png,What?\n")
    refused(lambda: own(file, skip_bad=True), f"a column 'answer' in {file}", "columns image, question")
    file.write_text("image,question,answer\n")
    refused(lambda: own(file, skip_bad=True), "at least one question")
    file.write_text("")
    refused(lambda: own(file, skip_bad=True), "a column 'image'", "columns none")
    file.write_bytes(b"image,question,answer\na.png,\xff,red\n")
    refused(lambda: own(file, skip_bad=True), "comma-separated UTF-8 text", str(file))
    file.write_text(f"image,question,answer\na.png,{'x' * 200_000},red\n")
    refused(lambda: own(file, skip_bad=True), "comma-separated UTF-8 text", "field larger")
    refused(lambda: own(tmp_path), "a file of JSON lines or CSV")


# ----------------------------------------------------------------------------------------------------------------------
# The embedded world, and opening by name or content


def test_embedded_questions(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "images"
    items = read(
        embedded(folder, splits=["attributes", "existence", "relations", "reading"], count=4, part="calibration")
    )
    asked = [
        q for split in ("attributes", "existence", "relations", "reading") for q in questions(split, "calibration", 4)
    ]
    assert [(i.id, i.split, i.text) for i in items] == [(q.id, q.split, q.text) for q in asked]
    for item, question in zip(items, asked, strict=True):
        assert item.letter == question.letter
        sentence = not item.options and question.family in ("attributes", "reading")
        assert item.answer == (question.answer if sentence else question.key)
        assert score(item, question.answer).right
        assert not item.options or item.options[ord(item.letter) - ord("A")] == item.answer == question.key
        assert Path(item.image.source).parent == folder
    assert {bool(i.options) for i in items} == {True, False}
    assert load_image(items[0].image).size == asked[0].render().size
    # a second time the images are there
    drawn = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = open_benchmark("embedded", folder, splits=["attributes"], count=4, part="calibration", skip_bad=True)
    assert read(again) == items[:4]
    assert drawn == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    other = read(embedded(tmp_path, splits=["attributes"], count=1, seed=3))
    assert other[0].id == "test+3/attributes/0"


def test_what_the_embedded_world_refuses(tmp_path: Path) -> None:
    refused(lambda: embedded(tmp_path, splits=["numbers"]), "splits: expected some of attributes", "'numbers'")  # type: ignore[list-item]
    refused(lambda: embedded(tmp_path, splits=[]), "splits")
    refused(lambda: embedded(tmp_path, count=0), "count: expected at least one question")
    (tmp_path / "file").write_text("")
    refused(lambda: embedded(tmp_path / "file"), "path: expected a folder")


def test_benchmarks_are_opened_by_name_or_content(pope_folder: Path, vstar_jsonl: Path, tmp_path: Path) -> None:
    images = pope_folder / "val2014"
    file = pope_folder / "coco" / "coco_pope_random.json"
    assert NAMES == ("vstar", "hrbench", "pope", "own", "embedded")
    assert read(open_benchmark(file, images=images)) == read(open_benchmark("pope", file, images=images))
    assert len(read(open_benchmark(pope_folder / "coco", images=images))) == 6
    assert [i.id for i in read(open_benchmark(str(vstar_jsonl)))] == ["0", "1"]
    table = tsv(tmp_path / "x.tsv", hr_rows())
    assert read(open_benchmark(table)) == read(open_benchmark("hrbench", table))
    mine = lines(tmp_path / "mine.jsonl", [own_line(image="val2014/" + COCO)])
    assert [i.id for i in read(open_benchmark(mine))] == ["line 1"]
    (tmp_path / "mine.csv").write_text(f"image,question,answer\nval2014/{COCO},What?,red\n")
    assert [i.id for i in read(open_benchmark(tmp_path / "mine.csv"))] == ["line 2"]
    (bad,) = open_benchmark(lines(tmp_path / "b.jsonl", [own_line(image="gone.png")]), skip_bad=True)
    assert isinstance(bad, BadRow)
    # the first line that can be read tells what it is
    bad, found = open_benchmark(lines(tmp_path / "b.jsonl", ["{", own_line(image="val2014/" + COCO)]), skip_bad=True)
    assert (type(bad), type(found)) == (BadRow, Item)


@pytest.mark.parametrize("name", ["vstar", "vstar_bench", "V-Star"])
def test_a_named_benchmark_is_found_in_the_working_directory(
    name: str, vstar_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = read(open_benchmark("vstar", vstar_folder))
    vstar_folder.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert [(one.id, one.image.source) for one in read(open_benchmark("vstar"))] == [
        (one.id, one.image.source.replace("/vstar_bench/", f"/{name}/")) for one in there
    ]


def test_what_cannot_be_opened(tmp_path: Path, vstar_folder: Path) -> None:
    def fails(text: str, *arguments: Any, **options: Any) -> None:
        with pytest.raises(ArgumentError) as caught:
            open_benchmark(*arguments, **options)
        assert text in str(caught.value)

    fails("path: expected where the files of pope are, found nothing", "pope")
    fails("name_or_path: expected one of vstar, hrbench", "vstarr", vstar_folder)
    fails("nothing at", tmp_path / "gone")
    fails("skip: expected an option of vstar: splits, skip_bad", vstar_folder, skip=True)
    (tmp_path / "notes.txt").write_text("x")
    fails(".tsv, .csv", tmp_path / "notes.txt")
    (tmp_path / "folder").mkdir()
    fails("none that is known in the folder", tmp_path / "folder")
    fails("a benchmark's columns, found a, b", lines(tmp_path / "odd.jsonl", [{"b": 1, "a": 2}]))
    fails("the columns image, question, answer, or", lines(tmp_path / "odd.jsonl", [{"b": 1, "a": 2}]))
    fails("a JSON object, found other text", lines(tmp_path / "odd.jsonl", ["{", "broken"]))
    fails(f"a JSON list in {tmp_path / 'odd.json'}, line 1", lines(tmp_path / "odd.json", [[own_line()]]))
    fails("at least one question", lines(tmp_path / "odd.jsonl", []))


def test_items_and_bad_rows_show_no_image_data(tmp_path: Path) -> None:
    (item, *_) = read(hrbench(tsv(tmp_path / "a.tsv", hr_rows(1))))
    assert base64_of()[30:50] not in repr(item)
    assert hashlib.sha256(encoded(0)).hexdigest()[:12] in repr(item)
