import Anthropic from "@anthropic-ai/sdk";
import * as it from "./scenarios.mjs";

const client = new Anthropic({ baseURL: it.URL, apiKey: it.KEY, maxRetries: 0 });
const tools = [{ name: "lookup", description: "Looks up.", input_schema: it.PARAMETERS }];

const body = (messages, more) => ({ model: it.MODEL, max_tokens: 4096, messages, ...more });
const ask = (messages, more) => client.messages.create(body(messages, more));
const text = ({ content }) => content.map((block) => block.text ?? "").join("");

async function* pieces(stream) {
  for await (const event of stream) yield event.delta?.text;
}

async function toolLoop(more) {
  const messages = [it.user(it.TOOL)];
  const first = await ask(messages, { tools, ...more });
  const call = first.content.find((block) => block.type === "tool_use");
  const result = { type: "tool_result", tool_use_id: call.id, content: it.lookup(call.input) };
  messages.push({ role: "assistant", content: first.content }, it.user([result]));
  return [first, text(await ask(messages, { tools, ...more }))];
}

await it.report({
  whole: async () => text(await ask([it.user(it.WHOLE)])),
  streamed: () => it.joined(pieces(client.messages.stream(body([it.user(it.STREAMED)])))),
  tool: async () => (await toolLoop())[1],
  history: async () => {
    const { content } = await ask([it.user(it.FIRST)]);
    const answer = { role: "assistant", content };
    return text(await ask([it.user(it.FIRST), answer, it.user(it.SECOND)]));
  },
  thinking: async () => {
    const [first, said] = await toolLoop({ thinking: { type: "adaptive", display: "summarized" } });
    return { text: said, shown: first.content.some((block) => Boolean(block.thinking)) };
  },
  structured: async () => {
    const format = { type: "json_schema", schema: it.SCHEMA };
    const more = { output_config: { format } };
    return JSON.parse(text(await ask([it.user(it.STRUCTURED)], more)));
  },
});
