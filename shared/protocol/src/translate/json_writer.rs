//! Writes JSON field by field in order, without building a tree.

/// Appends an object with the fields that `write` writes.
pub(super) fn write_object(out: &mut Vec<u8>, write: impl FnOnce(&mut ObjectWriter<'_>)) {
    write_object_within(out, usize::MAX, write);
}

/// Appends an object, and stops to write soon after `out` has become longer than `bytes_max`. The
/// object is then not complete.
pub(super) fn write_object_within(
    out: &mut Vec<u8>,
    bytes_max: usize,
    write: impl FnOnce(&mut ObjectWriter<'_>),
) {
    out.push(b'{');
    write(&mut ObjectWriter { out, bytes_max, is_first: true });
    out.push(b'}');
}

/// Writes an object as a body or as the text of a field.
pub(super) fn object_to_string(write: impl FnOnce(&mut ObjectWriter<'_>)) -> String {
    let mut out = Vec::new();
    write_object(&mut out, write);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends an event. An empty `name` is left out, for the protocols without event names.
pub(super) fn write_event(
    out: &mut Vec<u8>,
    name: &str,
    write: impl FnOnce(&mut ObjectWriter<'_>),
) {
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    write_object(out, |data| {
        if !name.is_empty() {
            data.text("type", name);
        }
        write(data);
    });
    out.extend_from_slice(b"\n\n");
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a vector cannot fail.
    serde_json::to_writer(out, text).unwrap_or_default();
}

/// An object that is being written.
#[derive(Debug)]
pub(super) struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    /// The length beyond which nothing is written.
    bytes_max: usize,
    is_first: bool,
}

impl ObjectWriter<'_> {
    /// Writes the name of a field, or nothing if the text is too long already.
    fn write_key(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        if self.out.len() > self.bytes_max {
            return None;
        }
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        write_string(self.out, name);
        self.out.push(b':');
        Some(self.out)
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        if let Some(out) = self.write_key(name) {
            write_string(out, text);
        }
    }

    pub(super) fn text_or_null(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.null(name),
        }
    }

    pub(super) fn null(&mut self, name: &str) {
        self.json(name, "null");
    }

    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.json(name, &number.to_string());
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        self.json(name, if flag { "true" } else { "false" });
    }

    /// Writes a value that is already JSON. `json` must be exactly one value.
    pub(super) fn json(&mut self, name: &str, json: &str) {
        if let Some(out) = self.write_key(name) {
            out.extend_from_slice(json.as_bytes());
        }
    }

    pub(super) fn raw(&mut self, name: &str, raw: Option<&str>) {
        if let Some(raw) = raw {
            self.json(name, raw);
        }
    }

    pub(super) fn object(&mut self, name: &str, write: impl FnOnce(&mut ObjectWriter<'_>)) {
        let bytes_max = self.bytes_max;
        if let Some(out) = self.write_key(name) {
            write_object_within(out, bytes_max, write);
        }
    }

    pub(super) fn list(&mut self, name: &str, write: impl FnOnce(&mut ArrayWriter<'_>)) {
        let bytes_max = self.bytes_max;
        if let Some(out) = self.write_key(name) {
            out.push(b'[');
            write(&mut ArrayWriter { out, bytes_max, is_first: true });
            out.push(b']');
        }
    }
}

/// An array that is being written.
#[derive(Debug)]
pub(super) struct ArrayWriter<'o> {
    out: &'o mut Vec<u8>,
    bytes_max: usize,
    is_first: bool,
}

impl ArrayWriter<'_> {
    /// Begins an item, or nothing if the text is too long already.
    fn start_item(&mut self) -> Option<&mut Vec<u8>> {
        if self.out.len() > self.bytes_max {
            return None;
        }
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        Some(self.out)
    }

    pub(super) fn text(&mut self, text: &str) {
        if let Some(out) = self.start_item() {
            write_string(out, text);
        }
    }

    pub(super) fn object(&mut self, write: impl FnOnce(&mut ObjectWriter<'_>)) {
        let bytes_max = self.bytes_max;
        if let Some(out) = self.start_item() {
            write_object_within(out, bytes_max, write);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_beyond_a_length() {
        let long = "x".repeat(100);
        let write_entry = |list: &mut ArrayWriter<'_>| {
            list.text(&long);
            list.object(|item| {
                item.text("t", &long);
                item.object("o", |inner| inner.json("j", "1"));
            });
        };
        for count in [0, 1, 10_000] {
            let mut out = Vec::new();
            write_object_within(&mut out, 1_000, |object| {
                object.list("l", |list| (0..count).for_each(|_| write_entry(list)));
            });
            assert_eq!(out.len() > 1_000, count == 10_000);
            assert!(out.len() < 1_200, "{}", out.len());
        }
    }

    #[test]
    fn events_are_framed_as_sse() {
        let mut out = Vec::new();
        write_event(&mut out, "a", |data| {
            data.text("é", "\"\n");
            data.list("l", |list| {
                list.text("x");
                list.object(|item| item.null("n"));
                list.object(|_| {});
            });
            data.object("o", |inner| {
                inner.number("n", 7);
                inner.flag("f", false);
            });
        });
        let expect = "event: a\ndata: {\"type\":\"a\",\"é\":\"\\\"\\n\",\"l\":[\"x\",{\"n\":null},{}],\"o\":{\"n\":7,\"f\":false}}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }
}
