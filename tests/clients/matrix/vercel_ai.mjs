import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import * as ai from "ai";
import * as it from "./scenarios.mjs";

const place = { baseURL: `${it.URL}/v1`, apiKey: it.KEY };
const model = {
  messages: () => createAnthropic(place)(it.MODEL),
  chat: () => createOpenAI(place).chat(it.MODEL),
  responses: () => createOpenAI(place).responses(it.MODEL),
}[it.API]();
const tools = {
  lookup: ai.tool({
    description: "Looks up.",
    inputSchema: ai.jsonSchema(it.PARAMETERS),
    execute: it.lookup,
  }),
};
const providerOptions = {
  anthropic: { thinking: { type: "adaptive", display: "summarized" } },
  openai: { reasoningEffort: "high", reasoningSummary: "auto", store: false },
};

const ask = (request) => ai.generateText({ model, maxRetries: 0, ...request });
const toolLoop = (more) =>
  ask({ prompt: it.TOOL, tools, stopWhen: ai.isStepCount(3), ...more });

await it.report({
  whole: async () => (await ask({ prompt: it.WHOLE })).text,
  streamed: () => it.joined(ai.streamText({ model, prompt: it.STREAMED }).textStream),
  tool: async () => (await toolLoop()).text,
  history: async () => {
    const { responseMessages } = await ask({ prompt: it.FIRST });
    const messages = [it.user(it.FIRST), ...responseMessages, it.user(it.SECOND)];
    return (await ask({ messages })).text;
  },
  thinking: async () => {
    const { text, steps } = await toolLoop({ providerOptions });
    return { text, shown: steps.some((step) => Boolean(step.reasoningText)) };
  },
  structured: async () => {
    const output = ai.Output.object({ schema: ai.jsonSchema(it.SCHEMA) });
    return (await ask({ prompt: it.STRUCTURED, output })).output;
  },
});
