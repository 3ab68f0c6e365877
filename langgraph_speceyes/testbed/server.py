"""The embedded pair behind a socket: a small server that speaks OpenAI's chat completions, as vLLM does.

It is there to try and test clients without a GPU: both models by name, logprobs with a limit, tools, streams, and
errors in the wording users meet elsewhere. Images come as `data:` URLs only; nothing is fetched, no file is read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from langgraph_speceyes.errors import ArgumentError, ClosedError
from langgraph_speceyes.images import ImagePolicy
from langgraph_speceyes.testbed.connections import Listener
from langgraph_speceyes.testbed.link import Link

if TYPE_CHECKING:
    from langgraph_speceyes.models import LocalChatModel
    from langgraph_speceyes.testbed.pair import Pair

MAX_LOGPROBS = 20
"""vLLM's default."""
MAX_BODY = 128 * 1024 * 1024
"""Most bytes of a request: one image of `ImagePolicy`'s default size in base64, and then some."""


class ModelServer:
    """The embedded pair over HTTP, in this process, one thread a connection.

    Concurrent requests share forward passes: they meet in the models' micro-batchers.

    Args:
        pair: The pair; None loads it on :meth:`start`.
        host: Where to listen. Loopback by default; on other addresses give a key.
        port: 0 takes a free one.
        max_logprobs: Most `top_logprobs` of a request; more is refused, in vLLM's words.
        images_in_tool_messages: Accept images in messages of role `tool`, which OpenAI and others refuse.
        api_key: What requests must bring as a bearer token; None asks for none.
        max_body: Most bytes of a request.
        link: What requests come through: it counts their bytes, and may be as slow as a line of so many Mbit/s.

    Raises:
        ArgumentError: An argument is out of its range.

    Example:
        .. code-block:: python

            with ModelServer(max_logprobs=64) as server:
                model = hosted_model("speceyes-embedded-speculator", base_url=server.url)
    """

    def __init__(
        self,
        pair: Pair | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_logprobs: int = MAX_LOGPROBS,
        images_in_tool_messages: bool = False,
        api_key: str | None = None,
        max_body: int = MAX_BODY,
        link: Link | None = None,
    ) -> None:
        if not 0 <= port <= 65535:
            raise ArgumentError("port", "0 to 65535", port)
        for argument, value in (("max_logprobs", max_logprobs), ("max_body", max_body)):
            if value < 1:
                raise ArgumentError(argument, "at least 1", value)
        if api_key == "":
            raise ArgumentError("api_key", "a key or None", "empty text")
        self.host, self.port, self.max_logprobs, self.max_body = host, port, max_logprobs, max_body
        self.images_in_tool_messages, self.api_key = images_in_tool_messages, api_key
        self.link = link or Link()
        self.started = int(time.time())
        self.models: dict[str, LocalChatModel] = {}
        self._pair = pair
        self._http: Listener | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Load the pair if need be, listen, and serve on a thread of its own.

        Raises:
            ArgumentError: The address cannot be listened on.
            MissingExtraError: torch or transformers are not installed.
        """
        if self._http is not None:
            return self
        try:
            self._http = Listener(self)
        except OSError as error:
            raise ArgumentError("port", "an address that can be listened on", f"{self._place}: {error}") from error
        try:
            self.models = self._load()
        except BaseException:
            self._http.server_close()
            self._http = None
            raise
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="speceyes server")
        self._thread.daemon = True
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and close all connections; answers under way are dropped."""
        if self._http is None or self._thread is None:
            return
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()
        self._thread.join()
        self._http = self._thread = None

    def wait(self) -> None:
        """Wait until :meth:`stop` is called from elsewhere."""
        while self._thread is not None and self._thread.is_alive():
            # in slices: an interrupt is only seen between them
            self._thread.join(0.5)

    @property
    def url(self) -> str:
        """The base URL for clients, such as `http://127.0.0.1:8000/v1`.

        Raises:
            ClosedError: The server is not started.
        """
        if self._http is None:
            raise ClosedError("the server is not started")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self._http.server_address[1]}/v1"

    @property
    def _place(self) -> str:
        return f"{self.host} port {self.port}"

    def _load(self) -> dict[str, LocalChatModel]:
        from langgraph_speceyes.models import LocalChatModel
        from langgraph_speceyes.testbed.pair import load_pair

        pair = self._pair or load_pair()
        # no local path, nothing remote, whatever a message says
        policy = ImagePolicy(roots=(), allow_remote=False, max_bytes=self.max_body)
        found = {}
        for model in (pair.speculator, pair.large):
            if not isinstance(model, LocalChatModel):
                raise ArgumentError("pair", "local models", type(model).__name__)
            found[model.model_name] = model.model_copy(update={"policy": policy})
        return found

    def limit(self, model: LocalChatModel) -> int:
        """Most `top_logprobs` of a request to this model."""
        return min(self.max_logprobs, model.vocab_size)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(host: str, port: int, max_logprobs: int, ready: Callable[[ModelServer], None]) -> None:
    """Serve the pair until interrupted, for the command.

    Args:
        host: Where to listen.
        port: 0 takes a free one.
        max_logprobs: Most `top_logprobs` of a request.
        ready: Called with the server once it listens.

    Raises:
        ArgumentError: As :class:`ModelServer`.
        MissingExtraError: torch or transformers are not installed.
    """
    with ModelServer(host=host, port=port, max_logprobs=max_logprobs) as server:
        import torch

        # a forward pass of models this small is over before a second thread has begun
        torch.set_num_threads(1)
        ready(server)
        try:
            server.wait()
        except KeyboardInterrupt:
            return


__all__ = ["MAX_LOGPROBS", "ModelServer", "serve"]
