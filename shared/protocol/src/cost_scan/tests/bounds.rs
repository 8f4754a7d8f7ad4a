//! The fields that gave the bound, the tier of a request that names none, and models with a price
//! for each call.

use super::super::find_call_price;
use super::super::known::has_call_price;
use super::UpstreamProtocol::{Chat, Messages, Responses};
use super::demand;
use baton_domain::cost_factors::{ChatBound, CostFactors};
use baton_domain::model_capabilities::OutputBoundFields;

#[test]
fn fields_of_a_chat_request_that_bound_the_answer_are_noted() {
    let check = |reads, fields: &str, expect| {
        assert_eq!(demand(reads, fields).chat_bound, expect, "{reads:?} {fields}");
    };
    check(Chat, "", ChatBound::None);
    check(Chat, r#""max_tokens":5"#, ChatBound::MaxTokens);
    check(Chat, r#""max_completion_tokens":5"#, ChatBound::MaxCompletionTokens);
    check(Chat, r#""max_completion_tokens":5,"max_tokens":null"#, ChatBound::MaxCompletionTokens);
    check(Chat, r#""max_completion_tokens":5,"max_tokens":9"#, ChatBound::Both);
    check(Chat, r#""max_completion_tokens":5,"max_tokens":0"#, ChatBound::None);
    check(Chat, r#""max_completion_tokens":"x","max_tokens":3"#, ChatBound::None);
    check(Messages, r#""max_tokens":5"#, ChatBound::None);
    check(Responses, r#""max_output_tokens":5"#, ChatBound::None);
}

#[test]
fn ignored_bound_keeps_the_thinking_budget() {
    let factors = demand(Chat, r#""max_completion_tokens":5,"thinking_budget":70"#);
    assert_eq!((factors.output_tokens, factors.has_thinking_budget), (Some(75), true));
    let ignored = factors.at_upstream(OutputBoundFields::MaxTokens);
    assert_eq!((ignored.output_tokens, ignored.thinking_tokens), (None, 70));
    let read = factors.at_upstream(OutputBoundFields::Either);
    assert_eq!(read, factors);
    let openrouter = demand(Chat, r#""max_tokens":5,"reasoning":{"max_tokens":70}"#);
    assert!(!openrouter.has_thinking_budget, "not the field that bounds the thinking elsewhere");
}

#[test]
fn request_without_a_tier_gets_that_of_the_project() {
    let uses_project_tier = |reads, fields: &str| -> bool {
        let CostFactors { uses_project_tier, .. } = demand(reads, fields);
        uses_project_tier
    };
    for reads in [Chat, Responses] {
        for fields in ["", r#""service_tier":null"#, r#""service_tier":"auto""#] {
            assert!(uses_project_tier(reads, fields), "{reads:?} {fields}");
        }
        for tier in ["default", "standard", "flex", "batch", "priority", "ultrafast"] {
            let fields = format!(r#""service_tier":"{tier}""#);
            assert!(!uses_project_tier(reads, &fields), "{reads:?} {fields}");
        }
    }
    assert!(!uses_project_tier(Messages, ""), "Anthropic's tiers have one price");
}

/// xAI bills each of the agents (docs.apiyi.com, "Grok Multi-Agent Model Guide", 2026-11).
#[test]
fn models_that_call_agents_have_a_price_for_each_call() {
    for model in [
        "grok-4.20-multi-agent",
        "x-ai/grok-4.20-multi-agent",
        "grok-4.20-multi-agent-beta-0309",
        "grok-4-20-multi-agent",
        "Grok-4.20-Multi-Agent-latest",
        "spacexai/grok-4.20-multi-agent:free",
    ] {
        assert!(has_call_price(model), "{model}");
        let unbounded = find_call_price(model).map(|unbounded| unbounded.field);
        assert_eq!(unbounded.as_deref(), Some("model"), "{model}");
    }
    for model in ["grok-4.5", "grok-4.20-0309-reasoning", "gpt-5.5", "multi/agent"] {
        assert_eq!(find_call_price(model), None, "{model}");
    }
}
