import OpenAI from "openai";
import * as it from "./scenarios.mjs";

const client = new OpenAI({ baseURL: `${it.URL}/v1`, apiKey: it.KEY, maxRetries: 0 });
const definition = { name: "lookup", description: "Looks up.", parameters: it.PARAMETERS };
const model = it.MODEL;

function chat() {
  const tools = [{ type: "function", function: definition }];
  const ask = async (messages, more) =>
    (await client.chat.completions.create({ model, messages, ...more })).choices[0].message;
  async function* pieces(messages) {
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    for await (const chunk of stream) yield chunk.choices[0]?.delta.content;
  }
  return {
    whole: async () => (await ask([it.user(it.WHOLE)])).content,
    streamed: () => it.joined(pieces([it.user(it.STREAMED)])),
    tool: async () => {
      const messages = [it.user(it.TOOL)];
      const first = await ask(messages, { tools });
      const [call] = first.tool_calls;
      const content = it.lookup(JSON.parse(call.function.arguments));
      messages.push(first, { role: "tool", tool_call_id: call.id, content });
      return (await ask(messages, { tools })).content;
    },
    history: async () => {
      const answer = await ask([it.user(it.FIRST)]);
      return (await ask([it.user(it.FIRST), answer, it.user(it.SECOND)])).content;
    },
    structured: async () => {
      const json_schema = { name: "fruit", schema: it.SCHEMA, strict: true };
      const response_format = { type: "json_schema", json_schema };
      return JSON.parse((await ask([it.user(it.STRUCTURED)], { response_format })).content);
    },
  };
}

function responses() {
  const tools = [{ type: "function", strict: true, ...definition }];
  // Without it, what is not stored cannot be sent back.
  const include = ["reasoning.encrypted_content"];
  const ask = (input, more) =>
    client.responses.create({ model, input, store: false, include, ...more });
  async function* pieces(input) {
    const stream = await ask(input, { stream: true });
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") yield event.delta;
    }
  }
  const toolLoop = async (more) => {
    const input = [it.user(it.TOOL)];
    const first = await ask(input, { tools, ...more });
    const call = first.output.find((item) => item.type === "function_call");
    const output = it.lookup(JSON.parse(call.arguments));
    input.push(...first.output, { type: "function_call_output", call_id: call.call_id, output });
    return [first, (await ask(input, { tools, ...more })).output_text];
  };
  return {
    whole: async () => (await ask(it.WHOLE)).output_text,
    streamed: () => it.joined(pieces(it.STREAMED)),
    tool: async () => (await toolLoop())[1],
    history: async () => {
      const { output } = await ask([it.user(it.FIRST)]);
      return (await ask([it.user(it.FIRST), ...output, it.user(it.SECOND)])).output_text;
    },
    thinking: async () => {
      const reasoning = { effort: "high", summary: "auto" };
      const [first, said] = await toolLoop({ reasoning });
      return { text: said, shown: first.output.some((item) => Boolean(item.summary?.length)) };
    },
    structured: async () => {
      const format = { type: "json_schema", name: "fruit", schema: it.SCHEMA, strict: true };
      return JSON.parse((await ask(it.STRUCTURED, { text: { format } })).output_text);
    },
  };
}

await it.report({ chat, responses }[it.API]());
