from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.messages import ThinkingPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from scenarios import *


class Fruit(BaseModel):
    fruit: str
    count: int


if API == "messages":
    model = AnthropicModel(MODEL, provider=AnthropicProvider(base_url=URL, api_key=KEY))
    think = {"anthropic_thinking": {"type": "adaptive", "display": "summarized"}}
else:
    kind = OpenAIChatModel if API == "chat" else OpenAIResponsesModel
    model = kind(MODEL, provider=OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY))
    think = {"openai_reasoning_effort": "high", "openai_reasoning_summary": "auto"}
agent = Agent(model)
with_tool = Agent(model, tools=[lookup])


async def streamed():
    async with agent.run_stream(STREAMED) as stream:
        return await joined_later(stream.stream_text(delta=True, debounce_by=None))


async def history():
    first = await agent.run(FIRST)
    return (await agent.run(SECOND, message_history=first.all_messages())).output


async def thinking():
    result = await with_tool.run(TOOL, model_settings=think)
    parts = [part for message in result.all_messages() for part in message.parts]
    shown = any(isinstance(part, ThinkingPart) and bool(part.content) for part in parts)
    return {"text": result.output, "shown": shown}


async def structured():
    return (await Agent(model, output_type=NativeOutput(Fruit)).run(STRUCTURED)).output.model_dump()


async def output(of, prompt):
    return (await of.run(prompt)).output


report(
    whole=lambda: output(agent, WHOLE),
    streamed=streamed,
    tool=lambda: output(with_tool, TOOL),
    history=history,
    thinking=thinking,
    structured=structured,
)
