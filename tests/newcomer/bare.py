"""Where the wheel is installed by itself: the package imports, and whatever is missing names the extra that brings it.

python tests/newcomer/bare.py
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import subprocess
import sys
from pathlib import Path

import langgraph_speceyes
from langgraph_speceyes.errors import MissingExtraError

# what a command needs that a bare installation does not have, and the extra that brings it
SMALL, LARGE = "a@http://127.0.0.1:9/v1", "b@http://127.0.0.1:9/v1"
COMMANDS = {
    ("demo", "-n", "1"): "local",
    ("ask", "{image}", "What?"): "local",
    ("ask", "{image}", "What?", "--speculator", SMALL, "--agent", LARGE): "openai",
    ("testbed", "serve", "--port", "0"): "local",
    ("probe", "a", "--base-url", "http://127.0.0.1:9/v1"): "openai",
    ("bench", "--simulate", "vstar", "--out", "{folder}"): "eval",
}


def main() -> None:
    """Try everything; end with status 1 if anything fails in another way."""
    here = Path(langgraph_speceyes.__file__).parent
    print(f"langgraph_speceyes at {here}, Python {sys.version.split()[0]}")
    wrong = [*_names(), *_modules(here), *_commands()]
    print("\n".join(wrong) or "all as it should be")
    raise SystemExit(bool(wrong))


def _names() -> list[str]:
    wrong = []
    for name in langgraph_speceyes.__all__:
        try:
            getattr(langgraph_speceyes, name)
        except MissingExtraError as error:
            print(f"{name}: {error}")
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}")
    return wrong


def _modules(here: Path) -> list[str]:
    """Every module imports, or is missing a package of an extra, never one of its own."""
    wrong = []
    for module in pkgutil.walk_packages([str(here)], "langgraph_speceyes."):
        if module.name.endswith("__main__") or ".training" in module.name:
            continue
        try:
            importlib.import_module(module.name)
        except MissingExtraError:
            pass
        except ModuleNotFoundError as error:
            # modules behind a door that names the extra: they are reached through it
            if (error.name or "").partition(".")[0] == "langgraph_speceyes":
                wrong.append(f"{module.name}: {error}")
        except Exception as error:
            wrong.append(f"{module.name}: {type(error).__name__}: {error}")
    return wrong


def _commands() -> list[str]:
    wrong = []
    help_text = subprocess.run([sys.executable, "-m", "langgraph_speceyes", "--help"], capture_output=True, text=True)
    if help_text.returncode:
        wrong.append(f"--help: {help_text.stderr[-300:]}")
    image = _image()
    for words, extra in COMMANDS.items():
        given = [word.format(image=image, folder=image.parent) for word in words]
        ran = subprocess.run([sys.executable, "-m", "langgraph_speceyes", *given], capture_output=True, text=True)
        named = f"langgraph-speceyes[{extra}]" in ran.stderr
        if installed(extra) or (ran.returncode == 2 and named and "Traceback" not in ran.stderr):
            continue
        wrong.append(f"{' '.join(given)}: expected one line that names [{extra}], found {ran.stderr[-300:]!r}")
    return wrong


def installed(extra: str) -> bool:
    """Whether what an extra brings is there."""
    packages = {"local": "torch", "openai": "langchain_openai", "eval": "matplotlib"}
    return importlib.util.find_spec(packages[extra]) is not None


def _image() -> Path:
    import tempfile

    from PIL import Image

    path = Path(tempfile.mkdtemp()) / "a.png"
    Image.new("RGB", (32, 32)).save(path)
    return path


if __name__ == "__main__":
    main()
