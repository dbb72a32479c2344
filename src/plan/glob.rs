//! Patterns with `*` (any text) and `?` (any one character), as users write them for names.

/// Does the whole of `text` match the pattern?
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where the last `*` stood, and how much of the text it has swallowed so far. One is enough: a later star that
    // matches at all matches for every choice an earlier one could have made.
    let mut star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some('*') => {
                star = Some((at_pattern + 1, at_text));
                at_pattern += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => match star {
                Some((after_star, swallowed)) => {
                    star = Some((after_star, swallowed + 1));
                    at_pattern = after_star;
                    at_text = swallowed + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("a", "A", false),
            ("*", "", true),
            ("*", "anything", true),
            ("**", "anything", true),
            ("cache-*", "cache-", true),
            ("cache-*", "cache-7", true),
            ("cache-*", "my-cache-7", false),
            ("*-cache", "a-cache-cache", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "", false),
            ("?", "ä", true),
            ("pod-?", "pod-12", false),
            ("*?", "", false),
            ("*?", "x", true),
            ("*.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io", true),
            ("*.toolkit.fluxcd.io", "toolkit.fluxcd.io", false),
            ("[a]", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "*a".repeat(200);
        assert!(!matches(&pattern, &"a".repeat(199)));
        assert!(matches(&pattern, &"a".repeat(2_000)));
    }
}
