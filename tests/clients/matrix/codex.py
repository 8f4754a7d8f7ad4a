import json
import os
import pathlib
import subprocess

from scenarios import *

HOME = pathlib.Path(os.environ["HOME"])
CONFIGURATION = f"""
model = "{MODEL}"
model_provider = "baton"
web_search = "disabled"

[model_providers.baton]
name = "Baton"
base_url = "{URL}/v1"
env_key = "BATON_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""
(HOME / ".codex").mkdir()
(HOME / ".codex/config.toml").write_text(CONFIGURATION)
(HOME / "schema.json").write_text(json.dumps(SCHEMA))


def codex(prompt, *more):
    """The events that Codex prints."""
    command = ["codex", "exec", "--skip-git-repo-check", "--json", *more, prompt]
    ended = subprocess.run(
        command, cwd=HOME, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    failures = [event for event in events if event["type"] in ("turn.failed", "error")]
    if failures or ended.returncode != 0:
        raise RuntimeError(json.dumps(failures) if failures else ended.stderr)
    return [event["item"] for event in events if event["type"] == "item.completed"]


def said(items):
    return [item["text"] for item in items if item["type"] == "agent_message"][-1]


def tool(*more):
    items = codex("[[tool@exec_command:echo 42 for lemon]]", *more)
    # Before the output, Codex tells how the command ended.
    beginning, rest = said(items).split(": ", 1)
    return items, f"{beginning}: {rest.splitlines()[-1]}"


def history():
    codex(FIRST)
    return said(codex(SECOND, "resume", "--last"))


def thinking():
    items, text = tool("-c", 'model_reasoning_effort="high"', "-c", 'model_reasoning_summary="auto"')
    return {"text": text, "shown": any(item["type"] == "reasoning" for item in items)}


report(
    streamed=lambda: said(codex(STREAMED)),
    tool=lambda: tool()[1],
    history=history,
    thinking=thinking,
    structured=lambda: json.loads(said(codex(STRUCTURED, "--output-schema", str(HOME / "schema.json")))),
)
