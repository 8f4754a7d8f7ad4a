//! Anthropic's tools that the client runs, as functions for other models.
//!
//! Anthropic's models know the schemas of these tools; the request has only a dated type
//! (platform.claude.com, "Bash tool", "Text editor tool", "Memory tool", 2026-11). Another model
//! gets the documented schema, and its calls look the same to the client.

/// A tool of the client.
pub(super) struct ClientTool {
    pub(super) description: &'static str,
    pub(super) schema: &'static str,
}

/// The tool of a dated type, if other models can use it.
pub(super) fn client_tool(kind: &str) -> Option<&'static ClientTool> {
    let (family, date) = kind.rsplit_once('_')?;
    match family {
        "bash" => Some(&BASH),
        // The first versions named the text to insert `new_str` and could undo.
        "text_editor" if date < "20250429" => Some(&TEXT_EDITOR_WITH_UNDO),
        "text_editor" => Some(&TEXT_EDITOR),
        "memory" => Some(&MEMORY),
        _ => None,
    }
}

/// Whether the client runs the tool of a dated type and a function cannot replace it.
pub(super) fn is_computer(kind: &str) -> bool {
    kind.starts_with("computer_")
}

const BASH: ClientTool = ClientTool {
    description: "Runs a command in a persistent bash session and returns its output.",
    schema: r#"{"type":"object","properties":{"command":{"type":"string","description":"The command to run. Required unless the session is restarted."},"restart":{"type":"boolean","description":"Set to true to restart the session."}}}"#,
};

const TEXT_EDITOR: ClientTool = ClientTool {
    description: "Views, creates and edits files. `view` shows a file or lists a directory, \
                  `create` writes a new file, `str_replace` replaces a text that occurs exactly \
                  once, and `insert` inserts a text after a line.",
    schema: r#"{"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert"]},"path":{"type":"string","description":"The absolute path of the file or directory."},"view_range":{"type":"array","items":{"type":"integer"},"description":"For `view`: the first and the last line, counted from 1; -1 is the end."},"file_text":{"type":"string","description":"For `create`: the content of the file."},"old_str":{"type":"string","description":"For `str_replace`: the text to replace, with its white space."},"new_str":{"type":"string","description":"For `str_replace`: the new text."},"insert_line":{"type":"integer","description":"For `insert`: the line after which the text is inserted; 0 is the beginning."},"insert_text":{"type":"string","description":"For `insert`: the text."}},"required":["command","path"]}"#,
};

const TEXT_EDITOR_WITH_UNDO: ClientTool = ClientTool {
    description: "Views, creates and edits files. `view` shows a file or lists a directory, \
                  `create` writes a new file, `str_replace` replaces a text that occurs exactly \
                  once, `insert` inserts a text after a line, and `undo_edit` reverts the last \
                  edit of a file.",
    schema: r#"{"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert","undo_edit"]},"path":{"type":"string","description":"The absolute path of the file or directory."},"view_range":{"type":"array","items":{"type":"integer"},"description":"For `view`: the first and the last line, counted from 1; -1 is the end."},"file_text":{"type":"string","description":"For `create`: the content of the file."},"old_str":{"type":"string","description":"For `str_replace`: the text to replace, with its white space."},"new_str":{"type":"string","description":"For `str_replace` and `insert`: the new text."},"insert_line":{"type":"integer","description":"For `insert`: the line after which the text is inserted; 0 is the beginning."}},"required":["command","path"]}"#,
};

const MEMORY: ClientTool = ClientTool {
    description: "Keeps notes between conversations, as files below `/memories`. Look at the \
                  directory before you begin a task. `view` shows a file or lists a directory, \
                  `create` writes a file, `str_replace` replaces a text that occurs exactly once, \
                  `insert` inserts a text after a line, `delete` removes and `rename` moves a file \
                  or directory.",
    schema: r#"{"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert","delete","rename"]},"path":{"type":"string","description":"The path, below `/memories`. Required for all commands but `rename`."},"view_range":{"type":"array","items":{"type":"integer"},"description":"For `view`: the first and the last line, counted from 1."},"file_text":{"type":"string","description":"For `create`: the content of the file."},"old_str":{"type":"string","description":"For `str_replace`: the text to replace."},"new_str":{"type":"string","description":"For `str_replace`: the new text."},"insert_line":{"type":"integer","description":"For `insert`: the line after which the text is inserted; 0 is the beginning."},"insert_text":{"type":"string","description":"For `insert`: the text."},"old_path":{"type":"string","description":"For `rename`: the present path."},"new_path":{"type":"string","description":"For `rename`: the new path."}},"required":["command"]}"#,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_json_and_follow_from_the_dated_type() {
        for kind in
            ["bash_20250124", "text_editor_20250124", "text_editor_20250728", "memory_20250818"]
        {
            let tool = client_tool(kind).unwrap();
            let schema: serde_json::Value = serde_json::from_str(tool.schema).unwrap();
            assert_eq!(schema["type"], "object", "{kind}");
            assert_eq!(tool.schema.contains("undo_edit"), kind == "text_editor_20250124", "{kind}");
        }
        for kind in ["web_search_20250305", "computer_20250124", "custom", ""] {
            assert!(client_tool(kind).is_none(), "{kind}");
        }
    }
}
