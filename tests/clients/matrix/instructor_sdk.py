import anthropic
import instructor
import openai
from instructor import Mode
from pydantic import BaseModel
from scenarios import *


class Fruit(BaseModel):
    fruit: str
    count: int


def ask(mode, prompt):
    if API == "messages":
        vendor = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
        client = instructor.from_anthropic(vendor, mode=mode)
        more = {"max_tokens": 4096}
    else:
        vendor = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
        client = instructor.from_openai(vendor, mode=mode)
        more = {}
    request = {"model": MODEL, "messages": [user(prompt)], "max_retries": 0, **more}
    return client.chat.completions.create(response_model=Fruit, **request).model_dump()


def structured():
    # Towards Anthropic, only the prompt has the schema.
    return ask(Mode.JSON_SCHEMA, '[[say:{"fruit": "answer", "count": 1}]]')


def by_tool():
    answer = ask(Mode.TOOLS, f"{STRUCTURED} [[tool:lemon]]")
    return f"The tool said: 42 for {answer['fruit']}"


report(tool=by_tool, structured=structured)
