#!/usr/bin/env python3
"""Rehearses the deployment on one machine, without AWS and without Docker: MiniStack gets the
expanded template.yaml, creates its resources and runs the binaries that `sam build` has built. The
script sends one streamed request and then reads its usage.

    sam build --parameter-overrides Architecture=x86_64
    python3 infra/rehearse.py

It needs boto3 and `ministack` on the PATH. MiniStack does not emulate IAM's decisions, streaming
at the function URL, and limits of size and time. These can be tested on AWS only.
Exit code: 0 it works, 1 it does not (the last line says what is wrong).
"""

import io
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / ".aws-sam" / "build"
STREAM = ROOT / "tests" / "fixtures" / "sse" / "text.sse"
PATIENCE_SECONDS = 60
STACK = "rehearsal"
MACHINE = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


class Upstream(BaseHTTPRequestHandler):
    """Answers every request with the fixture's stream."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = STREAM.read_bytes()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, attempt):
    """Repeats `attempt` until it returns a value; gives up after a minute."""
    end, last = time.monotonic() + PATIENCE_SECONDS, None
    while time.monotonic() < end:
        try:
            if found := attempt():
                return found
        except Exception as error:  # not there yet
            last = error
        time.sleep(0.2)
    raise SystemExit(f"{what}: not within {PATIENCE_SECONDS} s; last: {last!r}")


def call(url, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{url}: {error.code} {error.read().decode()}") from error


def template(s3, bucket):
    """Puts the built binaries into the bucket and returns the expanded template with them as code."""
    done = [sys.executable, str(ROOT / "infra" / "check-template.py"), "--expanded"]
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run([*done, file.name], check=True)
        expanded = json.loads(Path(file.name).read_text(encoding="utf-8"))
    # MiniStack does not support metric math, and it compares this number with a parameter as text.
    del expanded["Resources"]["ErrorsAlarm"]
    source = expanded["Resources"]["StatsFunctionUsage"]["Properties"]
    source["ScalingConfig"]["MaximumConcurrency"] = 2
    for name, resource in expanded["Resources"].items():
        if resource["Type"] == "AWS::Lambda::Function":
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                entry = zipfile.ZipInfo("bootstrap")
                entry.external_attr = 0o755 << 16
                archive.writestr(entry, (BUILT / name / "bootstrap").read_bytes())
            s3.put_object(Bucket=bucket, Key=name, Body=packed.getvalue())
            resource["Properties"]["Code"] = {"S3Bucket": bucket, "S3Key": name}
            variables = resource["Properties"]["Environment"]["Variables"]
            variables["BATON_ALLOW_PRIVATE_UPSTREAMS"] = "1"
            variables["BATON_SECRET_SECONDS"] = "1"
    return json.dumps(expanded)


def deploy(endpoint):
    """Creates the stack and returns its outputs."""
    client = lambda service: boto3.client(  # noqa: E731
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    s3, formation = client("s3"), client("cloudformation")
    s3.create_bucket(Bucket="code")
    s3.put_object(Bucket="code", Key="template", Body=template(s3, "code").encode())
    formation.create_stack(
        StackName=STACK,
        TemplateURL=f"{endpoint}/code/template",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": "Architecture", "ParameterValue": MACHINE}],
    )

    def made():
        (stack,) = formation.describe_stacks(StackName=STACK)["Stacks"]
        if "FAILED" in stack["StackStatus"] or "ROLLBACK" in stack["StackStatus"]:
            events = formation.describe_stack_events(StackName=STACK)["StackEvents"]
            why = [e.get("ResourceStatusReason") for e in events if "FAILED" in e["ResourceStatus"]]
            raise SystemExit(f"the stack is {stack['StackStatus']}: {why}")
        return stack if stack["StackStatus"] == "CREATE_COMPLETE" else None

    outputs = {o["OutputKey"]: o["OutputValue"] for o in until("the stack", made)["Outputs"]}
    secret = client("secretsmanager").get_secret_value(SecretId=outputs["AdminTokenArn"])
    return outputs, secret["SecretString"], client("secretsmanager")


def rehearse(endpoint):
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    outputs, token, secrets = deploy(endpoint)
    # MiniStack serves a function URL under its id, below its own address.
    door = lambda url: f"{endpoint}/_aws/lambda-url/{url.split('//')[1].split('.')[0]}"  # noqa: E731
    admin, relay = door(outputs["AdminUrl"]), door(outputs["RelayUrl"])
    operator = {"authorization": f"Bearer {token}"}
    account = {
        "name": "main",
        "base_url": f"http://127.0.0.1:{upstream.server_port}",
        "credential": {"type": "api_key", "value": "sk-rehearsal"},
    }
    call(f"{admin}/api/v1/accounts", account, operator)
    key = json.loads(call(f"{admin}/api/v1/keys", {"name": "ci"}, operator))["secret"]
    message = json.loads(json.loads((ROOT / "infra/events/request.json").read_text())["body"])
    answer = call(f"{relay}/v1/messages", message, {"x-api-key": key})
    if answer != STREAM.read_bytes():
        raise SystemExit(f"the answer is not what the upstream sent: {answer[:200]!r}")

    def counted():
        summary = json.loads(call(f"{admin}/api/v1/usage/summary", None, operator))
        return summary["data"] and summary["data"][0]["requests"] == 1

    until("the usage", counted)
    rotate(admin, token, (secrets, outputs["AdminTokenArn"]))


def rotate(admin, old, secret):
    """Checks that a new admin token works and the old one does not, without a deployment."""
    new = "rehearsal-token-0123456789abcdef"
    client, arn = secret
    client.put_secret_value(SecretId=arn, SecretString=new)

    def status(token):
        request = urllib.request.Request(
            f"{admin}/api/v1/keys", headers={"authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    until("the new admin token", lambda: status(new) == 200 and status(old) == 401)


def main():
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "AWS_ENDPOINT_URL": endpoint}
    with tempfile.TemporaryFile() as log:
        stack = subprocess.Popen(
            ["ministack"], env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            until("ministack", lambda: call(f"{endpoint}/_ministack/health"))
            rehearse(endpoint)
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-6000:])
            raise
        finally:
            stack.terminate()
            stack.wait(20)
    print("deployed, one request relayed, its usage counted once, the admin token changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
