from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ResultMessage,
    ThinkingBlock,
    create_sdk_mcp_server,
    tool,
)
from scenarios import *


@tool("lookup", "Looks up.", {"value": str})
async def lookup_tool(arguments):
    return {"content": [{"type": "text", "text": lookup(**arguments)}]}


def options(**more):
    return ClaudeAgentOptions(
        model=MODEL,
        mcp_servers={"baton": create_sdk_mcp_server("baton", tools=[lookup_tool])},
        allowed_tools=["mcp__baton__lookup"],
        env={
            "ANTHROPIC_BASE_URL": URL,
            "ANTHROPIC_AUTH_TOKEN": KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "ENABLE_TOOL_SEARCH": "false",
        },
        **more,
    )


async def messages(*prompts, **more):
    """The messages of the last turn."""
    async with ClaudeSDKClient(options(**more)) as client:
        for prompt in prompts:
            await client.query(prompt)
            turn = [message async for message in client.receive_response()]
    if turn[-1].is_error:
        raise RuntimeError(turn[-1].result)
    return turn


async def said(*prompts, **more):
    return (await messages(*prompts, **more))[-1].result


async def thinking():
    turn = await messages("[[tool@mcp__baton__lookup:lemon]]", effort="high")
    blocks = [it for message in turn if isinstance(message, AssistantMessage) for it in message.content]
    shown = any(isinstance(block, ThinkingBlock) and bool(block.thinking) for block in blocks)
    return {"text": turn[-1].result, "shown": shown}


async def structured():
    form = {"type": "json_schema", "schema": SCHEMA}
    # Its model is to answer with a tool.
    turn = await messages("[[tool@StructuredOutput:answer]]", output_format=form)
    return turn[-1].structured_output


report(
    streamed=lambda: said(STREAMED),
    tool=lambda: said("[[tool@mcp__baton__lookup:lemon]]"),
    history=lambda: said(FIRST, SECOND),
    thinking=thinking,
    structured=structured,
)
