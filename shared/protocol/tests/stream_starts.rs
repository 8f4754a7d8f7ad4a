//! When a stream can no longer begin with an error.

use baton_protocol::meter::{AnswerStart, UsageMeter};

/// A long first event is a good start as soon as its output begins, and output that is an image is
/// billed without usage.
#[test]
fn first_output_of_a_long_event_is_a_good_start() {
    let start =
        r#"data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"","#;
    let long = "A".repeat(2_000_000);
    for (output, end, tokens) in [
        (
            r#""images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,"#,
            r#""}}]"#,
            1_290,
        ),
        (r#""tool_calls":[{"index":0,"id":"c","function":{"arguments":""#, r#""}}]"#, 500_000),
        (r#""reasoning_content":""#, "\"", 500_000),
        (r#""content":""#, "\"", 500_000),
    ] {
        for name in ["", "event: message\n", "event: chunk\n"] {
            let mut meter = UsageMeter::for_stream();
            meter.observe(format!("{name}{start}").as_bytes());
            assert!(!meter.has_good_start(), "{output}");
            meter.observe(format!("{output}{}", &long[..1_000]).as_bytes());
            assert!(meter.has_good_start(), "{name}{output}");
            meter.observe(format!("{}{end}}}}}]}}\n\n", &long[1_000..]).as_bytes());
            assert!(meter.has_good_start(), "{output}");
            meter.observe(b"data: [DONE]\n\n");
            let reading = meter.finish(4_000);
            assert!(reading.has_billed_part && reading.has_output, "{output}");
            assert_eq!(reading.usage.tokens.output, tokens, "{output}");
            assert!(reading.usage.estimated, "{output}");
        }
    }
    for start in [
        r#"data: {"error":{"message":"A"#,
        "event: error\ndata: {\"choices\":[{\"delta\":{\"content\":\"A",
        r#"data: {"message":"A"#,
    ] {
        let mut meter = UsageMeter::for_stream();
        meter.observe(start.as_bytes());
        assert!(!meter.has_good_start(), "{start}");
    }
}

/// A name that has arrived alone does not end the wait for an error.
#[test]
fn name_of_a_failed_response_is_no_good_start() {
    for (name, is_good) in [
        ("response.failed", false),
        ("error", false),
        ("response.created", false),
        ("response.in_progress", false),
        ("response.queued", false),
        ("response.completed", true),
        ("message_start", true),
    ] {
        let mut meter = UsageMeter::for_stream();
        meter.observe(format!("event: {name}\n").as_bytes());
        assert_eq!(meter.has_good_start(), is_good, "{name}");
    }
    let mut meter = UsageMeter::for_stream();
    for piece in ["event: respon", "se.failed\n", "data: {\"type\":\"response.failed\",\"resp"] {
        meter.observe(piece.as_bytes());
        assert!(!meter.has_good_start(), "{piece}");
    }
    meter.observe(
        b"onse\":{\"status\":\"failed\",\"error\":{\"code\":\"c\",\"message\":\"m\"}}}\n\n",
    );
    assert!(matches!(meter.first_event(), AnswerStart::Error(_)), "{:?}", meter.first_event());
}

/// The events with which a response begins repeat its instructions and can arrive in pieces.
#[test]
fn beginning_of_a_response_is_no_good_start_unless_it_is_long() {
    let data = |kind: &str, bytes: usize| {
        let echo = "i".repeat(bytes);
        format!("data: {{\"type\":\"{kind}\",\"response\":{{\"instructions\":\"{echo}\"}}}}\n\n")
    };
    let failed = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"insufficient_quota\",\"message\":\"m\"}}}\n\n";
    for named in [true, false] {
        for piece_bytes in [40, 9_000, 100_000] {
            let mut meter = UsageMeter::for_stream();
            for kind in ["response.created", "response.in_progress", "response.queued"] {
                let name = if named { format!("event: {kind}\n") } else { String::new() };
                let event = name + &data(kind, 40_000);
                for piece in event.as_bytes().chunks(piece_bytes) {
                    meter.observe(piece);
                    assert!(!meter.has_good_start(), "{kind}, {piece_bytes}");
                }
            }
            meter.observe(failed.as_bytes());
            let first = meter.first_event();
            assert!(matches!(first, AnswerStart::Error(_)), "{named}, {piece_bytes}: {first:?}");
        }
        // Together the events can be longer than what is held of a start.
        for bytes in [&[600_000][..], &[150_000, 150_000]] {
            for piece_bytes in [9_000, 1_000_000] {
                let mut meter = UsageMeter::for_stream();
                let name = if named { "event: response.created\n" } else { "" };
                let events: String = bytes
                    .iter()
                    .map(|bytes| name.to_owned() + &data("response.created", *bytes))
                    .collect();
                let pieces = events.as_bytes().chunks(piece_bytes);
                let held = pieces.take_while(|piece| {
                    meter.observe(piece);
                    !meter.has_good_start()
                });
                let held = held.map(<[u8]>::len).sum::<usize>();
                assert!(held < 140_000 && meter.has_good_start(), "{bytes:?}: {held}");
            }
        }
    }
}
