import json

import anthropic
from scenarios import *

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
TOOLS = [{"name": "lookup", "description": "Looks up.", "input_schema": PARAMETERS}]


def ask(messages, **more):
    return client.messages.create(model=MODEL, max_tokens=4096, messages=messages, **more)


def text(message):
    return "".join(block.text for block in message.content if block.type == "text")


def streamed():
    with client.messages.stream(model=MODEL, max_tokens=4096, messages=[user(STREAMED)]) as stream:
        return joined(stream.text_stream)


def tool_loop(**more):
    first = ask([user(TOOL)], tools=TOOLS, **more)
    call = next(block for block in first.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": lookup(**call.input)}
    answer = {"role": "assistant", "content": first.content}
    return first, text(ask([user(TOOL), answer, user([result])], tools=TOOLS, **more))


def history():
    answer = {"role": "assistant", "content": ask([user(FIRST)]).content}
    return text(ask([user(FIRST), answer, user(SECOND)]))


def thinking():
    first, said = tool_loop(thinking={"type": "adaptive", "display": "summarized"})
    shown = any(block.type == "thinking" and bool(block.thinking) for block in first.content)
    return {"text": said, "shown": shown}


def structured():
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    return json.loads(text(ask([user(STRUCTURED)], output_config=form)))


report(
    whole=lambda: text(ask([user(WHOLE)])),
    streamed=streamed,
    tool=lambda: tool_loop()[1],
    history=history,
    thinking=thinking,
    structured=structured,
)
