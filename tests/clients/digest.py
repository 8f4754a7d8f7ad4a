"""Prints what the Python SDKs read from streams, in a form that is the same for all protocols."""

import json
import sys

import anthropic
import openai

STOPS = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop",
    "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter",
}


def messages(url):
    client = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)
    turn = [{"role": "user", "content": "hi"}]
    with client.messages.stream(model="m", max_tokens=9, messages=turn) as stream:
        message = stream.get_final_message()
    usage = message.usage
    caches = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return {
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "thinking": "".join(b.thinking for b in message.content if b.type == "thinking"),
        "calls": [[b.id, b.name, b.input] for b in message.content if b.type == "tool_use"],
        "stop": STOPS[message.stop_reason],
        "usage": [usage.input_tokens + caches, usage.cache_read_input_tokens or 0, usage.output_tokens],
    }


def chat(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
    turn = [{"role": "user", "content": "hi"}]
    thinking = ""
    with client.chat.completions.stream(model="m", messages=turn) as stream:
        for event in stream:
            if event.type == "chunk" and event.chunk.choices:
                delta = event.chunk.choices[0].delta
                thinking += getattr(delta, "reasoning_content", None) or ""
        # The final completion raises an error if the content filter stopped the answer.
        completion = stream.current_completion_snapshot
    choice = completion.choices[0]
    usage = completion.usage
    return {
        "text": choice.message.content or "",
        "thinking": thinking,
        "calls": [
            [call.id, call.function.name, json.loads(call.function.arguments)]
            for call in choice.message.tool_calls or []
        ],
        "stop": choice.finish_reason,
        "usage": usage
        and [usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens]
        or [0, 0, 0],
    }


def responses(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
    with client.responses.stream(model="m", input="hi") as stream:
        response = [event for event in stream][-1].response
    usage = response.usage
    kinds = lambda kind: [item for item in response.output if item.type == kind]
    calls = kinds("function_call")
    reasons = {"max_output_tokens": "length", "content_filter": "content_filter"}
    ended = "tool_calls" if calls else "stop"
    if response.status == "incomplete":
        ended = reasons[response.incomplete_details.reason]
    # A refusal is a completed response.
    if any(part.type == "refusal" for item in kinds("message") for part in item.content):
        ended = "content_filter"
    return {
        "text": response.output_text,
        "thinking": "".join(part.text for item in kinds("reasoning") for part in item.summary),
        "calls": [[call.call_id, call.name, json.loads(call.arguments)] for call in calls],
        "stop": ended,
        "usage": [usage.input_tokens, usage.input_tokens_details.cached_tokens, usage.output_tokens],
    }


def main():
    base, *names = sys.argv[1:]
    readers = {"messages": messages, "chat": chat, "responses": responses}
    json.dump({name: readers[name.split(".")[1]](f"{base}/{name}") for name in names}, sys.stdout)


main()
