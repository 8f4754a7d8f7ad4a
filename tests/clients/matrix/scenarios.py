"""What every client of the matrix does, and how it reports it. See docs/develop/testing.md."""

import asyncio
import inspect
import json
import os

URL = os.environ["BATON_URL"]
KEY = os.environ["BATON_KEY"]
# `messages`, `chat` or `responses`, for clients that speak several.
API = os.environ["BATON_API"]
MODEL = os.environ["BATON_MODEL"]
# The names of the scenarios, with commas between them.
SCENARIOS = os.environ["BATON_SCENARIOS"].split(",")

WHOLE = "[[say:plums and pears]]"
STREAMED = "[[say:figs and dates]]"
TOOL = "[[tool:lemon]]"
FIRST = "[[say:cherries]]"
SECOND = "[[recall]]"
STRUCTURED = "Name a fruit."
SCHEMA = {
    "type": "object",
    "properties": {"fruit": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["fruit", "count"],
    "additionalProperties": False,
}
PARAMETERS = {
    "type": "object",
    "properties": {"value": {"type": "string"}},
    "required": ["value"],
    "additionalProperties": False,
}


def lookup(value: str) -> str:
    """The tool."""
    return f"42 for {value}"


def user(content):
    """A user's message."""
    return {"role": "user", "content": content}


def joined(pieces):
    """The text of a stream, which must have several pieces."""
    pieces = [piece for piece in pieces if piece]
    return "".join(pieces) if len(pieces) > 1 else f"only one piece: {pieces}"


async def joined_later(pieces):
    """The same for a stream that is awaited."""
    return joined([piece async for piece in pieces])


def report(**scenarios):
    """Prints what each requested scenario returns, or its error, as one JSON object."""
    print(json.dumps(asyncio.run(results({name: scenarios[name] for name in SCENARIOS}))))


async def results(scenarios):
    found = {}
    for name, scenario in scenarios.items():
        try:
            result = scenario()
            found[name] = await result if inspect.isawaitable(result) else result
        except Exception as error:  # it is the result
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    return found
