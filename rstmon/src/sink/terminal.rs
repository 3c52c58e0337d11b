//! What the terminal can show, and what it must not be sent.
//!
//! [`read_style`] is called once by the commands that print text; [`visible`] by whatever prints a
//! string that did not originate here.

use super::text::TextStyle;
use anstream::{AutoStream, ColorChoice};
use jiff::tz::TimeZone;
use std::borrow::Cow;
use std::env;
use std::fmt::Write as _;
use std::io;

/// Asks standard output and the environment how text can be drawn. `Auto` means colour on a
/// terminal, unless `NO_COLOR`, `CLICOLOR=0` or `TERM=dumb` say otherwise; `CLICOLOR_FORCE` forces it.
#[must_use]
pub fn read_style(color: ColorChoice) -> TextStyle {
    let stdout = io::stdout();
    let color = match color {
        ColorChoice::Auto => AutoStream::choice(&stdout),
        chosen => chosen,
    };
    TextStyle {
        color: color != ColorChoice::Never,
        width: terminal_size::terminal_size_of(&stdout).map(|(width, _)| width.0),
        unicode: locale_is_utf8(|name| env::var(name).ok()),
        time_zone: TimeZone::system(),
    }
}

/// The first of the three variables that is set and not empty decides, as in setlocale(3).
fn locale_is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()))
        .is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        })
}

/// The text with everything escaped that would move the cursor, start an escape sequence, turn the
/// writing direction or take no place; without `unicode` all that is not ASCII.
#[must_use]
pub fn visible(text: &str, unicode: bool) -> Cow<'_, str> {
    let is_plain = |c: char| {
        !c.is_control()
            && if unicode {
                !is_invisible(c)
            } else {
                c.is_ascii()
            }
    };
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_plain(c) {
            escaped.push(c);
        } else if c.is_ascii() {
            // A String takes any write.
            let _ = write!(escaped, "\\x{:02x}", u32::from(c));
        } else {
            let _ = write!(escaped, "{}", c.escape_unicode());
        }
    }
    Cow::Owned(escaped)
}

/// Format characters: soft hyphen, zero-width ones, marks that turn the direction, tags.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::{locale_is_utf8, visible};

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        for (text, unicode, expected) in [
            ("nginx: worker", true, "nginx: worker"),
            ("a\u{1b}[2Jb", true, "a\\x1b[2Jb"),
            ("a\r\nb\t\u{7f}", true, "a\\x0d\\x0ab\\x09\\x7f"),
            ("\u{9b}31m", true, "\\u{9b}31m"),
            ("a\u{202e}b", true, "a\\u{202e}b"),
            ("caf\u{e9}", true, "caf\u{e9}"),
            ("caf\u{e9}", false, "caf\\u{e9}"),
        ] {
            assert_eq!(visible(text, unicode), expected);
        }
    }

    #[test]
    fn the_locale_is_the_first_variable_set() {
        let locale = |set: &[(&str, &str)]| {
            locale_is_utf8(|name| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(locale(&[("LANG", "C.UTF-8")]));
        assert!(locale(&[
            ("LC_ALL", ""),
            ("LC_CTYPE", "de_DE.utf8"),
            ("LANG", "C")
        ]));
        assert!(!locale(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]));
        assert!(!locale(&[]));
    }
}
