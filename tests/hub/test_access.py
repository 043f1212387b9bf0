"""Who may do what: tokens with their scopes, client certificates, and a hub that does not stand open by accident."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from connectrpc.client import ConnectClientSync
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.protocol import ProtocolType

from streamtask.errors import ConfigError
from streamtask.hub import tokens
from streamtask.hub.tokens import Tokens
from tests.cli.kit import environment, invoke
from tests.hub.kit import CALL, EVENT, MQHUB, Hub, refused
from tests.hub.wire import method
from tests.servers import Server
from tests.support import eventually

ARTICLES = "alt:events:articles"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    """Adds a token to the file `hub.tokens` and gives it."""

    def add(name: str, streams: list[str], tasks: list[str]) -> str:
        token = tokens.make()
        with (tmp_path / "hub.tokens").open("a") as out:
            out.write(tokens.line_of(name, token, streams, tasks) + "\n")
        return token

    return add


def test_tokens(hub_server: Server, hubs: Callable[..., Hub], file: Callable[..., str], tmp_path: Path) -> None:
    backend, other = file("backend", ["alt:events:art*"], ["mail.*"]), file("other", ["alt:events:tags"], [])
    hub = hubs(hub_server.url, "--token-file", str(tmp_path / "hub.tokens"), "--namespace", "shop")
    asked = {"stream": ARTICLES, "event": EVENT}
    none = (401, "unauthenticated", "a valid bearer token is required")
    assert refused(hub.rpc("Publish", asked)) == none
    for wrong in ("Bearer", f"Bearer {backend}x", f"Basic {backend}", backend, "Bearer \xff"):
        headers = {"authorization": wrong.encode("latin-1")}
        assert refused(hub.http.post(f"{MQHUB}/Publish", json=asked, headers=headers)) == none, wrong  # type: ignore[arg-type]
    # Who may not call is told so before the body is read.
    answer = hub.http.post(f"{MQHUB}/Publish", content=b"{", headers={"content-type": "application/json"})
    assert refused(answer) == none
    assert hub.rpc("Publish", asked, **bearer(backend)).status_code == 200
    denied = f"the token does not give access to the stream {ARTICLES!r}"
    for name, message in {
        "Publish": asked,
        "PublishBatch": {"stream": ARTICLES, "events": [EVENT]},
        "CreateConsumerGroup": {"stream": ARTICLES, "group": "g", "startId": "0"},
        "GetStreamInfo": {"stream": ARTICLES},
    }.items():
        assert refused(hub.rpc(name, message, **bearer(other))) == (403, "permission_denied", denied)
    assert hub.rpc("GenerateTagsForArticle", {"timeoutMs": 1}, **bearer(backend)).status_code == 403
    assert hub.rpc("GenerateTagsForArticle", {"timeoutMs": 1}, **bearer(other)).status_code == 504
    assert refused(hub.rpc(CALL, {"task": "add"}, **bearer(backend)))[:2] == (403, "permission_denied")
    for path, body, status in (
        ("/v1/tasks/mail.send", {}, 202),
        ("/v1/tasks/add", {}, 403),
        (f"/v1/topics/{ARTICLES}", {"type": "t", "source": "s"}, 202),
        ("/v1/topics/alt:events:tags", {"type": "t", "source": "s"}, 403),
    ):
        assert hub.http.post(path, json=body).status_code == 401
        assert hub.http.post(path, json=body, headers=bearer(backend)).status_code == status
    publish = method("Publish")
    with (
        ConnectClientSync(hub.address, protocol=ProtocolType.GRPC_WEB) as client,
        pytest.raises(ConnectError) as caught,
    ):
        client.execute_unary(request=publish.input(stream="x"), method=publish)
    assert caught.value.code is Code.UNAUTHENTICATED
    assert hub.http.get("/health").status_code == hub.rpc("HealthCheck", {}).status_code == 200
    assert hub.http.get("/v1/openapi.json").status_code == 200
    assert hub.http.get("/metrics").status_code == 401
    assert hub.http.get("/metrics", headers=bearer(other)).status_code == 200
    assert {one["caller"] for one in hub.events("hub.request") if one.get("caller")} <= {"backend", "other"}
    assert backend not in hub.log.read_text()
    assert "[]" not in hub.log.read_text()
    _reload(hub, file, tmp_path)


def _reload(hub: Hub, file: Callable[..., str], tmp_path: Path) -> None:
    """SIGHUP reads the file again; one that cannot be read changes nothing."""
    late = file("late", ["*"], [])
    assert hub.publish().status_code == 401
    hub.popen.send_signal(signal.SIGHUP)
    asked = {"stream": ARTICLES, "event": EVENT}
    eventually(lambda: hub.rpc("Publish", asked, **bearer(late)).status_code == 200)
    (tmp_path / "hub.tokens").write_text("broken\n")
    hub.popen.send_signal(signal.SIGHUP)
    eventually(lambda: "the tokens that were known stay" in hub.log.read_text())
    assert hub.rpc("Publish", asked, **bearer(late)).status_code == 200


def test_names_in_client_certificates(hub_server: Server, hubs: Callable[..., Hub], tmp_path: Path) -> None:
    authority = trustme.CA()
    mine, stranger = authority.issue_cert("backend.alt"), authority.issue_cert("somebody.alt")
    own = authority.issue_cert("127.0.0.1")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    for piece in own.cert_chain_pems:
        piece.write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    files = [f"--{name}={tmp_path / f'{file}.pem'}" for name, file in
             (("tls-cert", "cert"), ("tls-key", "key"), ("tls-client-ca", "ca"))]  # fmt: skip

    def context(cert: trustme.LeafCert | None) -> ssl.SSLContext:
        made = ssl.create_default_context()
        authority.configure_trust(made)
        if cert is not None:
            cert.configure_cert(made)
        return made

    hub = hubs(hub_server.url, *files, "--allow-peer", "backend.alt,other", verify=context(mine))
    assert hub.address.startswith("https://")
    assert hub.publish().status_code == 200
    with httpx.Client(base_url=hub.address, verify=context(None), trust_env=False) as nobody:
        answer = nobody.post(f"{MQHUB}/Publish", json={"event": EVENT})
        assert refused(answer) == (401, "unauthenticated", "a client certificate is required")
        assert nobody.get("/health").status_code == 200
    with httpx.Client(base_url=hub.address, verify=context(stranger), trust_env=False) as other:
        headers = {"x-streamtask-peer": "backend.alt", "x-alt-peer-identity": "backend.alt"}
        answer = other.post(f"{MQHUB}/Publish", json={"event": EVENT}, headers=headers)
        assert refused(answer)[:2] == (403, "permission_denied")
    assert {one.get("caller") for one in hub.events("hub.request")} <= {"backend.alt", None}


@pytest.mark.parametrize(
    ("args", "env", "text"),
    [
        (["--host", "0.0.0.0"], {}, "give --token-file or --tls-client-ca, or --insecure"),
        ([], {"CONNECT_PORT": "95oo"}, "CONNECT_PORT='95oo' is no number"),
        ([], {"LOG_LEVEL": "loud"}, "LOG_LEVEL='loud' is no level"),
        (["--allow-peer", "x"], {}, "--allow-peer needs both --tls-cert and --tls-key"),
    ],
)
def test_usage_that_cannot_be(args: list[str], env: dict[str, str], text: str) -> None:
    done = invoke("redis://127.0.0.1:1", "hub", *args, **env)
    assert (done.exit_code, text in done.output) == (2, True), done.output


def test_what_cannot_start(usual_hub: Hub, hub_server: Server) -> None:
    port = usual_hub.address.rpartition(":")[2]
    for args, code, text in (
        (["--url", "unix:///tmp/no-such-socket"], 3, "did not answer"),
        (["--url", hub_server.url, "--port", port], 1, f"cannot listen on 127.0.0.1:{port}: Address already in use"),
    ):
        command = [sys.executable, "-m", "streamtask", "hub", *args]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, text in done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr


def test_the_command_that_makes_tokens(tmp_path: Path) -> None:
    done = invoke("", "hub", "token", "backend", "--stream", "alt:*", "--task", "mail.*")
    assert done.exit_code == 0
    (tmp_path / "t").write_text(done.stdout)
    token = done.stderr.splitlines()[-1]
    caller = Tokens(tmp_path / "t").find(token)
    assert caller is not None
    assert token not in done.stdout
    assert (caller.name, caller.may_stream("alt:x"), caller.may_stream("x")) == ("backend", True, False)
    assert (caller.may_task("mail.send"), caller.may_task("email.send")) == (True, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no token"),
        ("# nothing\n\n", "holds no token"),
        ("a b", "line 1: after the name comes sha256:"),
        (f"ok sha256:{'0' * 64}\na/b sha256:{'0' * 64}", "line 2: 'a/b' is no name"),
        (f"a sha256:{'0' * 64} queue:x", "'queue:x' is no scope"),
        (f"a sha256:{'0' * 64} stream:", "'stream:' is no scope"),
        (f"a sha256:{'0' * 64}\na sha256:{'1' * 64}", "two tokens are called 'a'"),
    ],
)
def test_token_files_that_cannot_be(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(ConfigError, match=said.replace("(", "\\(")):
        Tokens(tmp_path / "t")


@pytest.mark.parametrize("given", [("a b", ["x"]), ("a", ["x y"]), ("a", ["x#"]), ("a", [""])])
def test_lines_that_cannot_be(given: tuple[str, list[str]]) -> None:
    name, streams = given
    with pytest.raises(ConfigError):
        tokens.line_of(name, "secret", streams, [])


def test_who_has_no_scopes_may_nothing() -> None:
    caller: Any = tokens.Caller("x", (), ())
    assert not caller.may_stream("x")
    assert not caller.may_task("x")
