#!/usr/bin/env python3
"""Runs the four functions under the real cargo-lambda, as docs/develop/cargo-lambda.md describes:
`baton up --only-stores` and `cargo lambda watch` run at the same time, both from the root of the
repository.

It checks that the admin function answers, that a streamed call of the relay arrives event by event
(the upstream sends its second event only after the client has seen the first), and that stats and
refresh accept a batch and a tick by `cargo lambda invoke`.

It needs cargo and `cargo-lambda` on the PATH (`pip install --no-deps cargo-lambda` is enough). If
the default addresses are free, only the settings of the page are used. Otherwise the script picks
free addresses and passes them as flags and as the variables that `baton up --only-stores` prints.
Exit code: 0 it works, 1 it does not (the last line says what is wrong).
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVENTS = ROOT / "infra" / "events"
STREAM = (ROOT / "tests" / "fixtures" / "sse" / "text.sse").read_bytes()
TOKEN = "cargo-lambda-check-0123456789abcdef"
# The first call builds a function, in the worst case with all its dependencies.
PATIENCE_SECONDS = 1200
STORES_PORT, WATCH_PORT = 8000, 9000


class Upstream(BaseHTTPRequestHandler):
    """Sends the first event of the fixture, and the others once `seen` is set."""

    seen = threading.Event()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("content-length", str(len(STREAM)))
        self.end_headers()
        first = STREAM.index(b"\n\n") + 2
        self.wfile.write(STREAM[:first])
        self.wfile.flush()
        if not Upstream.seen.wait(60):
            return  # the client waits for more before it reads: the connection breaks
        self.wfile.write(STREAM[first:])

    def log_message(self, *_):
        pass


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    """A program in a new process group. Its output is kept and shown if it fails."""

    def __init__(self, name, command, variables):
        self.name, self.log = name, tempfile.TemporaryFile()
        environment = {**os.environ, **variables}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def output(self):
        with open(f"/proc/self/fd/{self.log.fileno()}", "rb") as log:
            return log.read().decode(errors="replace")

    def end(self):
        for number, patience in [(signal.SIGINT, 10), (signal.SIGKILL, 10)]:
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(patience)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


def until(what, program, attempt, patience=60):
    """Repeats `attempt` until it returns a value; gives up if the program ends or time is over."""
    end, last = time.monotonic() + patience, None
    while time.monotonic() < end:
        try:
            if found := attempt():
                return found
        except OSError as error:  # not there yet
            last = error
        if program.process.poll() is not None:
            raise SystemExit(f"{what}: {program.name} has ended")
        time.sleep(0.1)
    raise SystemExit(f"{what}: not within {patience} s; last: {last!r}")


def exports(program):
    """The variables that `baton up --only-stores` prints; waits until all are printed."""
    lines = [line[7:] for line in program.output().splitlines() if line.startswith("export ")]
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return found if "BATON_DATA_KEY_ID" in found else None


def call(port, function, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    data = None if body is None else json.dumps(body)
    headers = {"content-type": "application/json", **(headers or {})}
    connection.request(method, f"/lambda-url/{function}{path}", data, headers)
    return connection.getresponse()


def answer(response, status):
    text = response.read().decode(errors="replace")
    if response.status != status:
        raise SystemExit(f"expected {status}, got {response.status}: {text[:600]}")
    return json.loads(text)


def invoke(port, function, event):
    """Runs `cargo lambda invoke` and returns the answer of the function."""
    data = str(EVENTS / f"{event}.json")
    command = ["cargo", "lambda", "invoke", function, "--data-file", data]
    command += [] if port == WATCH_PORT else ["--invoke-port", str(port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def check(port):
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    operator = {"authorization": f"Bearer {TOKEN}"}
    account = {
        "name": "main",
        "base_url": f"http://127.0.0.1:{upstream.server_port}",
        "credential": {"type": "api_key", "value": "sk-check"},
    }
    answer(call(port, "admin", "POST", "/api/v1/accounts", account, operator), 201)
    key = answer(call(port, "admin", "POST", "/api/v1/keys", {"name": "ci"}, operator), 201)
    print("admin answers", flush=True)

    message = json.loads(json.loads((EVENTS / "request.json").read_text())["body"])
    live = call(port, "relay", "POST", "/v1/messages", message, {"x-api-key": key["secret"]})
    if live.status != 200:
        raise SystemExit(f"the relay answers {live.status}: {live.read()[:600]!r}")
    body = b""
    while b"\n\n" not in body:
        piece = live.read1(65536)
        if not piece:
            raise SystemExit(f"the stream ended before its first event: {body!r}")
        body += piece
    if b"message_stop" in body:
        raise SystemExit("the first piece held the last event: nothing is streamed")
    Upstream.seen.set()
    body += live.read()
    if body != STREAM:
        raise SystemExit(f"the stream is not what the upstream sent: {body[-300:]!r}")
    print("the relay's stream arrives event by event", flush=True)

    told = invoke(port, "stats", "batch")
    if told != {"batchItemFailures": []}:
        raise SystemExit(f"stats answers {told}")
    path = "/api/v1/usage/summary?from=2026-11-11&to=2026-11-11"
    summary = answer(call(port, "admin", "GET", path, None, operator), 200)
    if summary["data"][0]["tokens"]["output"] != 34:
        raise SystemExit(f"the batch is not counted: {summary}")
    print("stats takes a batch", flush=True)
    told = invoke(port, "refresh", "tick")
    if told.get("elsewhere") is not False:
        raise SystemExit(f"refresh answers {told}")
    print("refresh takes a tick", flush=True)


def main():
    # A clean clone builds this, with the packages and features of its default members.
    subprocess.run(["cargo", "build", "--locked"], cwd=ROOT, check=True)
    variables = {"BATON_ADMIN_TOKEN": TOKEN, "BATON_ALLOW_PRIVATE_UPSTREAMS": "1", "NO_COLOR": "1"}
    for name in [name for name in os.environ if name.startswith(("BATON_", "AWS_"))]:
        del os.environ[name]
    port = WATCH_PORT if is_free(WATCH_PORT) else free_port()
    watch = ["cargo", "lambda", "watch"] + ([] if port == WATCH_PORT else ["-P", str(port)])
    programs = []
    with tempfile.TemporaryDirectory() as data:
        command = ["cargo", "run", "--locked", "--quiet", "--", "up", "--only-stores", "--data-dir", data]
        stores = variables
        if not is_free(STORES_PORT):
            stores = {**variables, "BATON_STORES_LISTEN": "127.0.0.1:0"}
        try:
            programs.append(Program("baton up --only-stores", command, stores))
            printed = until("the stores", programs[0], lambda: exports(programs[0]), PATIENCE_SECONDS)
            if stores is not variables:
                variables = {**variables, **printed}
            programs.append(Program("cargo lambda watch", watch, variables))
            connect = lambda: socket.create_connection(("127.0.0.1", port), 1)  # noqa: E731
            until("cargo lambda watch", programs[1], connect).close()
            check(port)
        except BaseException:
            for program in programs:
                sys.stderr.write(f"== {program.name}\n{program.output()[-6000:]}\n")
            raise
        finally:
            for program in reversed(programs):
                program.end()
    print("the four functions work under cargo-lambda")
    return 0


if __name__ == "__main__":
    sys.exit(main())
