// Uses OpenAI's TypeScript SDK as a program does and prints the results as one JSON object.

import { createRequire } from "node:module";

// The package is in the current folder, not in the folder of this file.
const require = createRequire(`${process.cwd()}/`);
const OpenAI = require("openai").default;

const MODEL = "claude-sonnet-5-5";
const client = new OpenAI({ maxRetries: 0 });
const FUNCTION = {
  name: "lookup",
  description: "x",
  parameters: { type: "object", properties: { value: { type: "string" } } },
};

const chat = (text, more = {}) => ({
  model: MODEL,
  messages: [{ role: "user", content: text }],
  ...more,
});

async function chatStreamed(more) {
  let said = "";
  let usage = null;
  for await (const chunk of await client.chat.completions.create(chat("hi", { stream: true, ...more }))) {
    for (const choice of chunk.choices) said += choice.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  return [said, usage !== null];
}

async function chatRound() {
  const request = chat("[[tool:answer]]", { tools: [{ type: "function", function: FUNCTION }] });
  const { message } = (await client.chat.completions.create(request)).choices[0];
  const call = message.tool_calls[0];
  request.messages.push(message, { role: "tool", tool_call_id: call.id, content: "42" });
  const said = (await client.chat.completions.create(request)).choices[0].message.content;
  return [call.function.name, JSON.parse(call.function.arguments), said];
}

async function responsesStreamed() {
  let said = "";
  const stream = client.responses.stream({ model: MODEL, input: "hi" });
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") said += event.delta;
  }
  const final = await stream.finalResponse();
  return [said, final.output_text, final.status, final.usage.output_tokens > 0];
}

async function responsesRound() {
  const tools = [{ type: "function", strict: false, ...FUNCTION }];
  const input = [{ role: "user", content: "[[tool:answer]]" }];
  const first = await client.responses.create({ model: MODEL, input, tools, store: false });
  const call = first.output.find((item) => item.type === "function_call");
  input.push(...first.output, { type: "function_call_output", call_id: call.call_id, output: "42" });
  const then = await client.responses.create({ model: MODEL, input, tools, store: false });
  return [call.name, JSON.parse(call.arguments), then.output_text];
}

async function failing() {
  try {
    return (await client.chat.completions.create(chat("[[status:400;say=no such thing]]"))).id;
  } catch (error) {
    return [error.constructor.name, error.status, error.message.includes("no such thing")];
  }
}

const models = [];
for await (const model of client.models.list()) models.push(model.id);

console.log(
  JSON.stringify({
    chat: (await client.chat.completions.create(chat("hi"))).choices[0].message.content,
    chat_streamed: await chatStreamed({}),
    chat_usage: await chatStreamed({ stream_options: { include_usage: true } }),
    chat_round: await chatRound(),
    responses: (await client.responses.create({ model: MODEL, input: "hi" })).output_text,
    responses_streamed: await responsesStreamed(),
    responses_round: await responsesRound(),
    models: models.includes(MODEL),
    error: await failing(),
  }),
);
