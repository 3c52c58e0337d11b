//! Names with `*` and `?`.
//!
//! Used for `comm`, `cgroup` and the names of workloads. Matching takes time in proportion to the product of the lengths
//! at worst and never recurses, so a hostile pattern cannot stall the capture.

/// A name, perhaps with wildcards: `*` for any characters, `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
    has_wildcard: bool,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            has_wildcard: text.contains(['*', '?']),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn has_wildcard(&self) -> bool {
        self.has_wildcard
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        if self.has_wildcard {
            matches_wildcards(&self.text, name)
        } else {
            self.text == name
        }
    }
}

/// Goes back to the last `*` at each mismatch and lets it take one character more.
fn matches_wildcards(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    let mut last_star = None;
    loop {
        let at_name = name.clone();
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                name = at_name;
                last_star = Some((pattern.clone(), name.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => {
                let Some((after_star, mut rest)) = last_star.take() else {
                    return false;
                };
                if rest.next().is_none() {
                    return false;
                }
                last_star = Some((after_star.clone(), rest.clone()));
                (pattern, name) = (after_star, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use proptest::prelude::*;

    #[test]
    fn wildcards_match_whole_names() {
        for (pattern, name, expected) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx2", false),
            ("ngin*", "nginx", true),
            ("ngin*", "ngin", true),
            ("*", "", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("*.service", "a.service.service", true),
            ("*é?", "caféx", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                expected,
                "{pattern} on {name}"
            );
        }
    }

    /// The obvious definition, slow on hostile input.
    fn defined(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|taken| defined(rest, &name[taken..])),
            Some((wanted, rest)) => name.split_first().is_some_and(|(found, left)| {
                (*wanted == '?' || wanted == found) && defined(rest, left)
            }),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                Pattern::new(&pattern).matches(&name),
                defined(&letters(&pattern), &letters(&name))
            );
        }
    }
}
