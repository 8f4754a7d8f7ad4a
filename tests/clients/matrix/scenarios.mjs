// What every client of the matrix does, and how it reports it. See docs/develop/testing.md.

export const { BATON_URL: URL, BATON_KEY: KEY, BATON_MODEL: MODEL } = process.env;
// `messages`, `chat` or `responses`, for clients that speak several.
export const API = process.env.BATON_API;

export const WHOLE = "[[say:plums and pears]]";
export const STREAMED = "[[say:figs and dates]]";
export const TOOL = "[[tool:lemon]]";
export const FIRST = "[[say:cherries]]";
export const SECOND = "[[recall]]";
export const STRUCTURED = "Name a fruit.";
export const SCHEMA = {
  type: "object",
  properties: { fruit: { type: "string" }, count: { type: "integer" } },
  required: ["fruit", "count"],
  additionalProperties: false,
};
export const PARAMETERS = {
  type: "object",
  properties: { value: { type: "string" } },
  required: ["value"],
  additionalProperties: false,
};

// The tool.
export const lookup = ({ value }) => `42 for ${value}`;

// A user's message.
export const user = (content) => ({ role: "user", content });

// The text of a stream, which must have several pieces.
export async function joined(pieces) {
  const texts = [];
  for await (const piece of pieces) if (piece) texts.push(piece);
  return texts.length > 1 ? texts.join("") : `only one piece: ${JSON.stringify(texts)}`;
}

// Prints what each requested scenario returns, or its error, as one JSON object.
export async function report(scenarios) {
  const results = {};
  for (const name of process.env.BATON_SCENARIOS.split(",")) {
    try {
      results[name] = await scenarios[name]();
    } catch (error) {
      results[name] = { error: `${error.name}: ${error.message}` };
    }
  }
  console.log(JSON.stringify(results));
}
