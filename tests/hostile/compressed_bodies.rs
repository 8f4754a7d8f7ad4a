//! Compressed request bodies on every route that takes a body. A body in a right form must be read
//! as if it were plain, every other one must be refused before an upstream is called, and no form
//! may need much memory or time.

use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem};
use flate2::{Compress, Compression, FlushCompress, GzBuilder};
use futures_util::future::join_all;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::class::AttackClass;
use crate::plain_upstream::PlainUpstream;
use crate::process::{
    HEALTH_MAX, HealthWatch, RESIDENT_MB_MAX, address, memory_mb, read_to_end, reset_peak, send,
    unknown_key,
};

const MB: usize = 1 << 20;
const MESSAGES: &str = "/v1/messages";
const MODEL: &str = "claude-haiku-4-5";
/// The most plain text of a block of zstd.
const BLOCK: usize = 128 * 1024;
/// The header of a gzip member without further fields.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// A body and the header that names its coding.
struct Coded {
    name: String,
    coding: &'static str,
    body: Vec<u8>,
}

fn coded(name: impl Into<String>, coding: &'static str, body: Vec<u8>) -> Coded {
    Coded { name: name.into(), coding, body }
}

/// The routes that take a body, each with a body.
fn routes() -> Vec<(String, String)> {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let bedrock = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": messages,
    });
    let counted = json!({"input": {"invokeModel": {
        "body": BASE64_STANDARD.encode(bedrock.to_string()),
    }}});
    let model = |action: &str| format!("/model/{MODEL}/{action}");
    let chat = json!({"model": MODEL, "messages": messages});
    [
        (MESSAGES.to_owned(), json!({"model": MODEL, "max_tokens": 9, "messages": messages})),
        ("/v1/messages/count_tokens".to_owned(), chat.clone()),
        ("/v1/chat/completions".to_owned(), chat),
        ("/v1/responses".to_owned(), json!({"model": MODEL, "input": "hi"})),
        (model("invoke"), bedrock.clone()),
        (model("invoke-with-response-stream"), bedrock),
        (model("count-tokens"), counted),
    ]
    .into_iter()
    .map(|(path, body)| (path, body.to_string()))
    .collect()
}

fn gzip(plain: &[u8], level: u32, builder: GzBuilder) -> Vec<u8> {
    let mut encoder = builder.write(Vec::new(), Compression::new(level));
    encoder.write_all(plain).expect("compressed");
    encoder.finish().expect("compressed")
}

fn member(plain: &[u8]) -> Vec<u8> {
    gzip(plain, 6, GzBuilder::new())
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    compress_to_vec(plain, CompressionLevel::Fastest)
}

/// A block of a zstd frame: its kind (0 raw, 1 repeated, 3 reserved), its plain length and its
/// bytes.
type Block<'a> = (u8, usize, &'a [u8]);

/// A zstd frame with this descriptor and the rest of its header.
fn frame(head: &[u8], blocks: &[Block<'_>]) -> Vec<u8> {
    let mut frame = [&[0x28, 0xb5, 0x2f, 0xfd], head].concat();
    for (at, (kind, length, bytes)) in blocks.iter().enumerate() {
        let is_last = u32::from(at + 1 == blocks.len());
        let header = u32::try_from(*length).expect("short") << 3 | u32::from(*kind) << 1 | is_last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(bytes);
    }
    frame
}

/// A frame of zstd with one raw block and a window of this descriptor.
fn raw(window: u8, plain: &[u8]) -> Vec<u8> {
    frame(&[0, window], &[(0, plain.len(), plain)])
}

/// A frame that zstd skips, with this many bytes.
fn skippable(length: usize) -> Vec<u8> {
    let mut frame = vec![0x5a, 0x2a, 0x4d, 0x18];
    frame.extend_from_slice(&u32::try_from(length).expect("short").to_le_bytes());
    frame.resize(frame.len() + length, b'x');
    frame
}

/// `plain` in this many parts, each encoded.
fn in_parts(plain: &[u8], count: usize, encode: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let length = plain.len().div_ceil(count);
    let parts: Vec<_> = plain.chunks(length).map(&encode).collect();
    let empty = encode(b"").repeat(count - parts.len());
    [parts.concat(), empty].concat()
}

/// Forms of `plain` that must be read.
fn right_forms(plain: &[u8]) -> Vec<Coded> {
    let mut forms = Vec::new();
    for level in [0, 1, 6, 9] {
        forms.push(coded(format!("gzip {level}"), "gzip", gzip(plain, level, GzBuilder::new())));
    }
    for coding in ["x-gzip", "GZIP", "identity, gzip", " gzip ,identity", ",gzip,"] {
        forms.push(coded(coding, coding, member(plain)));
    }
    for coding in ["zstd", "ZSTD", "identity,zstd", "zstd , "] {
        forms.push(coded(coding, coding, zstd(plain)));
    }
    for coding in ["identity", "", "Identity, identity"] {
        forms.push(coded(format!("plain as {coding:?}"), coding, plain.to_vec()));
    }
    let named = GzBuilder::new().filename("body.json").comment("c".repeat(9_000));
    forms.push(coded("gzip with a name", "gzip", gzip(plain, 6, named)));
    let extra = GzBuilder::new().extra(vec![7; 65_535]).mtime(u32::MAX);
    forms.push(coded("gzip with a long field", "gzip", gzip(plain, 6, extra)));
    for count in [2, 17, 1_024] {
        forms.push(coded(format!("{count} members"), "gzip", in_parts(plain, count, member)));
        forms.push(coded(format!("{count} frames"), "zstd", in_parts(plain, count, zstd)));
    }
    let whole = zstd(plain);
    for (name, parts) in [
        ("skippable first", vec![skippable(4), whole.clone()]),
        ("skippable last", vec![whole.clone(), skippable(0)]),
        ("skippable everywhere", vec![skippable(9), whole, skippable(70_000), skippable(1)]),
    ] {
        forms.push(coded(name, "zstd", parts.concat()));
    }
    // Windows from 1 KiB to 8 MiB, with each eighth between them.
    for window in 0..=0x68 {
        if window % 8 == 0 || !(8..=0x60).contains(&window) {
            forms.push(coded(format!("window {window:#x}"), "zstd", raw(window, plain)));
        }
    }
    let length = u8::try_from(plain.len() % 256).expect("a byte");
    let high = u8::try_from(plain.len() / 256).expect("a byte");
    let blocks = [(0, plain.len(), plain)];
    forms.push(coded("size of four bytes", "zstd", frame(&[0xa0, length, high, 0, 0], &blocks)));
    let wide = [0xe0, length, high, 0, 0, 0, 0, 0, 0];
    forms.push(coded("size of eight bytes", "zstd", frame(&wide, &blocks)));
    let tiny: Vec<Block<'_>> = plain.chunks(1).map(|byte| (1, 1, byte)).collect();
    forms.push(coded("a block for each byte", "zstd", frame(&[0, 0x40], &tiny)));
    forms
}

/// Forms that must be refused with 400.
fn wrong_forms(plain: &[u8]) -> Vec<Coded> {
    let mut forms = Vec::new();
    for (coding, whole) in [("gzip", member(plain)), ("zstd", zstd(plain))] {
        let length = whole.len();
        for at in [0, 1, 3, 4, 9, 11, length / 2, length - 8, length - 4, length - 1] {
            let name = format!("{coding} cut at {at}");
            forms.push(coded(name, coding, whole[..at].to_vec()));
        }
        for rest in [&b"junk!"[..], b"{", &[0; 16], &whole[..7], plain] {
            let name = format!("{coding} and {} bytes more", rest.len());
            forms.push(coded(name, coding, [&whole, rest].concat()));
        }
        let mut bad = whole.clone();
        bad[length - 1] ^= 1;
        forms.push(coded(format!("{coding} with a false end"), coding, bad));
        let other = if coding == "gzip" { "zstd" } else { "gzip" };
        forms.push(coded(format!("{coding} as {other}"), other, whole.clone()));
        forms.push(coded(format!("plain as {coding}"), coding, plain.to_vec()));
        forms.push(coded(format!("{coding} as plain"), "identity", whole.clone()));
        let twice = if coding == "gzip" { member(&whole) } else { zstd(&whole) };
        forms.push(coded(format!("{coding} twice as once"), coding, twice));
        let nothing = if coding == "gzip" { member(b"") } else { zstd(b"") };
        forms.push(coded(format!("{coding} of nothing"), coding, nothing.clone()));
        let many = [nothing.repeat(1_024), whole].concat();
        forms.push(coded(format!("{coding} with 1,025 parts"), coding, many));
    }
    let text = [(0, plain.len(), plain)];
    for (name, body) in [
        ("a dictionary", frame(&[1, 0x58, 7], &text)),
        ("a long dictionary id", frame(&[3, 0x58, 7, 7, 7, 7], &text)),
        ("the reserved bit", frame(&[8, 0x58], &text)),
        ("a reserved block", frame(&[0, 0x58], &[(3, plain.len(), plain)])),
        ("a block that is too long", frame(&[0, 0x58], &[(1, BLOCK + 1, b" ")])),
        ("no last block", raw(0x58, plain)[..6].to_vec()),
        ("a size that is too small", frame(&[0xa0, 1, 0, 0, 0], &text)),
        ("a size that is too large", frame(&[0xa0, 255, 255, 0, 0], &text)),
        ("a size of 2 GB", frame(&[0xa0, 0, 0, 0, 0x7f], &text)),
        ("the largest size", frame(&[0xe0, 255, 255, 255, 255, 255, 255, 255, 255], &text)),
        ("no checksum", frame(&[4, 0x58], &text)),
        ("a false checksum", [frame(&[4, 0x58], &text), vec![1, 2, 3, 4]].concat()),
        ("skippable only", skippable(100)),
        ("skippable without an end", vec![0x50, 0x2a, 0x4d, 0x18, 255, 255, 255, 255]),
        ("1,025 skippable ones", [skippable(1).repeat(1_024), raw(0x58, plain)].concat()),
    ] {
        forms.push(coded(name, "zstd", body));
    }
    for window in 0x69..=0xff {
        if window % 8 == 0 || !(0x70..=0xf8).contains(&window) {
            forms.push(coded(format!("window {window:#x}"), "zstd", raw(window, plain)));
        }
    }
    forms
}

/// Forms in codings that nothing decodes, which must get 415.
fn other_codings(plain: &[u8]) -> Vec<Coded> {
    let (once, frames) = (member(plain), zstd(plain));
    [
        ("br", plain.to_vec()),
        ("deflate", plain.to_vec()),
        ("compress", plain.to_vec()),
        ("x-zstd", frames.clone()),
        ("gzip, gzip", member(&once)),
        ("gzip, zstd", zstd(&once)),
        ("zstd, gzip", member(&frames)),
        ("zstd,zstd", zstd(&frames)),
        ("identity, gzip, identity, gzip", member(&once)),
        ("gzip, br", once.clone()),
        ("gzip;q=1", once.clone()),
        ("gzip zstd", once.clone()),
        ("*", once.clone()),
        ("aws-chunked", plain.to_vec()),
        ("none", plain.to_vec()),
        ("utf-8", plain.to_vec()),
        ("dcz", frames),
        ("\"gzip\"", once),
    ]
    .map(|(coding, body)| coded(coding, coding, body))
    .into()
}

/// Short bodies that become long, or that need many steps. `plain` is a request.
fn bombs(plain: &[u8]) -> Vec<Coded> {
    let spaces = vec![b' '; MB];
    // A full flush makes the bytes of a megabyte independent of what precedes them.
    let mut compress = Compress::new(Compression::best(), false);
    let mut block = Vec::with_capacity(64 * 1024);
    compress.compress_vec(&spaces, &mut block, FlushCompress::Full).expect("compressed");
    let bomb = [GZIP_HEAD.to_vec(), block.repeat(200)].concat();
    let blocks = |count: usize| {
        let mut blocks: Vec<Block<'_>> = vec![(0, plain.len(), plain)];
        blocks.resize(count + 1, (1, BLOCK, b" "));
        blocks
    };
    let mut stored = GZIP_HEAD.to_vec();
    stored.extend([0, 0, 0, 255, 255].repeat(500_000));
    stored.extend(&member(plain)[10..]);
    let mut steps: Vec<Block<'_>> = vec![(0, 0, b""); 500_000];
    steps.push((0, plain.len(), plain));
    vec![
        coded("200 MB in gzip", "gzip", bomb.clone()),
        coded("a bomb in gzip", "gzip", member(&bomb)),
        coded("200 members of 1 MB", "gzip", member(&spaces).repeat(200)),
        coded("200 MB in zstd", "zstd", frame(&[0, 0x58], &blocks(1_600))),
        coded("200 MB with a window of 8 MiB", "zstd", frame(&[0, 0x68], &blocks(1_600))),
        coded("frames of 8 MiB", "zstd", frame(&[0, 0x68], &blocks(64)).repeat(100)),
        coded("70,000 empty members", "gzip", member(b"").repeat(70_000)),
        coded("70,000 empty frames", "zstd", raw(0x68, b"").repeat(70_000)),
        coded("500,000 empty blocks of gzip", "gzip", stored),
        coded("500,000 empty blocks of zstd", "zstd", frame(&[0, 0x68], &steps)),
        coded("a name of 4 MB", "gzip", {
            let name = GzBuilder::new().filename(vec![b'n'; 4 * MB]);
            gzip(plain, 6, name)
        }),
    ]
}

/// `plain` and white space, in all `length` bytes, which compress well and not too well.
fn long_forms(plain: &[u8], length: usize) -> Vec<Coded> {
    let mut blocks: Vec<Block<'_>> = vec![(0, plain.len(), plain)];
    let rest = length - plain.len();
    blocks.resize(rest / BLOCK + 1, (1, BLOCK, b" "));
    blocks.push((1, rest % BLOCK, b" "));
    let padded = [frame(&[0, 0x68], &blocks), skippable(260 * 1024)].concat();
    let padding = || GzBuilder::new().extra(vec![7; 65_535]);
    let mut members = gzip(plain, 6, padding());
    for _ in 0..4 {
        members.extend(gzip(b"", 6, padding()));
    }
    members.extend(member(&vec![b' '; MB]).repeat(rest / MB));
    members.extend(member(&vec![b' '; rest % MB]));
    vec![coded("zstd", "zstd", padded), coded("gzip", "gzip", members)]
}

/// Baton with one account, whose upstream keeps the last body.
struct CodedBodies {
    class: AttackClass,
    system: TestSystem,
    upstream: PlainUpstream,
    key: TestKey,
}

impl CodedBodies {
    async fn ask(&self, path: &str, form: &Coded) -> ClientResponse {
        ask(&self.key, path, form).await
    }

    /// The form must reach the upstream as `expected`.
    async fn check_read(&self, path: &str, form: &Coded, expected: &[u8]) {
        let before = self.upstream.count();
        let answer = self.ask(path, form).await;
        let is_same = self.upstream.count() == before + 1 && self.upstream.last_body() == expected;
        self.class.check(&format!("{path} {}", form.name), answer.status == 200 && is_same, || {
            format!("{} the same: {is_same} {:.300}", answer.status, answer.text())
        });
    }

    /// The form must be refused with one of these statuses before an upstream is called.
    async fn check_refused(&self, path: &str, form: &Coded, statuses: &[u16]) {
        let before = self.upstream.count();
        let answer = self.ask(path, form).await;
        let is_refused = statuses.contains(&answer.status) && self.upstream.count() == before;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let is_told = body["error"]["message"].is_string() || body["message"].is_string();
        self.class.check(&format!("{path} {}", form.name), is_refused && is_told, || {
            format!("{} {:.300}", answer.status, answer.text())
        });
    }

    fn check_memory(&self, name: &str) {
        let process = self.system.process_id();
        let most = memory_mb(process, "VmHWM");
        self.class.check(&format!("{name}: memory"), most < RESIDENT_MB_MAX, || {
            format!("{most} MB resident")
        });
        reset_peak(process);
    }

    /// Bodies that differ from a right one in a few bytes: they are refused or read rightly.
    async fn check_mutants(&self, plain: &[u8]) {
        let mut bits = 7_u64;
        let mut next = |bound: usize| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            usize::try_from(bits >> 33).unwrap_or_default() % bound.max(1)
        };
        for (coding, whole) in [("gzip", member(plain)), ("zstd", zstd(plain))] {
            for number in 0..150 {
                let mut body = whole.clone();
                for _ in 0..[1, 1, 2, 5, 30][next(5)] {
                    let bound = [12, 20, body.len()][next(3)];
                    let at = next(bound);
                    body[at] = u8::try_from(next(256)).unwrap_or_default();
                }
                let form = coded(format!("{coding} mutant {number}"), coding, body);
                let before = self.upstream.count();
                let answer = self.ask(MESSAGES, &form).await;
                let is_read = answer.status == 200 && self.upstream.last_body() == plain;
                let is_refused = answer.status == 400 && self.upstream.count() == before;
                self.class.check(&form.name, is_read || is_refused, || {
                    format!("{} {:.300}", answer.status, answer.text())
                });
            }
        }
    }

    /// The declared length is not that of the bytes.
    async fn check_lengths(&self, plain: &[u8]) {
        let whole = member(plain);
        for (name, declared) in [("shorter", whole.len() - 9), ("longer", whole.len() + 9)] {
            let head = format!(
                "POST {MESSAGES} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-encoding: gzip\r\n\
                 content-length: {declared}\r\n\r\n",
                self.key.secret
            );
            let Ok(mut stream) = send(address(&self.system.relay_url()), head.as_bytes()).await
            else {
                continue;
            };
            let _sent = stream.write_all(&whole).await;
            let (said, _) = read_to_end(&mut stream, Duration::from_secs(4)).await;
            let is_right = said.contains(" 400 ") || said.contains(" 408 ");
            self.class.check(&format!("a {name} length"), is_right, || said.clone());
        }
    }
}

async fn ask(key: &TestKey, path: &str, form: &Coded) -> ClientResponse {
    let request = key.request("POST", path).header("content-type", "application/json");
    let request = request.header("content-encoding", form.coding);
    ClientResponse::to(request.body(form.body.clone())).await
}

pub(crate) async fn run(class: AttackClass) {
    let launch = TestSystem::builder()
        .env("BATON_FREE_CALLS_PER_MINUTE", "1000000")
        .env("BATON_BODY_STALL_SECONDS", "2");
    let (system, upstream) = (launch.start().await, PlainUpstream::start().await);
    let relay = address(&system.relay_url());
    let mut keys = upstream.keys(&system).await;
    let (_, key) = keys.swap_remove(0);
    let bodies = CodedBodies { class: class.clone(), system, upstream, key };
    let watch = HealthWatch::start(relay, Duration::from_millis(30));
    for (at, (path, plain)) in routes().into_iter().enumerate() {
        let reference = bodies.ask(&path, &coded("plain", "", plain.clone().into())).await;
        let expected = bodies.upstream.last_body();
        class.check(&format!("{path} plain"), reference.status == 200, || reference.text());
        // The first route gets all forms, each other one a third of them.
        let (from, step) = if at == 0 { (0, 1) } else { (at % 3, 3) };
        for form in right_forms(plain.as_bytes()).into_iter().skip(from).step_by(step) {
            bodies.check_read(&path, &form, &expected).await;
        }
        for form in wrong_forms(plain.as_bytes()).into_iter().skip(from).step_by(step) {
            bodies.check_refused(&path, &form, &[400]).await;
        }
        for form in other_codings(plain.as_bytes()).into_iter().skip(from).step_by(step) {
            bodies.check_refused(&path, &form, &[415]).await;
        }
        bodies.check_memory(&path);
    }
    let (_, plain) = routes().swap_remove(0);
    let plain = plain.as_bytes();
    bodies.check_mutants(plain).await;
    bodies.check_lengths(plain).await;
    bombs_and_long_bodies(&bodies, plain).await;
    admin_bodies(&bodies).await;
    let seen = watch.finish(HEALTH_MAX).await;
    println!("  compressed bodies: health {seen:?}");
    class.record("health", seen.map(drop));
}

async fn bombs_and_long_bodies(bodies: &CodedBodies, plain: &[u8]) {
    let class = &bodies.class;
    let (bombs, stranger) =
        (bombs(plain), TestKey::found(&unknown_key(9), &bodies.system.relay_url()));
    for form in &bombs {
        let before = bodies.upstream.count();
        let answer = bodies.ask(MESSAGES, form).await;
        // Many steps alone are no reason to refuse a body.
        let is_read = bodies.upstream.count() > before && bodies.upstream.last_body() == plain;
        let is_right = answer.status == 400 || answer.status == 413 || is_read;
        class.check(&form.name, is_right, || format!("{} {:.300}", answer.status, answer.text()));
        bodies.check_memory(&form.name);
        let answers = join_all((0..12).map(|_| bodies.ask(MESSAGES, form))).await;
        let is_right = answers.iter().all(|answer| {
            matches!(answer.status, 400 | 413 | 429 | 503) || is_read && answer.status == 200
        });
        class.check(&format!("twelve: {}", form.name), is_right, || {
            format!("{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>())
        });
        bodies.check_memory(&format!("twelve: {}", form.name));
        let answer = ask(&stranger, MESSAGES, form).await;
        class.check(&format!("without a key: {}", form.name), answer.status == 401, || {
            answer.text()
        });
    }
    for (length, status) in [(31 * MB, 200), (32 * MB + 1, 413)] {
        for form in long_forms(plain, length) {
            let name = format!("{length} bytes in {}", form.name);
            let answer = bodies.ask(MESSAGES, &form).await;
            let is_whole = status != 200 || bodies.upstream.last_body().len() == length;
            class.check(&name, answer.status == status && is_whole, || {
                format!("{} {:.300}", answer.status, answer.text())
            });
            let answers = join_all((0..6).map(|_| bodies.ask(MESSAGES, &form))).await;
            let is_right = |answer: &ClientResponse| {
                answer.status == status || matches!(answer.status, 429 | 503)
            };
            class.check(&format!("six: {name}"), answers.iter().all(is_right), || {
                format!("{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>())
            });
            bodies.check_memory(&name);
        }
    }
}

/// The admin API decodes nothing. It must create nothing from a compressed body.
async fn admin_bodies(bodies: &CodedBodies) {
    let bomb = member(&vec![b' '; 8 * MB]);
    let admin = bodies.system.admin();
    let named = br#"{"name":"from a compressed body"}"#;
    for path in ["/keys", "/groups", "/users", "/accounts", "/prices"] {
        let forms = [
            coded("gzip", "gzip", member(named)),
            coded("zstd", "zstd", zstd(named)),
            coded("br", "br", vec![0x0b, 0x02, 0x80]),
            coded("a bomb", "gzip", bomb.clone()),
        ];
        for form in forms {
            let request = admin.request("POST", path).header("content-type", "application/json");
            let request = request.header("content-encoding", form.coding).body(form.body);
            let answer = ClientResponse::to(request).await;
            let is_refused = matches!(answer.status, 400 | 413 | 415 | 422);
            bodies.class.check(&format!("admin {path} {}", form.name), is_refused, || {
                format!("{} {:.300}", answer.status, answer.text())
            });
        }
        let listed = admin.get(path).await.text();
        let is_absent = !listed.contains("from a compressed body");
        bodies.class.check(&format!("admin {path}: nothing new"), is_absent, || listed);
    }
    bodies.check_memory("admin");
}
