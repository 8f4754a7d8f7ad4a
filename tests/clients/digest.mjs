// Prints what the TypeScript SDKs read from streams, in a form that is the same for all protocols.
import { createRequire } from "node:module";

// The packages are in the current folder, not in the folder of this file.
const require = createRequire(`${process.cwd()}/`);
const Anthropic = require("@anthropic-ai/sdk").default;
const OpenAI = require("openai").default;

const STOPS = {
  end_turn: "stop", stop_sequence: "stop", pause_turn: "stop",
  max_tokens: "length", tool_use: "tool_calls", refusal: "content_filter",
};
const turn = [{ role: "user", content: "hi" }];
const joined = (texts) => texts.join("");

async function messages(baseURL) {
  const client = new Anthropic({ baseURL, apiKey: "k", maxRetries: 0 });
  const request = { model: "m", max_tokens: 9, messages: turn };
  const { content, stop_reason, usage } = await client.messages.stream(request).finalMessage();
  const kind = (name) => content.filter((block) => block.type === name);
  const cached = usage.cache_read_input_tokens ?? 0;
  const caches = cached + (usage.cache_creation_input_tokens ?? 0);
  return {
    text: joined(kind("text").map((block) => block.text)),
    thinking: joined(kind("thinking").map((block) => block.thinking)),
    calls: kind("tool_use").map(({ id, name, input }) => [id, name, input]),
    stop: STOPS[stop_reason],
    usage: [usage.input_tokens + caches, cached, usage.output_tokens],
  };
}

async function chat(baseURL) {
  const client = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey: "k", maxRetries: 0 });
  const stream = client.chat.completions.stream({ model: "m", messages: turn });
  let thinking = "";
  let usage;
  stream.on("chunk", (chunk) => {
    thinking += chunk.choices[0]?.delta.reasoning_content ?? "";
    usage = chunk.usage ?? usage;
  });
  const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
  return {
    text: message.content ?? "",
    thinking,
    calls: (message.tool_calls ?? []).map(({ id, function: { name, arguments: text } }) => [
      id, name, JSON.parse(text),
    ]),
    stop: finish_reason,
    usage: usage
      ? [usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens]
      : [0, 0, 0],
  };
}

async function responses(baseURL) {
  const client = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey: "k", maxRetries: 0 });
  let last;
  for await (const event of client.responses.stream({ model: "m", input: "hi" })) last = event;
  const { output, status, incomplete_details, usage } = last.response;
  const kind = (name) => output.filter((item) => item.type === name);
  const calls = kind("function_call");
  const reasons = { max_output_tokens: "length", content_filter: "content_filter" };
  const parts = kind("message").flatMap((item) => item.content);
  // A refusal is a completed response.
  const isRefused = parts.some((part) => part.type === "refusal");
  const ended = isRefused ? "content_filter" : calls.length ? "tool_calls" : "stop";
  return {
    text: joined(parts.filter((part) => part.type === "output_text").map((part) => part.text)),
    thinking: joined(kind("reasoning").flatMap((item) => item.summary.map((part) => part.text))),
    calls: calls.map((call) => [call.call_id, call.name, JSON.parse(call.arguments)]),
    stop: status === "incomplete" ? reasons[incomplete_details.reason] : ended,
    usage: [usage.input_tokens, usage.input_tokens_details.cached_tokens, usage.output_tokens],
  };
}

const [base, ...names] = process.argv.slice(2);
const readers = { messages, chat, responses };
const digests = {};
for (const name of names) digests[name] = await readers[name.split(".")[1]](`${base}/${name}`);
process.stdout.write(JSON.stringify(digests));
