//! Writes JSON field by field in order, without building a tree.

/// Appends an object with the fields that `fill` writes.
pub(super) fn write_object(out: &mut Vec<u8>, write: impl FnOnce(&mut ObjectWriter<'_>)) {
    out.push(b'{');
    write(&mut ObjectWriter { out, is_first: true });
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
    is_first: bool,
}

impl ObjectWriter<'_> {
    fn write_key(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        write_string(self.out, name);
        self.out.push(b':');
        self.out
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        write_string(self.write_key(name), text);
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
        self.write_key(name).extend_from_slice(json.as_bytes());
    }

    pub(super) fn raw(&mut self, name: &str, raw: Option<&str>) {
        if let Some(raw) = raw {
            self.json(name, raw);
        }
    }

    pub(super) fn object(&mut self, name: &str, write: impl FnOnce(&mut ObjectWriter<'_>)) {
        write_object(self.write_key(name), write);
    }

    pub(super) fn list(&mut self, name: &str, write: impl FnOnce(&mut ArrayWriter<'_>)) {
        let out = self.write_key(name);
        out.push(b'[');
        write(&mut ArrayWriter { out, is_first: true });
        out.push(b']');
    }
}

/// An array that is being written.
#[derive(Debug)]
pub(super) struct ArrayWriter<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
}

impl ArrayWriter<'_> {
    fn start_item(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        self.out
    }

    pub(super) fn text(&mut self, text: &str) {
        write_string(self.start_item(), text);
    }

    pub(super) fn object(&mut self, write: impl FnOnce(&mut ObjectWriter<'_>)) {
        write_object(self.start_item(), write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
