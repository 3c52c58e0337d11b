//! Bytes that somebody else chose, as text that is safe to show.
//!
//! A process may call itself anything, a path may hold anything but NUL. `event::decode` and
//! `annotate` pass every such name through [`printable`] before it reaches an event, so no sink
//! needs to think of it again: what comes out moves no cursor, hides nothing, reverses nothing,
//! and is one line.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The bytes as text: what is not printable UTF-8 becomes `\xNN` (a control character of ASCII, a
/// byte that is no UTF-8) or `\u{...}` (any other character that a terminal does not draw as
/// itself: controls, bidirectional overrides, zero-width and combining characters, blanks other
/// than the space, code points not assigned).
///
/// A backslash stays as it is: names of systemd units hold `\x2d` and must be found as they are.
/// The result is for reading and grouping, it cannot be turned back into the bytes.
#[must_use]
pub fn printable(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return String::from_utf8_lossy(bytes);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_character(&mut text, character);
        }
        for byte in chunk.invalid() {
            push_byte(&mut text, *byte);
        }
    }
    Cow::Owned(text)
}

fn push_character(text: &mut String, character: char) {
    if is_drawn(character) {
        text.push(character);
    } else if character.is_ascii() {
        push_byte(text, character as u8);
    } else {
        text.extend(character.escape_unicode());
    }
}

fn push_byte(text: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\\x{byte:02x}");
}

/// Whether a terminal draws this character as itself, in a place of its own.
fn is_drawn(character: char) -> bool {
    match character {
        ' '..='~' => true,
        // Letters by their category, but drawn as nothing: the Hangul fillers, the empty Braille
        // pattern.
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}' => false,
        // The tables of the standard library: it escapes what is not printable or does not stand
        // alone, and nothing else outside ASCII.
        other => other.escape_debug().len() == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_borrowed_unchanged() {
        assert!(matches!(
            printable(b"nginx: worker"),
            Cow::Borrowed("nginx: worker")
        ));
        assert_eq!(printable(b""), "");
        assert_eq!(printable("größe-日本".as_bytes()), "größe-日本");
    }

    #[test]
    fn names_of_units_keep_their_backslashes() {
        assert_eq!(
            printable(br"/system.slice/a\x2db.service"),
            r"/system.slice/a\x2db.service"
        );
    }

    #[test]
    fn controls_are_escaped() {
        assert_eq!(printable(b"a\x1b[2Jb"), r"a\x1b[2Jb");
        assert_eq!(
            printable(b"a\nb\tc\rd\0e\x7f"),
            r"a\x0ab\x09c\x0dd\x00e\x7f"
        );
        // CSI as one C1 character.
        assert_eq!(printable("\u{9b}31m".as_bytes()), r"\u{9b}31m");
    }

    #[test]
    fn invalid_bytes_are_escaped_one_by_one() {
        assert_eq!(printable(b"ok\xff\xc3("), r"ok\xff\xc3(");
        assert_eq!(printable(b"cut\xe6\x97"), r"cut\xe6\x97");
    }

    #[test]
    fn what_hides_or_reverses_text_is_escaped() {
        for hidden in [
            '\u{202e}',
            '\u{2066}',
            '\u{200b}',
            '\u{200d}',
            '\u{feff}',
            '\u{2028}',
            '\u{ad}',
            '\u{301}',
            '\u{fe0f}',
            '\u{e0041}',
            '\u{a0}',
            '\u{3164}',
            '\u{2800}',
        ] {
            let text = printable(hidden.encode_utf8(&mut [0; 4]).as_bytes()).into_owned();
            assert_eq!(text, format!("\\u{{{:x}}}", hidden as u32));
        }
    }

    #[test]
    fn every_character_comes_out_drawn_and_on_one_line() {
        for character in '\0'..=char::MAX {
            let mut buffer = [0; 4];
            let text = printable(character.encode_utf8(&mut buffer).as_bytes());
            assert!(text.chars().all(is_drawn), "{character:?} became {text:?}");
            assert!(
                !text.chars().any(char::is_control),
                "{character:?} became {text:?}"
            );
        }
    }
}
