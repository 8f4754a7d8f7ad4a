"""Uses the Python SDK as a program does and prints the results as one JSON object."""

import json
import sys

import anthropic

MODEL = "claude-opus-5-5"
client = anthropic.Anthropic(max_retries=0)


def plain(message):
    """A message without its id, which is different in each run."""
    value = message.to_dict()
    value.pop("id", None)
    return value


def ask(text, **more):
    turn = [{"role": "user", "content": text}]
    return {"model": MODEL, "max_tokens": 2048, "messages": turn, **more}


def streamed(request):
    with client.messages.stream(**request) as stream:
        kinds = [event.type for event in stream]
        return {"kinds": kinds, "message": plain(stream.get_final_message())}


def tool_round():
    tool = {"name": "lookup", "description": "x", "input_schema": {"type": "object"}}
    request = ask("[[tool:answer]]", tools=[tool])
    first = client.messages.create(**request)
    call = next(block for block in first.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "42"}
    request["messages"] += [
        {"role": "assistant", "content": [block.to_dict() for block in first.content]},
        {"role": "user", "content": [result]},
    ]
    with client.messages.stream(**request) as stream:
        said = stream.get_final_text()
    return [call.to_dict(), said]


def failing(request):
    try:
        return plain(client.messages.create(**request))
    except anthropic.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.body]


def fixture(name):
    try:
        return streamed(ask(f"[[fixture:{name};size=53]]"))
    except Exception as error:  # some recorded streams end with an error
        return f"{type(error).__name__}"


def main():
    thinking = {"type": "adaptive"}
    raw = [event.to_dict() for event in client.messages.create(**ask("hi", stream=True))]
    raw[0]["message"].pop("id", None)
    results = {
        "whole": plain(client.messages.create(**ask("hi"))),
        "gzip": plain(client.messages.create(**ask("[[text;gzip]]"))),
        "raw": raw,
        "streamed": streamed(ask("hi")),
        "pings": streamed(ask("[[pings;size=11]]")),
        "thinking": streamed(ask("[[thinking]]", thinking=thinking)),
        "tool": tool_round(),
        "count_tokens": client.messages.count_tokens(
            model=MODEL, messages=[{"role": "user", "content": "hi"}]
        ).input_tokens,
        "models": [model.id for model in client.models.list(limit=1000)],
        "model": client.models.retrieve(MODEL).id,
        "error": failing(ask("[[error:prompt_too_long]]")),
        "fixtures": {name: fixture(name) for name in sys.argv[1:]},
    }
    json.dump(results, sys.stdout)


main()
