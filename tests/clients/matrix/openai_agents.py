from agents import (
    Agent,
    ModelSettings,
    Runner,
    function_tool,
    set_default_openai_api,
    set_default_openai_client,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from pydantic import BaseModel
from scenarios import *

set_default_openai_client(AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0))
set_default_openai_api("responses" if API == "responses" else "chat_completions")
set_tracing_disabled(True)


class Fruit(BaseModel):
    fruit: str
    count: int


def agent(**more):
    return Agent(name="helper", model=MODEL, **more)


async def run(prompt, **more):
    return await Runner.run(agent(**more), prompt)


async def said(prompt, **more):
    return (await run(prompt, **more)).final_output


async def deltas():
    async for event in Runner.run_streamed(agent(), STREAMED).stream_events():
        if getattr(event, "data", None) and event.data.type == "response.output_text.delta":
            yield event.data.delta


async def history():
    first = await run(FIRST)
    return await said([*first.to_input_list(), user(SECOND)])


async def thinking():
    settings = ModelSettings(reasoning=Reasoning(effort="high", summary="auto"))
    result = await run(TOOL, tools=[function_tool(lookup)], model_settings=settings)
    items = [item.raw_item for item in result.new_items if item.type == "reasoning_item"]
    return {"text": result.final_output, "shown": any(bool(item.summary) for item in items)}


async def structured():
    return (await said(STRUCTURED, output_type=Fruit)).model_dump()


report(
    whole=lambda: said(WHOLE),
    streamed=lambda: joined_later(deltas()),
    tool=lambda: said(TOOL, tools=[function_tool(lookup)]),
    history=history,
    thinking=thinking,
    structured=structured,
)
