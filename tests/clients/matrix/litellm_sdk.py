import json

import litellm
from scenarios import *

litellm.suppress_debug_info = True
PROVIDER = {"messages": "anthropic", "chat": "openai"}[API]
ADDRESS = {"messages": URL, "chat": f"{URL}/v1"}[API]
FUNCTION = {"name": "lookup", "description": "Looks up.", "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": FUNCTION}]


def request(messages, **more):
    model = f"{PROVIDER}/{MODEL}"
    place = {"api_base": ADDRESS, "api_key": KEY, "num_retries": 0}
    return litellm.completion(model=model, messages=messages, **place, **more)


def ask(messages, **more):
    return request(messages, **more).choices[0].message


def tool_loop(**more):
    first = ask([user(TOOL)], tools=TOOLS, **more)
    call = first.tool_calls[0]
    output = lookup(**json.loads(call.function.arguments))
    result = {"role": "tool", "tool_call_id": call.id, "content": output}
    return first, ask([user(TOOL), first, result], tools=TOOLS, **more).content


def thinking():
    first, said = tool_loop(thinking={"type": "adaptive", "display": "summarized"})
    return {"text": said, "shown": bool(getattr(first, "reasoning_content", None))}


def structured():
    form = {"name": "fruit", "schema": SCHEMA, "strict": True}
    form = {"type": "json_schema", "json_schema": form}
    return json.loads(ask([user(STRUCTURED)], response_format=form).content)


def streamed():
    chunks = request([user(STREAMED)], stream=True)
    return joined(choice.delta.content for chunk in chunks for choice in chunk.choices)


report(
    whole=lambda: ask([user(WHOLE)]).content,
    streamed=streamed,
    tool=lambda: tool_loop()[1],
    history=lambda: ask([user(FIRST), ask([user(FIRST)]), user(SECOND)]).content,
    thinking=thinking,
    structured=structured,
)
