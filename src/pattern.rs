//! The regular expressions that users write (`bodyMatches`, `outputMatches`), compiled here and nowhere else: one that was found
//! valid before the restore runs after it.

use regex::bytes::{Regex, RegexBuilder};

/// Largest compiled form: nested repetitions grow without bound. It is what the crate itself takes for the limit, and what policies were
/// validated by before.
const COMPILED: usize = 10 << 20;

/// The compiled expression, or why there is none.
pub fn compile(expression: &str) -> Result<Regex, String> {
    RegexBuilder::new(expression)
        .size_limit(COMPILED)
        .build()
        .map_err(|error| told(&error))
}

fn told(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => format!(
            "compiles to more than {} MiB; repeat less, or write (?-u:\\w) or [0-9A-Za-z_] for \\w, which stands for all the world's letters",
            COMPILED >> 20
        ),
        // It shows the expression and marks the place on lines of its own; reports want one line.
        other => format!(
            "does not compile: {}",
            other.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_compiles() {
        for expression in [
            "shop is open",
            r"^\d+ rows$",
            r"\w{1,64}@\w{1,64}",
            r#""status":\s*"(ok|healthy)""#,
            r"(?-u:\xff)",
        ] {
            assert!(compile(expression).is_ok(), "{expression}");
        }
    }

    #[test]
    fn what_does_not_is_told_on_one_line() {
        let error = compile("(unclosed").unwrap_err();
        assert!(
            error.starts_with("does not compile: ") && error.ends_with("unclosed group") && !error.contains('\n'),
            "{error}"
        );
        let error = compile(r"(?:\w{1,60}\W){1,20}").unwrap_err();
        assert!(error.starts_with("compiles to more than 10 MiB; "), "{error}");
    }
}
