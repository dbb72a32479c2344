//! Words of others, made fit for one line of a report: bounded, without control characters, in the source's names, without
//! the values that they quote.

use crate::redact;

/// Bytes kept of one message.
pub(super) const MAX: usize = 256;

/// The last line that says something, cut to [`MAX`] bytes.
pub(super) fn last_line(text: &str) -> String {
    clip(
        text.lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default(),
    )
}

/// The text as one line without the values that it quotes, cut to [`MAX`] bytes at the border of a character.
pub(super) fn clip(text: &str) -> String {
    let text = &redact::values(text);
    let mut line = String::with_capacity(text.len().min(MAX));
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > MAX {
            break;
        }
    }
    if line.len() > MAX {
        let end = (0..=MAX - '…'.len_utf8())
            .rev()
            .find(|index| line.is_char_boundary(*index))
            .unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

/// Bytes kept at each end of a message that is still to be read.
const END: usize = 512;

/// Both ends of a long message, without the values that it quotes: a chain of errors begins with what was tried and ends with
/// what went wrong.
pub(super) fn ends(text: &str) -> String {
    // Before it is cut, for of a value that is cut in two the end could not be told.
    let text = &*redact::values(text);
    if text.len() <= 2 * END {
        return text.to_owned();
    }
    let head = (0..=END).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0);
    let tail = (text.len() - END..text.len())
        .find(|index| text.is_char_boundary(*index))
        .unwrap_or(text.len());
    format!("{} … {}", &text[..head], &text[tail..])
}

/// The part behind the last of `marks` that occurs, or all of it.
pub(super) fn behind<'t>(text: &'t str, marks: &[&str]) -> &'t str {
    marks
        .iter()
        .filter_map(|mark| text.rfind(mark).map(|at| at + mark.len()))
        .max()
        .map_or(text, |at| &text[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_with_words_counts() {
        assert_eq!(
            last_line("starting\n\tcannot  open\u{1b}[0m /data\n\n"),
            "cannot open [0m /data"
        );
        assert_eq!(last_line(" \n"), "");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let long = clip(&"ä".repeat(400));
        assert!(long.len() <= MAX && long.ends_with('…'), "{long}");
        assert_eq!(clip(&"x".repeat(MAX)), "x".repeat(MAX));
    }

    #[test]
    fn both_ends_of_a_chain_are_kept() {
        let chain = format!("failed to pull: {}: not found", "é".repeat(2_000));
        let kept = ends(&chain);
        assert!(kept.len() <= 2 * END + 8, "{}", kept.len());
        assert!(kept.starts_with("failed to pull") && kept.ends_with(": not found"));
        assert_eq!(ends("short"), "short");
    }

    #[test]
    fn values_are_taken_out_before_a_cut() {
        let long = format!("spec.key: Invalid value: \"{}\": too long", "hunter2".repeat(400));
        for told in [clip(&long), ends(&long)] {
            assert_eq!(told, "spec.key: Invalid value: \"…\": too long");
        }
    }

    #[test]
    fn behind_takes_the_innermost_mark() {
        assert_eq!(behind("a: b: c", &[": "]), "c");
        assert_eq!(behind("abc", &[": "]), "abc");
    }
}
