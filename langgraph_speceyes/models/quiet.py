"""Other libraries' bars and warnings while models load."""

from __future__ import annotations


def quiet_libraries() -> None:
    """Keep transformers' loading bars out of the terminal."""
    try:
        from transformers.utils import logging
    except ModuleNotFoundError:
        return  # the models' own import names the extra to install
    logging.disable_progress_bar()
    logging.set_verbosity_error()
