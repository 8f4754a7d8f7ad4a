"""Uses OpenAI's Python SDK as a program does and prints the results as one JSON object."""

import json

import openai

MODEL = "claude-sonnet-5-5"
client = openai.OpenAI(max_retries=0)
PARAMETERS = {"type": "object", "properties": {"value": {"type": "string"}}}
FUNCTION = {"name": "lookup", "description": "x", "parameters": PARAMETERS}


def chat(text, **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def chat_streamed(**more):
    said, usage = "", None
    for chunk in client.chat.completions.create(**chat("hi", stream=True, **more)):
        said += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    return [said, usage is not None]


def chat_round():
    tools = [{"type": "function", "function": FUNCTION}]
    request = chat("[[tool:answer]]", tools=tools)
    message = client.chat.completions.create(**request).choices[0].message
    call = message.tool_calls[0]
    request["messages"] += [
        message.to_dict(),
        {"role": "tool", "tool_call_id": call.id, "content": "42"},
    ]
    said = client.chat.completions.create(**request).choices[0].message.content
    return [call.function.name, json.loads(call.function.arguments), said]


def responses_streamed():
    with client.responses.stream(model=MODEL, input="hi") as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    return [said, final.output_text, final.status, final.usage.output_tokens > 0]


def responses_round():
    tools = [{"type": "function", **FUNCTION}]
    turns = [{"role": "user", "content": "[[tool:answer]]"}]
    first = client.responses.create(model=MODEL, input=turns, tools=tools, store=False)
    call = next(item for item in first.output if item.type == "function_call")
    turns += [item.to_dict() for item in first.output]
    turns.append({"type": "function_call_output", "call_id": call.call_id, "output": "42"})
    said = client.responses.create(model=MODEL, input=turns, tools=tools, store=False).output_text
    return [call.name, json.loads(call.arguments), said]


def failing():
    try:
        return client.chat.completions.create(**chat("[[status:400;say=no such thing]]")).id
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, "no such thing" in str(error)]


def main():
    results = {
        "chat": client.chat.completions.create(**chat("hi")).choices[0].message.content,
        "chat_streamed": chat_streamed(),
        "chat_usage": chat_streamed(stream_options={"include_usage": True}),
        "chat_round": chat_round(),
        "responses": client.responses.create(model=MODEL, input="hi").output_text,
        "responses_streamed": responses_streamed(),
        "responses_round": responses_round(),
        "models": MODEL in [model.id for model in client.models.list()],
        "error": failing(),
    }
    print(json.dumps(results))


main()
