//! JSON as other programs write it, for records that strict JSON refuses: NaN and Infinity, lone surrogates and control
//! characters in values that nobody reads, and Python's dictionaries (McAuley's "loose JSON": single quotes, True,
//! None). A value that has no meaning is left out of the result and named, so that only who wants it has to refuse the
//! record.

use serde_json::{Map, Number, Value};

/// As deep as serde_json goes.
const DEEPEST: usize = 127;

/// A value without what could not be read of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loose {
    pub value: Value,
    /// Keys of what was left out, `a.b` for the key b in the object at a.
    pub unreadable: Vec<String>,
    /// Whether it is Python rather than JSON.
    pub python: bool,
}

impl Loose {
    /// Whether what is at this key, or around it, was left out.
    pub fn lacks(&self, name: &str) -> bool {
        self.unreadable
            .iter()
            .any(|key| name == key || name.strip_prefix(key.as_str()).is_some_and(|r| r.starts_with('.')))
    }
}

/// Reads one object or array; `None` where it is neither JSON nor Python.
pub fn parse(text: &str) -> Option<Loose> {
    let mut parser = Parser { text: text.as_bytes(), at: 0, path: Vec::new(), unreadable: Vec::new(), python: false };
    let value = parser.value(0)?;
    parser.blank();
    let Readable::Yes(value) = value else { return None };
    (parser.at == text.len()).then_some(Loose { value, unreadable: parser.unreadable, python: parser.python })
}

/// A value that is well-formed; some mean nothing.
enum Readable {
    Yes(Value),
    No,
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    path: Vec<String>,
    unreadable: Vec<String>,
    python: bool,
}

/// Every method gives `None` where the text is malformed.
impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blank(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.blank();
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Option<Readable> {
        self.blank();
        match self.peek()? {
            _ if depth > DEEPEST => None,
            b'{' => self.object(depth).map(Readable::Yes),
            b'[' => self.array(b']', depth).map(Readable::Yes),
            b'(' => self.array(b')', depth).map(Readable::Yes),
            b'"' | b'\'' => Some(self.string()?.map_or(Readable::No, |text| Readable::Yes(text.into()))),
            b'u' if matches!(self.text.get(self.at + 1), Some(b'"' | b'\'')) => {
                self.at += 1;
                self.python = true;
                Some(self.string()?.map_or(Readable::No, |text| Readable::Yes(text.into())))
            }
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut object = Map::new();
        self.take(b'{');
        if self.take(b'}') {
            return Some(Value::Object(object));
        }
        loop {
            self.blank();
            if self.peek() == Some(b'u') {
                self.at += 1;
            }
            if !matches!(self.peek()?, b'"' | b'\'') {
                return None;
            }
            // A key with half a character in it is nobody's.
            let key = self.string()?.unwrap_or_else(|| char::REPLACEMENT_CHARACTER.into());
            if !self.take(b':') {
                return None;
            }
            let twice = object.contains_key(&key);
            self.path.push(key);
            let value = self.value(depth + 1)?;
            // Of two, which one is meant is not known.
            if matches!(value, Readable::No) || twice {
                self.unreadable.push(self.path.join("."));
            }
            let key = self.path.pop()?;
            if let Readable::Yes(value) = value {
                object.insert(key, value);
            }
            match (self.take(b','), self.take(b'}')) {
                (true, false) => {}
                (false, true) => return Some(Value::Object(object)),
                _ => return None,
            }
        }
    }

    fn array(&mut self, end: u8, depth: usize) -> Option<Value> {
        let mut all = Vec::new();
        self.python |= end == b')';
        self.at += 1;
        loop {
            if self.take(end) {
                return Some(Value::Array(all));
            }
            match self.value(depth + 1)? {
                Readable::Yes(value) => all.push(value),
                Readable::No => self.unreadable.push(self.path.join(".")),
            }
            if !self.take(b',') {
                return self.take(end).then_some(Value::Array(all));
            }
        }
    }

    /// A number, or a word for a value.
    fn word(&mut self) -> Option<Readable> {
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || b"+-._".contains(b)).count();
        let word = std::str::from_utf8(&rest[..length]).ok()?;
        let value = match word {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            "True" | "False" | "None" => {
                self.python = true;
                match word {
                    "None" => Value::Null,
                    _ => Value::Bool(word == "True"),
                }
            }
            "NaN" | "nan" | "Infinity" | "-Infinity" | "inf" | "-inf" => {
                self.at += length;
                return Some(Readable::No);
            }
            number => Value::Number(serde_json::from_str::<Number>(number.strip_suffix('L').unwrap_or(number)).ok()?),
        };
        self.at += length;
        Some(Readable::Yes(value))
    }

    /// A string in either kind of quotes; the inner `None` for one that holds no text.
    fn string(&mut self) -> Option<Option<String>> {
        let quote = self.peek()?;
        self.python |= quote == b'\'';
        self.at += 1;
        let (mut bytes, mut readable) = (Vec::new(), true);
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b if b == quote => break,
                b'\\' => match self.escape()? {
                    Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    None => readable = false,
                },
                // Neither JSON nor Python writes these as they are.
                0..0x20 => readable = false,
                b => bytes.push(b),
            }
        }
        Some(String::from_utf8(bytes).ok().filter(|_| readable))
    }

    /// What follows a backslash; the inner `None` where it stands for no character.
    fn escape(&mut self) -> Option<Option<char>> {
        let byte = self.peek()?;
        self.at += 1;
        let digits = match byte {
            b'n' => return Some(Some('\n')),
            b't' => return Some(Some('\t')),
            b'r' => return Some(Some('\r')),
            b'b' => return Some(Some('\u{8}')),
            b'f' => return Some(Some('\u{c}')),
            b'a' => return Some(Some('\u{7}')),
            b'v' => return Some(Some('\u{b}')),
            b'\\' | b'/' | b'"' | b'\'' => return Some(Some(char::from(byte))),
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            _ => return Some(None),
        };
        let Some(code) = self.hexadecimal(digits) else { return Some(None) };
        if (0xD800..0xDC00).contains(&code) && self.text[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            if let Some(low @ 0xDC00..0xE000) = self.hexadecimal(4) {
                return Some(char::from_u32(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)));
            }
            self.at = before;
        }
        Some(char::from_u32(code))
    }

    /// So many hexadecimal digits.
    fn hexadecimal(&mut self, digits: usize) -> Option<u32> {
        let text = self.text.get(self.at..self.at + digits)?;
        let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.at += digits;
        u32::from_str_radix(text, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn python_dictionaries_are_read_as_python_reads_them() {
        let line = r#"{'id': 'A1', 'text': "It's \"fine\"", u'n': 5.0, 'h': [2, 3], 't': (1,), 'b': True, 'none': None, 'x': '\xe9\u20ac\'', 'l': 5L}"#;
        let found = parse(line).unwrap();
        assert!(found.python && found.unreadable.is_empty());
        let wanted = json!({ "id": "A1", "text": "It's \"fine\"", "n": 5.0, "h": [2, 3], "t": [1], "b": true, "none": null,
            "x": "é€'", "l": 5 });
        assert_eq!(found.value, wanted);
    }

    #[test]
    fn what_means_nothing_is_left_out_and_named() {
        let found =
            parse(r#"{"a": NaN, "b": "\ud83d", "c": {"d": -Infinity, "e": "\ud83d\ude00"}, "f": [NaN, 1]}"#).unwrap();
        assert_eq!(found.value, json!({ "c": { "e": "😀" }, "f": [1] }));
        assert_eq!(found.unreadable, ["a", "b", "c.d", "f"]);
        assert!(found.lacks("a") && found.lacks("c.d") && !found.lacks("c") && found.lacks("f.g") && !found.python);
    }

    #[test]
    fn malformed_text_stays_malformed() {
        for text in [
            "",
            "{oops",
            "{\"a\": 1} x",
            "{\"a\" 1}",
            "{\"a\": 1,}",
            "{'a': 'b",
            "[1 2]",
            "{\"a\": 1e}",
            "{1: 2}",
            "NaN",
            "'",
            "\\",
            &"[".repeat(100_000),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
