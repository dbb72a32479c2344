//! Takes values out of the words of others, before they are told.
//!
//! What a backup holds may be a secret wherever it stands, and the API server quotes what it refuses: `spec.password: Invalid
//! value: "hunter2": should be at least 12 chars long`. Place and rule are what mends it; the value is what must not be in a
//! report. URLs keep host and path, and lose what else they may carry: `postgres://…@db/shop?…`.

use std::fmt::Write as _;

/// Stands for what was taken out.
const HIDDEN: char = '…';

/// What the API server writes before a value.
const BEFORE_A_VALUE: [&str; 3] = ["Invalid value: ", "Unsupported value: ", "Duplicate value: "];

/// The text without the values that it quotes.
pub fn values(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut hidden = Vec::new();
    let mut rest = text;
    while let Some(at) = next_value(rest) {
        told.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = quoted(rest);
        let value = &rest[..end];
        // Numbers and words are left: a port, a size, or no value at all but the rule that was broken.
        if value.is_empty() {
            continue;
        }
        let mark = value.chars().next().unwrap_or('"');
        let close = match mark {
            '{' => '}',
            '[' => ']',
            quote => quote,
        };
        let _ = write!(told, "{mark}{HIDDEN}{close}");
        hidden.push(value);
        rest = &rest[end..];
    }
    told.push_str(rest);
    // `spec.mail: Invalid value: "x": spec.mail in body must be of type email: "x"`
    for value in hidden.iter().filter(|value| value.len() > 2) {
        told = told.replace(value, "\"…\"");
    }
    urls(&told)
}

/// Where the next value begins.
fn next_value(text: &str) -> Option<usize> {
    let places = BEFORE_A_VALUE
        .iter()
        .filter_map(|mark| Some(text.find(mark)? + mark.len()));
    places.min()
}

/// The length of the quoted text, or the JSON, that `text` begins with. What has no end, for somebody cut it, goes on to the
/// end of the text.
fn quoted(text: &str) -> usize {
    let Some(first @ ('"' | '{' | '[')) = text.chars().next() else {
        return 0;
    };
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '{' | '[' if !in_string => depth += 1,
            '}' | ']' if !in_string => depth = depth.saturating_sub(1),
            _ => continue,
        }
        let closed = if first == '"' { !in_string } else { depth == 0 };
        if closed {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// URLs without users, passwords and queries.
fn urls(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + "://".len());
        told.push_str(before);
        let end = url
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`'))
            .unwrap_or(url.len());
        let (url, behind) = url.split_at(end);
        told.push_str(&without_secrets(url));
        rest = behind;
    }
    told.push_str(rest);
    told
}

/// The part of a URL behind `://`.
fn without_secrets(url: &str) -> String {
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (url, None),
    };
    let host_ends = path.find('/').unwrap_or(path.len());
    // A password may hold a slash that should have been escaped, so the last `@` counts; one in a path costs no more than words.
    let path = match path.rfind('@') {
        Some(at) if at < host_ends || path[..at].contains(':') => format!("{HIDDEN}{}", &path[at..]),
        _ => path.to_owned(),
    };
    match query {
        None => path,
        // What ends a sentence is no part of the query.
        Some(query) => {
            let end = query.trim_end_matches([':', ',', '.', ';', ')']);
            format!("{path}?{HIDDEN}{}", &query[end.len()..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_out_and_rules_stay() {
        for (text, told) in [
            (
                r#"Widget "w" is invalid: spec.password: Invalid value: "hunter2": spec.password in body should be at least 12 chars long"#,
                r#"Widget "w" is invalid: spec.password: Invalid value: "…": spec.password in body should be at least 12 chars long"#,
            ),
            // Quotes inside, several at once, and the value once more in the rule.
            (
                r#"[spec.a: Invalid value: "x\"y\\": no, spec.b: Unsupported value: "z": supported values: "p", "q", spec.c: Duplicate value: "w"]"#,
                r#"[spec.a: Invalid value: "…": no, spec.b: Unsupported value: "…": supported values: "p", "q", spec.c: Duplicate value: "…"]"#,
            ),
            (
                r#"spec.mail: Invalid value: "a@b": spec.mail in body must be of type email: "a@b""#,
                r#"spec.mail: Invalid value: "…": spec.mail in body must be of type email: "…""#,
            ),
            (
                r#"spec.users[1]: Duplicate value: {"name":"u","password":"}p]\""}: once"#,
                "spec.users[1]: Duplicate value: {…}: once",
            ),
            (
                r#"spec.keys: Invalid value: ["a",["b"]]: too many"#,
                "spec.keys: Invalid value: […]: too many",
            ),
            // Cut in the middle of the value.
            (r#"spec.a: Invalid value: "hunt"#, r#"spec.a: Invalid value: "…""#),
            (r#"spec.a: Invalid value: {"b":"hunt"#, "spec.a: Invalid value: {…}"),
            (r#"spec.a: Invalid value: """#, r#"spec.a: Invalid value: "…""#),
            // Nothing that is quoted.
            (
                "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
                "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
            ),
            (
                "spec: Invalid value: it cannot be changed",
                "spec: Invalid value: it cannot be changed",
            ),
            (
                r#"persistentvolumeclaim "data" not found"#,
                r#"persistentvolumeclaim "data" not found"#,
            ),
            ("", ""),
        ] {
            assert_eq!(values(text), told, "{text}");
        }
    }

    #[test]
    fn urls_keep_host_and_path() {
        for (text, told) in [
            (
                "cannot open postgres://shop:hunter2@db:5432/shop?password=x: refused",
                "cannot open postgres://…@db:5432/shop?…: refused",
            ),
            (
                r#"Get "http://10.1.2.3:8080/healthz?token=hunter2": dial tcp"#,
                r#"Get "http://10.1.2.3:8080/healthz?…": dial tcp"#,
            ),
            ("amqp://u:p/a@mq/", "amqp://…@mq/"),
            ("https://db/a, https://u@db/b", "https://db/a, https://…@db/b"),
            ("https://www.example.com/@shop", "https://www.example.com/@shop"),
            ("a :// b", "a :// b"),
        ] {
            assert_eq!(values(text), told, "{text}");
        }
    }
}
