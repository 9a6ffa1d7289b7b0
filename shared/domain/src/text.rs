//! Other people's text: aliases, tags, AWS's messages. It may hold what a terminal or a mail program obeys.

/// The text without control characters (escape sequences and line ends among them), without the marks that change the
/// direction of writing or take no room, and without what Unicode gives no meaning to. Each run of them becomes a space.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if !is_hidden(c) {
            printable.push(c);
        } else if !printable.ends_with(' ') {
            printable.push(' ');
        }
    }
    printable
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, combining grapheme joiner, Arabic letter mark, Hangul and Mongolian fillers.
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
            // Zero-width characters, direction marks, line and paragraph separators, embeddings, overrides, isolates.
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FEFF}'
            | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

/// The text as [`printable`], and so that no program makes a link of what stands in it.
pub fn unlinked(text: &str) -> String {
    printable(text).replace("://", "[:]//").replace("www.", "www[.]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_gone() {
        for (text, expected) in [
            ("alias/payments", "alias/payments"),
            ("Schlüssel 鍵 🔑", "Schlüssel 鍵 🔑"),
            ("\u{1b}[31mred\u{1b}[0m", " [31mred [0m"),
            ("two\r\nlines\ttab", "two lines tab"),
            ("a\u{202e}b\u{2066}c\u{200f}d\u{feff}e", "a b c d e"),
            ("\u{7}\u{0}\u{9b}", " "),
            ("", ""),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn a_link_is_none() {
        for (text, expected) in [
            ("see https://evil.example/x", "see https[:]//evil.example/x"),
            ("www.evil.example", "www[.]evil.example"),
            ("moves to a new key: ticket 12", "moves to a new key: ticket 12"),
        ] {
            assert_eq!(unlinked(text), expected);
        }
    }
}
