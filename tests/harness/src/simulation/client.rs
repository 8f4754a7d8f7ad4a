//! A client: sends a request, reads for as long as planned, and reports what it received.

use std::pin::pin;
use std::time::Duration;

use baton_relay::RelayBody;
use bytes::{BufMut as _, Bytes};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::instance_life::InstanceLife;
use super::oracle::ClientRequest;
use super::plan::{ClientPatience, PlannedRequest};
use super::simulated_world::{SimulatedWorld, locked};
use super::upstream::MODEL;

/// Longer than any request takes.
const FOR_EVER: Duration = Duration::from_secs(1000);

/// Does what the plan has for request `number`.
pub(crate) async fn ask(world: &SimulatedWorld, number: usize) {
    let planned = &world.plan.requests[number];
    let key = &world.keys[planned.key];
    let instance = world.instance(planned.slot);
    let body = body(planned);
    let mut client_request = ClientRequest {
        number,
        key: key.id.clone(),
        at: world.system.clock.now(),
        body_bytes: body.len() as u64,
        max_tokens: planned.max_tokens,
        died: None,
        heard_whole: false,
    };
    let request = Request::post("/v1/messages")
        .header("x-api-key", key.whole.expose())
        .header("x-claude-code-session-id", format!("sim-{number}"))
        .body(Full::new(body))
        .expect("a request");
    client_request.heard_whole = tokio::select! {
        biased;
        () = instance.life.ended() => false,
        whole = talk(&instance.relay, request, planned) => whole,
    };
    // The instance can also die later, while the rest of the answer is read without the client.
    locked(&world.client_requests).push(client_request);
    watch(world, number, &instance.life).await;
}

/// Records the end of the instance, if it comes before the end of the request.
async fn watch(world: &SimulatedWorld, number: usize, life: &InstanceLife) {
    if timeout(Duration::from_secs(200), life.ended()).await.is_ok() {
        let (mut client_requests, now) = (locked(&world.client_requests), Instant::now());
        client_requests
            .iter_mut()
            .filter(|one| one.number == number)
            .for_each(|one| one.died = Some(now));
    }
}

/// Returns whether the answer arrived completely and was successful.
async fn talk(
    relay: &baton_relay::Relay,
    request: Request<Full<Bytes>>,
    planned: &PlannedRequest,
) -> bool {
    let begin = match planned.patience {
        ClientPatience::For(time) => time,
        _ => FOR_EVER,
    };
    let Ok(answer) = timeout(begin, relay.handle(request)).await else { return false };
    let is_good = answer.status().is_success();
    let bytes = match planned.patience {
        ClientPatience::Bytes(bytes) => bytes,
        _ => usize::MAX,
    };
    let heard = read(answer.into_body(), bytes).await;
    is_good && heard.is_some_and(|text| !planned.stream || text.contains("\"message_stop\""))
}

/// The whole body; `None` if it broke or the client left.
async fn read(body: RelayBody, bytes: usize) -> Option<String> {
    let mut body = pin!(body);
    let mut heard = Vec::new();
    while let Some(frame) = body.frame().await {
        heard.put(frame.ok()?.into_data().ok()?);
        if heard.len() >= bytes {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&heard).into_owned())
}

fn body(planned: &PlannedRequest) -> Bytes {
    let body = json!({
        "model": MODEL, "max_tokens": planned.max_tokens, "stream": planned.stream,
        "messages": [{ "role": "user", "content": "simulated" }],
    });
    Bytes::from(body.to_string())
}
