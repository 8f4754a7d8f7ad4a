//! Tests of the decoder with cuts at each byte.

use super::*;
use proptest::prelude::*;

type DecodedEvents = Vec<(String, String)>;

fn decode(chunks: &[&[u8]]) -> (DecodedEvents, DecodedEvents) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (mut events, mut last) = (Vec::new(), Vec::new());
    let mut decoder = SseDecoder::new();
    for chunk in chunks {
        decoder.push(chunk, |event| events.push((text(event.name), text(event.data))));
    }
    decoder.finish(|event| last.push((text(event.name), text(event.data))));
    (events, last)
}

fn check(stream: &str, expect: &[(&str, &str)], unfinished: &[(&str, &str)]) {
    let owned = |events: &[(&str, &str)]| -> DecodedEvents {
        events.iter().map(|(name, data)| ((*name).into(), (*data).into())).collect()
    };
    let expect = (owned(expect), owned(unfinished));
    let bytes = stream.as_bytes();
    assert_eq!(decode(&[bytes]), expect, "{stream:?} in one");
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(decode(&single), expect, "{stream:?} byte by byte");
    for index in 0..=bytes.len() {
        let (left, right) = bytes.split_at(index);
        assert_eq!(decode(&[left, &[], right]), expect, "{stream:?} cut at {index}");
    }
}

#[test]
fn fields_follow_the_grammar() {
    check("", &[], &[]);
    check("\n\r\r\n\n", &[], &[]);
    check("event: a\ndata: b\n\n", &[("a", "b")], &[]);
    check("event:a\ndata:b\n\n", &[("a", "b")], &[]);
    check("data:  b\n\n", &[("", " b")], &[]);
    check("data: 1\n\ndata: 2\n\n", &[("", "1"), ("", "2")], &[]);
    check("data: 1\ndata: 2\ndata\ndata:\n\n", &[("", "1\n2\n\n")], &[]);
    check("data: 1\n: c\nid: 7\nretry: 1\ndata: 2\n\n", &[("", "1\n2")], &[]);
    check("event: a\nevent: b\ndata\n\n", &[("b", "")], &[]);
    check("event: only\n\n", &[("only", "")], &[]);
    check(": c\n\nid: 1\n\ndatax: 1\n\n", &[], &[]);
    check("data: é漢\n\n", &[("", "é漢")], &[]);
}

#[test]
fn all_line_ends_are_accepted() {
    let two = [("a", "1"), ("", "2")];
    check("event: a\rdata: 1\r\rdata: 2\r\r", &two, &[]);
    check("event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", &two, &[]);
    check("event: a\ndata: 1\r\n\rdata: 2\r\n\n", &two, &[]);
    check("event: a\r\ndata: 1\n\r\ndata: 2\n\r", &two, &[]);
}

#[test]
fn byte_order_mark_is_skipped_once() {
    check("\u{FEFF}data: 1\n\n", &[("", "1")], &[]);
    check("\u{FEFF}\n\u{FEFF}data: 1\n\n", &[], &[]);
    check("data: 0\n\n\u{FEFF}data: 1\n\n", &[("", "0")], &[]);
}

#[test]
fn unfinished_last_event_is_dispatched() {
    check("data: 1\n", &[], &[("", "1")]);
    check("data: 1", &[], &[("", "1")]);
    check("event: a\nda", &[], &[("a", "")]);
    check(": c", &[], &[]);
}

#[test]
fn event_kinds_are_recognized() {
    let check = |name: &str, data: &str, kind| {
        let event = SseEvent { name: name.as_bytes(), data: data.as_bytes(), dropped: 0 };
        assert_eq!(event.kind(), kind, "{name} {data}");
    };
    check("message_start", "", EventKind::MessageStart);
    check("", r#"{"type":"message_start"}"#, EventKind::MessageStart);
    check("message", r#" { "type" : "error" "#, EventKind::Error);
    check("", "{\n\"type\":\"ping\"}", EventKind::Ping);
    check("", r#"{"id":1,"type":"ping"}"#, EventKind::Unnamed);
    check("", "[DONE]", EventKind::Unnamed);
    check("response.failed", "", EventKind::ResponseEnd);
    check("response.output_text.delta", "", EventKind::ResponseDelta);
    check("response.created", "", EventKind::Other);
    check("future_event", r#"{"type":"message_start"}"#, EventKind::Other);
}

#[test]
fn event_in_one_chunk_is_not_copied() {
    let chunk = b"event: a\ndata: 1\n\ndata: 2\n\n".as_slice();
    let span = chunk.as_ptr_range();
    SseDecoder::new().push(chunk, |event| assert!(span.contains(&event.data.as_ptr())));
}

#[test]
fn too_long_event_is_dropped_and_reported() {
    let piece = vec![b'x'; 1 << 20];
    for head in ["event: big\ndata: ", "event: big\n", ""] {
        let mut decoder = SseDecoder::new();
        let mut events = Vec::new();
        let mut on = |event: SseEvent<'_>| {
            events.push((event.name.to_vec(), event.data.len(), event.dropped));
        };
        decoder.push(head.as_bytes(), &mut on);
        for _ in 0..9 {
            decoder.push(&piece, &mut on);
        }
        assert!(decoder.buffer.len() <= LINE_START_BYTES);
        decoder.push(b"\r\ndata: 1\r", &mut on);
        decoder.push(b"\n\r", &mut on);
        decoder.push(b"\ndata: after\n\n", &mut on);
        let name = if head.is_empty() { "" } else { "big" };
        let bytes = head.len() + 9 * piece.len() + "data: 1".len();
        let expect = [(name.into(), 0, bytes), (Vec::new(), 5, 0)];
        assert_eq!(events, expect, "{head:?}");
    }
}

#[test]
fn dropped_event_does_not_hide_the_next() {
    for stream in ["event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", "data: 1\r\n\r\ndata: 2\r\n\r\n"] {
        let (integer_part, _) = decode(&[stream.as_bytes()]);
        for index in 0..=stream.len() {
            let (left, right) = stream.as_bytes().split_at(index);
            let mut decoder = SseDecoder::new();
            let mut seen = Vec::new();
            let mut on = |event: SseEvent<'_>| seen.push((event.data.to_vec(), event.dropped > 0));
            decoder.push(left, &mut on);
            let is_mid = decoder.is_mid_event();
            decoder.drop_event();
            assert_eq!(decoder.is_mid_event(), is_mid, "{stream:?} cut at {index}");
            decoder.push(right, &mut on);
            assert_eq!(seen.len(), integer_part.len(), "{stream:?} cut at {index}");
            assert_eq!(
                seen.iter().filter(|(_, is_dropped)| *is_dropped).count(),
                usize::from(is_mid)
            );
            for ((data, is_dropped), (_, expect)) in seen.iter().zip(&integer_part) {
                assert!(*is_dropped || data == expect.as_bytes(), "{stream:?} cut at {index}");
            }
        }
    }
}

#[test]
fn dropped_event_keeps_its_type() {
    for (stream, name) in [
        ("data: {\"type\":\"a.b\",\"x\":\"", "a.b"),
        ("data:{ \"type\" : \"a.b\",\ndata: \"x\":\"", "a.b"),
        ("id: 1\r\nevent: message\r\ndata: {\"type\":\"a.b\"", "a.b"),
        ("event: c\ndata: {\"type\":\"a.b\",", "c"),
        ("data: {\"x\":1,\"type\":\"a.b\",", ""),
    ] {
        for size in [1, stream.len()] {
            let mut decoder = SseDecoder::new();
            let mut names = Vec::new();
            let mut on = |event: SseEvent<'_>| names.push(event.name.to_vec());
            stream.as_bytes().chunks(size).for_each(|piece| decoder.push(piece, &mut on));
            decoder.drop_event();
            decoder.push(b"more\n\n", &mut on);
            assert_eq!(names, [name.as_bytes()], "{stream}");
        }
    }
}

#[test]
fn dropped_event_has_its_type_wherever_it_is_cut() {
    for stream in [
        "data: {\"type\":\"a.b\",\"x\":\"more\"}\n\n",
        "event: a.b\ndata: {\"x\":\"more\"}\n\n",
        "id: 1\nevent: message\ndata:{\"type\": \"a.b\"}\n\n",
        ": comment\r\nevent:a.b\r\ndata: x\r\n\r\n",
    ] {
        for index in 1..stream.len() - 2 {
            let (left, right) = stream.as_bytes().split_at(index);
            for size in [1, right.len()] {
                let mut decoder = SseDecoder::new();
                let mut names = Vec::new();
                let mut on = |event: SseEvent<'_>| names.push(event.name.to_vec());
                decoder.push(left, &mut on);
                decoder.drop_event();
                right.chunks(size).for_each(|piece| decoder.push(piece, &mut on));
                assert_eq!(names, [b"a.b"], "{stream:?} cut at {index}");
            }
        }
    }
}

#[test]
fn long_event_releases_its_memory() {
    let piece = vec![b'x'; 100_000];
    let mut decoder = SseDecoder::new();
    for _ in 0..3 {
        for line in [&b"data: "[..], &piece, b"\ndata: ", &piece] {
            decoder.push(line, |_| panic!("it is not over"));
        }
        assert!(decoder.held_bytes() >= 200_000);
        let mut count = 0;
        decoder.push(b"\n\n", |event| count += event.data.len());
        assert_eq!(count, 200_001);
        assert!(decoder.held_bytes() <= 2 * KEPT_BUFFER_BYTES, "{}", decoder.held_bytes());
    }
    decoder.push(b"event: ", |_| {});
    decoder.push(&piece, |_| {});
    decoder.push(b"\ndata: x", |_| {});
    decoder.drop_event();
    assert!(decoder.held_bytes() <= NAME_BYTES_MAX, "{}", decoder.held_bytes());
}

#[test]
fn too_long_chunk_ends_at_a_line() {
    let mut decoder = SseDecoder::new();
    let mut chunk = b"event: big\ndata: ".to_vec();
    chunk.resize(HELD_BYTES_MAX + 100, b'x');
    chunk.push(b'\n');
    let mut names = Vec::new();
    decoder.push(&chunk, |_| panic!("it is not over"));
    decoder.push(b"\ndata: after\n\n", |event| names.push(event.name.to_vec()));
    assert_eq!(names, [b"big".to_vec(), Vec::new()]);
}

proptest! {
    #[test]
    fn events_are_the_same_for_any_cut(
        stream in "((event|data|id|x)?(: ?[a-c:é]{0,5})?[\r\n]{1,3}){0,12}",
        sizes in proptest::collection::vec(1_usize..9, 1..40),
    ) {
        let mut rest = stream.as_bytes();
        let mut chunks = Vec::new();
        for size in sizes {
            let (chunk, tail) = rest.split_at(size.min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        chunks.push(rest);
        prop_assert_eq!(decode(&chunks), decode(&[stream.as_bytes()]));
    }
}
