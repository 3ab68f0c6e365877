"""Tab-separated records whose cells may be tens of megabytes long."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from langgraph_speceyes.bench.datasets.rows import Row, nothing_in, require
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images.reference import describe

SHORT = 64
"""An `image` cell up to this length names the row that holds the image (VLMEvalKit's ImageBaseDataset)."""

LONGEST_QUOTE = 1 << 20
"""Most bytes of a quoted cell that has line breaks: a stray quote must not swallow the rest of the file."""


class Tsv:
    """A tab-separated file of the form pandas and VLMEvalKit write, read one record at a time.

    The standard library's reader refuses cells over 128 KB, and if told not to, keeps four bytes a character.

    Args:
        file: The file, UTF-8 with a header.
        columns: What it must have.

    Raises:
        ArgumentError: A column is missing, or the file is empty.
    """

    def __init__(self, file: Path, columns: tuple[str, ...]) -> None:
        self.file = file
        self._bytes = file.open("rb")
        self._line = 0
        self._found = False
        try:
            header = self._record()
            if header is None:
                raise nothing_in(file)
            header[0] = header[0].removeprefix(codecs.BOM_UTF8)
            self.columns = [cell.decode("utf-8", "replace").strip() for cell in header]
            require(columns, self.columns, file)
        except BaseException:
            self._bytes.close()
            raise
        # where the record of an index begins, for those passed, and up to where all are known
        self._begins: dict[bytes, int] = {}
        self._known = self._bytes.tell()

    def __enter__(self) -> Tsv:
        """The table, closed at the end of the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file."""
        self._bytes.close()

    def rows(self) -> Iterator[Row]:
        """The records as rows, with the image looked up where a cell names another row.

        Raises:
            ArgumentError: There are none.
        """
        # no loop over a variable: that would hold a row while the next one is read
        yield from iter(self._next, None)
        if not self._found:
            raise nothing_in(self.file)

    def _next(self) -> Row | None:
        cells: list[bytes] | None = [b""]
        while cells == [b""]:
            begin, place = self._bytes.tell(), f"line {self._line + 1}"
            try:
                cells = self._record()
            except ArgumentError as error:
                self._found = True
                return Row(self.file, place, {}, error)
        if cells is None:
            return None
        self._found = True
        if len(cells) != len(self.columns):
            wrong = ArgumentError("path", f"{len(self.columns)} cells, as in the header", len(cells))
            return Row(self.file, place, {}, wrong)
        self._pass(cells, begin)
        try:
            if "image" in self.columns:
                at = self.columns.index("image")
                if 0 < len(cells[at].strip()) <= SHORT:
                    cells[at] = self._image_of(cells[at].strip())
            return Row(self.file, place, {c: cell.decode("utf-8") for c, cell in zip(self.columns, cells, strict=True)})
        except ArgumentError as error:
            return Row(self.file, place, {}, error, id=self._index(cells).decode("utf-8", "replace"))
        except UnicodeDecodeError as error:
            return Row(self.file, place, {}, ArgumentError("path", "UTF-8 text", f"other bytes ({error.reason})"))

    def _index(self, cells: list[bytes]) -> bytes:
        return cells[self.columns.index("index")].strip()

    def _pass(self, cells: list[bytes], begin: int) -> None:
        if len(cells) == len(self.columns):
            self._begins.setdefault(self._index(cells), begin)
        self._known = max(self._known, self._bytes.tell())

    def _image_of(self, index: bytes) -> bytes:
        """The image cell of another row, wherever in the file it is."""
        back, line = self._bytes.tell(), self._line
        shown = repr(describe(index.decode("utf-8", "replace")))
        try:
            self._bytes.seek(self._known)
            while index not in self._begins:
                begin = self._bytes.tell()
                cells = self._record()
                if cells is None:
                    raise ArgumentError("image", "an encoded image, or the index of the row that has it", shown)
                self._pass(cells, begin)
            self._bytes.seek(self._begins[index])
            image = (self._record() or [])[self.columns.index("image")].strip()
        finally:
            self._bytes.seek(back)
            self._line = line
        if len(image) <= SHORT:
            raise ArgumentError("image", "the index of a row that holds an image", f"{shown}, which holds none")
        return image

    def _record(self) -> list[bytes] | None:
        """The cells of the next record, None at the end; a quoted cell may hold tabs and line breaks.

        Raises:
            ArgumentError: A quoted cell does not end. Reading goes on in the next line.
        """
        cells: list[bytes] = []
        quoted: bytearray | None = None
        while True:
            line = self._bytes.readline()
            if not line:
                if quoted is not None:
                    raise ArgumentError("path", "a quote that closes", "the end of the file")
                return None
            self._line += 1
            for n, piece in enumerate(line.rstrip(b"\r\n").split(b"\t")):
                if quoted is not None:
                    quoted += (b"\t" if n else b"\n") + piece
                elif piece.startswith(b'"'):
                    quoted = bytearray(piece[1:])
                else:
                    cells.append(piece)
                    continue
                # quotes inside are doubled, so with the closing one their number is odd
                if quoted.count(b'"') % 2:
                    cells.append(bytes(quoted).removesuffix(b'"').replace(b'""', b'"'))
                    quoted = None
            if quoted is None:
                return cells
            if len(quoted) > LONGEST_QUOTE:
                raise ArgumentError("path", "a quote that closes", f"{len(quoted)} bytes over line ends without one")
