import json
import os
import subprocess

from scenarios import *

ENVIRONMENT = {
    **os.environ,
    "ANTHROPIC_AUTH_TOKEN": KEY,
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "1",
}
if API == "bedrock":
    ENVIRONMENT["CLAUDE_CODE_USE_BEDROCK"] = "1"
    ENVIRONMENT["CLAUDE_CODE_SKIP_BEDROCK_AUTH"] = "1"
    ENVIRONMENT["ANTHROPIC_BEDROCK_BASE_URL"] = URL
    ENVIRONMENT["AWS_REGION"] = "us-west-2"
else:
    ENVIRONMENT["ANTHROPIC_BASE_URL"] = URL


def claude(prompt, *more):
    """The events that Claude Code prints; the last one is its report."""
    command = ["claude", "-p", prompt, "--model", MODEL, "--allowedTools", "Bash"]
    command += ["--output-format", "stream-json", "--verbose", *more]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    if not events or events[-1].get("is_error") is not False:
        raise RuntimeError(events[-1]["result"] if events else ended.stderr)
    return events


def said(events):
    return events[-1]["result"]


def history():
    session = claude(FIRST)[-1]["session_id"]
    return said(claude(SECOND, "--resume", session))


def thinking():
    events = claude("[[tool@Bash:echo 42 for lemon]]", "--effort", "high")
    messages = [event["message"]["content"] for event in events if event["type"] == "assistant"]
    shown = any(bool(block.get("thinking")) for content in messages for block in content)
    return {"text": said(events), "shown": shown}


def structured():
    # Its model is to answer with a tool.
    prompt = "[[tool@StructuredOutput:answer]]"
    return claude(prompt, "--json-schema", json.dumps(SCHEMA))[-1]["structured_output"]


report(
    streamed=lambda: said(claude(STREAMED)),
    tool=lambda: said(claude("[[tool@Bash:echo 42 for lemon]]")),
    history=history,
    thinking=thinking,
    structured=structured,
)
