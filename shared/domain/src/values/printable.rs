//! Escapes untrusted text for terminals and logs.

/// The text with escapes for control characters, which could move the cursor, begin a line or
/// overwrite text, and for invisible characters.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if c.is_control() || is_invisible(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
        shown
    })
}

/// Characters that change the direction of text, are invisible in it or tag it, and line
/// separators.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// JSON in which all characters outside ASCII are escaped: the same data, and no effect on a
/// terminal.
pub fn ascii_json(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut shown, c| {
        if c == '\n' || (' '..='~').contains(&c) {
            shown.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).to_vec();
            shown.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_cannot_control_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\r\n"), "a\\u{1b}[31mb\\u{d}\\u{a}");
        assert_eq!(printable("gro\u{df}\u{202e}"), "gro\u{df}\\u{202e}");
        assert_eq!(printable("a\u{ad}\u{feff}b\u{e0041}"), "a\\u{ad}\\u{feff}b\\u{e0041}");
    }

    #[test]
    fn json_for_a_terminal_is_ascii_and_the_same_data() {
        let value = serde_json::json!({ "email": "\u{9b}31m\u{202e}\u{1f600}\u{7f}gr\u{fc}n\n" });
        let json = ascii_json(&value.to_string());
        assert!(json.is_ascii() && !json.contains('\u{7f}'), "{json}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
    }
}
