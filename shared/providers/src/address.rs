//! Addresses of upstreams.

/// The part of a base URL that paths like `/v1/messages` are appended to. Operators can end a base
/// URL with a slash or with the version that the path begins with.
pub fn trim_base_url(base_url: &str) -> &str {
    let base = base_url.trim_end_matches('/');
    base.strip_suffix("/v1").unwrap_or(base)
}

/// The path of a request below a base URL. A base URL whose path names a version takes the place of
/// the `/v1` with which OpenAI's paths begin: `…/v1beta/openai` (ai.google.dev, "OpenAI
/// compatibility"), `…/v1/projects/…/endpoints/openapi` (Vertex AI, "Call Gemini with the OpenAI
/// library"), `…/api/paas/v4` (docs.z.ai, "HTTP API calls"), `…/api/v3` (Volcengine Ark, "Chat API"),
/// all read 2026-11.
pub fn path_below<'a>(base_url: &str, path: &'a str) -> &'a str {
    let versioned = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/'));
    versioned.filter(|_| names_own_version(base_url)).unwrap_or(path)
}

/// Whether a path ends in a version, or in the name of OpenAI's API below a version.
fn names_own_version(base_url: &str) -> bool {
    let path = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let mut segments = path.trim_end_matches('/').split('/').skip(1).collect::<Vec<_>>();
    let is_below = segments.last().is_some_and(|last| ["openai", "openapi"].contains(last));
    if is_below {
        return segments.iter().any(|segment| is_version(segment));
    }
    segments.pop().is_some_and(|last| last != "v1" && is_version(last))
}

/// `v1`, `v4`, `v1beta`, `v1beta1`.
fn is_version(segment: &str) -> bool {
    let digits = |text: &str| text.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
    let rest = segment.strip_prefix('v').unwrap_or_default();
    let stage = digits(rest);
    let after = stage.strip_prefix("alpha").or_else(|| stage.strip_prefix("beta"));
    stage != rest && after.map_or(stage.is_empty(), |after| digits(after).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_a_base_url_replaces_that_of_the_path() {
        let check = |base_url: &str, wanted: &str| {
            let path = path_below(base_url, "/v1/chat/completions");
            assert_eq!(format!("{}{path}", trim_base_url(base_url)), wanted, "{base_url}");
        };
        let same = "https://api.openai.com/v1/chat/completions";
        check("https://api.openai.com", same);
        check("https://api.openai.com/", same);
        check("https://api.openai.com/v1", same);
        check("https://v4.example", "https://v4.example/v1/chat/completions");
        check("https://api.groq.com/openai", "https://api.groq.com/openai/v1/chat/completions");
        check("https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1/chat/completions");
        check(
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        );
        check(
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi",
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi/\
             chat/completions",
        );
        check("https://gw.example/v8engine", "https://gw.example/v8engine/v1/chat/completions");
        check("https://gw.example/v3", "https://gw.example/v3/chat/completions");
        check("https://gw.example/v3/v1", "https://gw.example/v3/v1/chat/completions");
        check("https://gw.example/v1beta1x", "https://gw.example/v1beta1x/v1/chat/completions");
        check("https://api.z.ai/api/paas/v4", "https://api.z.ai/api/paas/v4/chat/completions");
        let gateway = "https://gateway.ai.cloudflare.com/v1/account/name/anthropic";
        assert_eq!(path_below(gateway, "/v1/messages"), "/v1/messages");
        assert_eq!(path_below("https://x.example/v4", "/model/v1/invoke"), "/model/v1/invoke");
    }
}
