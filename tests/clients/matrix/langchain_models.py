from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from scenarios import *


def model(**more):
    if API == "messages":
        return ChatAnthropic(model=MODEL, base_url=URL, api_key=KEY, max_tokens=4096, **more)
    more["use_responses_api"] = API == "responses"
    return ChatOpenAI(model=MODEL, base_url=f"{URL}/v1", api_key=KEY, **more)


def tool_loop(**more):
    agent = create_agent(model(**more), tools=[lookup])
    return agent.invoke({"messages": [user(TOOL)]})["messages"]


def thinking():
    if API == "messages":
        more = {"thinking": {"type": "adaptive", "display": "summarized"}}
    else:
        more = {"reasoning": {"effort": "high", "summary": "auto"}}
    messages = tool_loop(**more)
    blocks = [block for block in messages[1].content_blocks if block["type"] == "reasoning"]
    return {"text": messages[-1].text, "shown": any(block.get("reasoning") for block in blocks)}


def structured():
    bound = model().with_structured_output({"title": "fruit", **SCHEMA}, method="json_schema")
    return bound.invoke(STRUCTURED)


def history():
    return model().invoke([user(FIRST), model().invoke(FIRST), user(SECOND)]).text


report(
    whole=lambda: model().invoke(WHOLE).text,
    streamed=lambda: joined(chunk.text for chunk in model().stream(STREAMED)),
    tool=lambda: tool_loop()[-1].text,
    history=history,
    thinking=thinking,
    structured=structured,
)
