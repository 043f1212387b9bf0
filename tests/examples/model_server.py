"""A model's HTTP server on the loopback: it answers what it is told to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Answer: TypeAlias = tuple[int, dict[str, str], bytes]


class ModelServer:
    """Answers with the next of `first` while there is one, then always with `answer`; keeps the requests.

    A text that holds the word "forbidden" is refused, whatever else was to be said.
    """

    def __init__(self) -> None:
        self.first: list[Answer] = []
        self.answer: Answer = (200, {}, b"")
        self.hang = threading.Event()  # set: the answer may go out
        self.hang.set()
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, dict(self.headers), body))
                status, headers, data = outer.choose(body["messages"][-1]["content"])
                outer.hang.wait(10)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except ConnectionError:
                    pass  # the client gave up waiting: that test is about it

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def choose(self, text: str) -> Answer:
        if "forbidden" in text:
            return answer(400, {"error": {"code": "content_filter", "message": "not this"}})
        return self.first.pop(0) if self.first else self.answer

    def says(self, status: int, body: Any, **headers: str) -> None:
        self.answer = answer(status, body, **headers)

    def says_text(self, content: str | None, finish_reason: str = "stop", **message: Any) -> None:
        choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}
        self.says(200, {"choices": [choice]})

    def close(self) -> None:
        self.hang.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def answer(status: int, body: Any, **headers: str) -> Answer:
    """An HTTP answer; `Retry_After="1"` is the header Retry-After."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, data
