//! Finds the simple commands of a shell script, as lists of words. It knows enough of the shell's
//! grammar for the documents. The commands inside a command substitution are returned as well.

use std::iter::Peekable;
use std::str::Chars;

/// The commands of `script` without assignments, redirections and the shell's keywords.
pub(super) fn commands(script: &str) -> Vec<Vec<String>> {
    let mut reader = Reader::new(script);
    reader.read();
    reader.commands.iter().filter_map(|words| command_in(words)).collect()
}

/// The program and its arguments.
fn command_in(words: &[String]) -> Option<Vec<String>> {
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.peek().copied() {
        match word {
            "if" | "then" | "else" | "elif" | "while" | "until" | "do" | "!" | "time" | "{"
            | "}" | "nohup" | "exec" => {}
            "fi" | "done" | "esac" | "for" | "case" | "function" => return None,
            "sudo" => {
                words.next();
                while words.peek().is_some_and(|word| word.starts_with('-')) {
                    let takes_value = ["-u", "-g"].contains(&words.next().unwrap_or_default());
                    words.next_if(|_| takes_value);
                }
                continue;
            }
            assignment if is_assignment(assignment) => {}
            "env" => {}
            _ => return Some(words.map(str::to_owned).collect()),
        }
        words.next();
    }
    None
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    commands: Vec<Vec<String>>,
    words: Vec<String>,
    word: Option<String>,
    /// Whether the next word is the file of a redirection.
    is_redirected: bool,
    /// The end marks of the here-documents that follow this line.
    ends: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(script: &'a str) -> Self {
        Self {
            rest: script.chars().peekable(),
            commands: Vec::new(),
            words: Vec::new(),
            word: None,
            is_redirected: false,
            ends: Vec::new(),
        }
    }

    fn read(&mut self) {
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => self.escaped(),
                '\'' => {
                    let text: String = self.rest.by_ref().take_while(|c| *c != '\'').collect();
                    self.add(&text);
                }
                '"' => self.quoted(),
                '$' => self.expansion(),
                '#' if self.word.is_none() => while self.rest.next_if(|c| *c != '\n').is_some() {},
                '<' | '>' => self.redirection(c),
                '\n' => {
                    self.end_command();
                    self.skip_texts();
                }
                ';' | '|' | '&' | '(' | ')' => self.end_command(),
                c if c.is_whitespace() => self.end_word(),
                c => self.add(c.encode_utf8(&mut [0; 4])),
            }
        }
        self.end_command();
    }

    fn add(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.is_redirected)
        {
            self.words.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.words.is_empty() {
            self.commands.push(std::mem::take(&mut self.words));
        }
    }

    fn escaped(&mut self) {
        match self.rest.next() {
            None | Some('\n') => {}
            Some(c) => self.add(c.encode_utf8(&mut [0; 4])),
        }
    }

    fn quoted(&mut self) {
        self.add("");
        while let Some(c) = self.rest.next() {
            match c {
                '"' => break,
                '\\' => self.escaped(),
                '$' => self.expansion(),
                c => self.add(c.encode_utf8(&mut [0; 4])),
            }
        }
    }

    /// Leaves `$name` and `${name}` as they are and collects the commands in `$(…)`.
    fn expansion(&mut self) {
        if self.rest.next_if_eq(&'(').is_none() {
            self.add("$");
            return;
        }
        let inside = self.inside_brackets();
        self.substituted(&inside);
        self.add("SUBSTITUTED");
    }

    fn substituted(&mut self, script: &str) {
        let mut inner = Reader::new(script);
        inner.read();
        self.commands.append(&mut inner.commands);
    }

    fn inside_brackets(&mut self) -> String {
        let mut depth = 1;
        let mut inside = String::new();
        for c in self.rest.by_ref() {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            if depth == 0 {
                break;
            }
            inside.push(c);
        }
        inside
    }

    fn redirection(&mut self, first: char) {
        // The digit in `2>` is not a word.
        if self.word.as_ref().is_some_and(|word| word.chars().all(|c| c.is_ascii_digit())) {
            self.word = None;
        }
        self.end_word();
        let is_text = first == '<' && self.rest.next_if_eq(&'<').is_some();
        if self.rest.next_if_eq(&'(').is_some() {
            let inside = self.inside_brackets();
            self.substituted(&inside);
            self.add("SUBSTITUTED");
            return;
        }
        while self.rest.next_if(|c| ['>', '&', '-', '<', ' '].contains(c)).is_some() {}
        if is_text {
            let is_end = |c: &char| !c.is_whitespace() && ![';', '|', '&', '>'].contains(c);
            let end: String = std::iter::from_fn(|| self.rest.next_if(is_end)).collect();
            self.ends.push(end.trim_matches(['\'', '"']).to_owned());
        } else {
            self.is_redirected = true;
        }
    }

    /// Skips the lines of here-documents.
    fn skip_texts(&mut self) {
        for end in std::mem::take(&mut self.ends) {
            loop {
                let line: String = self.rest.by_ref().take_while(|c| *c != '\n').collect();
                if line.trim() == end || self.rest.peek().is_none() {
                    break;
                }
            }
        }
    }
}

#[test]
fn simple_commands_are_found() {
    let words = |script: &str| -> Vec<String> {
        commands(script).into_iter().map(|words| words.join(" ")).collect()
    };
    assert_eq!(words("A=1 b c \\\n  d # e\nf"), ["b c d", "f"]);
    assert_eq!(
        words("export A=$(b \"c d\" | e) && g"),
        ["b c d", "e", "export A=SUBSTITUTED", "g"]
    );
    assert_eq!(words("if a; then b 2>&1 > c; else d; fi"), ["a", "b", "d"]);
    assert_eq!(words("a <<'END' > b\n{c}\nEND\nd"), ["a", "d"]);
    assert_eq!(words("sudo -u me env A=1 b --c='d e'"), ["b --c=d e"]);
    assert_eq!(words("for a in b c; do d \"$a\"; done"), ["d $a"]);
}
