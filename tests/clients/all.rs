//! Real clients against the strict twins of the vendors, as in the suite `clients`. These clients take
//! longer to install and to run.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "shared checks fail the test that calls them"
)]

mod gemini;
mod install;
mod matrix;

matrix::test_clients!(false:
    claude_agent vercel_ai_anthropic vercel_ai_openai_chat vercel_ai_openai_responses
    langchain_anthropic langchain_openai_chat langchain_openai_responses
    pydantic_ai_anthropic pydantic_ai_openai_chat pydantic_ai_openai_responses
    openai_agents_chat openai_agents_responses litellm_anthropic litellm_openai
    instructor_anthropic instructor_openai
);
