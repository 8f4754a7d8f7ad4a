import json

import openai
from scenarios import *

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
FUNCTION = {"name": "lookup", "description": "Looks up.", "parameters": PARAMETERS}


class Chat:
    tools = [{"type": "function", "function": FUNCTION}]

    def ask(self, messages, **more):
        answer = client.chat.completions.create(model=MODEL, messages=messages, **more)
        return answer.choices[0].message

    def whole(self):
        return self.ask([user(WHOLE)]).content

    def streamed(self):
        request = {"model": MODEL, "messages": [user(STREAMED)], "stream": True}
        chunks = client.chat.completions.create(**request)
        return joined(choice.delta.content for chunk in chunks for choice in chunk.choices)

    def tool(self):
        first = self.ask([user(TOOL)], tools=self.tools)
        call = first.tool_calls[0]
        output = lookup(**json.loads(call.function.arguments))
        result = {"role": "tool", "tool_call_id": call.id, "content": output}
        return self.ask([user(TOOL), first, result], tools=self.tools).content

    def history(self):
        return self.ask([user(FIRST), self.ask([user(FIRST)]), user(SECOND)]).content

    def structured(self):
        form = {"name": "fruit", "schema": SCHEMA, "strict": True}
        form = {"type": "json_schema", "json_schema": form}
        return json.loads(self.ask([user(STRUCTURED)], response_format=form).content)


class Responses:
    tools = [{"type": "function", "strict": True, **FUNCTION}]

    def ask(self, items, **more):
        # Without it, what is not stored cannot be sent back.
        more["include"] = ["reasoning.encrypted_content"]
        return client.responses.create(model=MODEL, input=items, store=False, **more)

    def whole(self):
        return self.ask(WHOLE).output_text

    def streamed(self):
        with client.responses.stream(model=MODEL, input=STREAMED, store=False) as stream:
            kind = "response.output_text.delta"
            return joined(event.delta for event in stream if event.type == kind)

    def tool(self):
        return self.tool_loop()[1]

    def tool_loop(self, **more):
        first = self.ask([user(TOOL)], tools=self.tools, **more)
        call = next(item for item in first.output if item.type == "function_call")
        output = lookup(**json.loads(call.arguments))
        result = {"type": "function_call_output", "call_id": call.call_id, "output": output}
        last = self.ask([user(TOOL), *first.output, result], tools=self.tools, **more)
        return first, last.output_text

    def history(self):
        return self.ask([user(FIRST), *self.ask([user(FIRST)]).output, user(SECOND)]).output_text

    def thinking(self):
        reasoning = {"effort": "high", "summary": "auto"}
        first, said = self.tool_loop(reasoning=reasoning)
        shown = any(item.type == "reasoning" and bool(item.summary) for item in first.output)
        return {"text": said, "shown": shown}

    def structured(self):
        form = {"type": "json_schema", "name": "fruit", "schema": SCHEMA, "strict": True}
        return json.loads(self.ask(STRUCTURED, text={"format": form}).output_text)


api = {"chat": Chat, "responses": Responses}[API]()
report(**{name: getattr(api, name) for name in SCENARIOS})
