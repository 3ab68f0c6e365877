"""The whole image in parts: everything is seen again, larger."""

from __future__ import annotations

from langgraph_speceyes.agent import View
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import check_image, off_loop
from langgraph_speceyes.looks.look import MOST_OBSERVATIONS, Observation, Sight


class Tiles:
    """Cuts each image of a question into a grid; see :func:`tiles`."""

    name = "tiles"

    def __init__(self, rows: int, columns: int) -> None:
        for argument, value in (("rows", rows), ("columns", columns)):
            if type(value) is not int or value < 1:
                raise ArgumentError(argument, "a whole number of at least 1", repr(value))
        if not 1 < rows * columns <= MOST_OBSERVATIONS:
            raise ArgumentError("rows", f"2 to {MOST_OBSERVATIONS} tiles in all", f"{rows} x {columns}")
        self.rows, self.columns = rows, columns

    def __repr__(self) -> str:
        """Name the grid."""
        return f"tiles({self.rows}, {self.columns})"

    @property
    def settings(self) -> dict[str, int]:
        """What tells one grid from others."""
        return {"rows": self.rows, "columns": self.columns}

    def __call__(self, sight: Sight) -> list[Observation]:
        """Cut the images."""
        view, found = View(sight.images, policy=sight.policy), list[Observation]()
        for image in sight.images:
            width, height = check_image(image, sight.policy)
            for row in range(self.rows):
                for column in range(self.columns):
                    left, right = column * width // self.columns, (column + 1) * width // self.columns
                    top, bottom = row * height // self.rows, (row + 1) * height // self.rows
                    if right > left and bottom > top:
                        found.append(view.show(image, (left, top, right, bottom))[0])
        return found

    async def acall(self, sight: Sight) -> list[Observation]:
        """Cut the images; an image that is not in memory is decoded off the event loop."""
        return await off_loop(self, sight)


def tiles(rows: int, columns: int) -> Tiles:
    """A look at every part of an image: its tiles, row by row, as regions of the original.

    Args:
        rows: Tiles from top to bottom, at least 1.
        columns: Tiles from left to right, at least 1.

    Returns:
        A look. A tile of fewer than 28 pixels a side, which some servers refuse, is shown with what is around it.

    Raises:
        ArgumentError: A number is below 1, or there would be one tile or more than 64.
    """
    return Tiles(rows, columns)
