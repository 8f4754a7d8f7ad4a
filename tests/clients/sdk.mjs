// Uses the TypeScript SDK as a program does and prints the results as one JSON object.
import { createRequire } from "node:module";

// The package is in the current folder, not in the folder of this file.
const require = createRequire(`${process.cwd()}/`);
const Anthropic = require("@anthropic-ai/sdk").default;

const model = "claude-opus-5-5";
const client = new Anthropic({ maxRetries: 0 });

const ask = (text, more = {}) => ({
  model,
  max_tokens: 2048,
  messages: [{ role: "user", content: text }],
  ...more,
});

/** A message without the id that differs from run to run. */
const plain = ({ id, ...message }) => message;

async function streamed(request) {
  const kinds = [];
  const stream = client.messages.stream(request);
  stream.on("streamEvent", (event) => kinds.push(event.type));
  return { kinds, message: plain(await stream.finalMessage()) };
}

async function toolRound() {
  const tools = [{ name: "lookup", description: "x", input_schema: { type: "object" } }];
  const request = ask("[[tool:answer]]", { tools });
  const first = await client.messages.create(request);
  const call = first.content.find((block) => block.type === "tool_use");
  request.messages.push(
    { role: "assistant", content: first.content },
    { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "42" }] },
  );
  return [call, await client.messages.stream(request).finalText()];
}

async function failing(request) {
  try {
    return plain(await client.messages.create(request));
  } catch (error) {
    return [error.constructor.name, error.status, error.error];
  }
}

async function fixture(name) {
  try {
    return await streamed(ask(`[[fixture:${name};size=53]]`));
  } catch (error) {
    return error.constructor.name; // some recorded streams end with an error
  }
}

async function modelIds() {
  const ids = [];
  for await (const each of client.models.list({ limit: 1000 })) ids.push(each.id);
  return ids;
}

const fixtures = {};
for (const name of process.argv.slice(2)) fixtures[name] = await fixture(name);
const results = {
  whole: plain(await client.messages.create(ask("hi"))),
  gzip: plain(await client.messages.create(ask("[[text;gzip]]"))),
  streamed: await streamed(ask("hi")),
  pings: await streamed(ask("[[pings;size=11]]")),
  thinking: await streamed(ask("[[thinking]]", { thinking: { type: "adaptive" } })),
  tool: await toolRound(),
  count_tokens: (
    await client.messages.countTokens({ model, messages: [{ role: "user", content: "hi" }] })
  ).input_tokens,
  models: await modelIds(),
  model: (await client.models.retrieve(model)).id,
  error: await failing(ask("[[error:prompt_too_long]]")),
  fixtures,
};
process.stdout.write(JSON.stringify(results));
