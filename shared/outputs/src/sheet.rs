//! All that is said of one thing, as text in columns or as a page: sections with rows.
//!
//! Other people's text comes in through [`printable`] alone, and the template escapes all of it. The page holds no script and
//! loads nothing.

use askama::Template;
use domain::text::printable;
use jiff::Timestamp;

use crate::evidence::minute;
use crate::page::STYLE;

/// Widest that a column of the text is made. Longer cells push their row to the right.
const MAX_COLUMN: usize = 40;

/// What is to be said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Something is to be done.
    Bad,
    /// Not everything is known.
    Unsure,
    /// All is as it should be.
    Good,
}

/// All that is said of one thing.
#[derive(Clone, Debug)]
pub struct Sheet {
    title: String,
    place: String,
    at: Timestamp,
    standing: Standing,
    sentence: String,
    sections: Vec<Section>,
}

/// A part of it.
#[derive(Clone, Debug)]
pub struct Section {
    heading: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
    note: Option<String>,
}

impl Sheet {
    /// A sheet with nothing in it yet: what it is about, where that is, when it was seen, and what is to be said first.
    pub fn new(title: &str, place: &str, at: Timestamp, standing: Standing, sentence: &str) -> Self {
        let [title, place, sentence] = [title, place, sentence].map(printable);
        Self { title, place, at, standing, sentence, sections: Vec::new() }
    }

    /// Adds a section, if it says anything.
    pub fn add(&mut self, section: Section) {
        if !section.rows.is_empty() || section.note.is_some() {
            self.sections.push(section);
        }
    }

    /// As text, one row a line.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}, {}\n{}\n", self.title, self.place, minute(self.at), self.sentence);
        for section in &self.sections {
            text.push('\n');
            text.push_str(section.heading);
            text.push('\n');
            section.write(&mut text);
        }
        text
    }

    /// As a page.
    ///
    /// # Errors
    /// None that is known: the template writes into memory.
    pub fn page(&self) -> Result<String, askama::Error> {
        let class = match self.standing {
            Standing::Bad => "bad",
            Standing::Unsure => "unsure",
            Standing::Good => "good",
        };
        View { sheet: self, class, at: minute(self.at) }.render()
    }
}

impl Section {
    /// A section with these columns; without a name of any it has no head.
    pub fn new(heading: &'static str, columns: &'static [&'static str]) -> Self {
        Self { heading, columns, rows: Vec::new(), note: None }
    }

    /// Adds a row.
    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) {
        self.rows.push(cells.into_iter().map(printable).collect());
    }

    /// Says something below the rows, such as what is missing.
    pub fn note(&mut self, note: &str) {
        self.note = Some(printable(note));
    }

    fn write(&self, text: &mut String) {
        let head: Vec<String> = self.columns.iter().map(|it| (*it).to_owned()).collect();
        let lines: Vec<&Vec<String>> = Some(&head).filter(|it| !it.is_empty()).into_iter().chain(&self.rows).collect();
        let columns = lines.iter().map(|line| line.len()).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default().min(MAX_COLUMN)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for line in lines {
            let mut row = String::from(" ");
            for (cell, width) in line.iter().zip(&widths) {
                row.push(' ');
                row.push_str(cell);
                row.extend(std::iter::repeat_n(' ', (width + 1).saturating_sub(cell.chars().count())));
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        if let Some(note) = &self.note {
            text.push_str("  ");
            text.push_str(note);
            text.push('\n');
        }
    }
}

#[derive(Template)]
#[template(path = "sheet.html", whitespace = "minimize")]
struct View<'a> {
    sheet: &'a Sheet,
    class: &'static str,
    at: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(name: &str) -> Sheet {
        let mut sheet = Sheet::new(name, "account 1, eu-west-1", Timestamp::UNIX_EPOCH, Standing::Bad, "One finding.");
        let mut facts = Section::new("Facts", &[]);
        facts.row(["state", "Enabled"]);
        facts.row(["a longer name", name]);
        sheet.add(facts);
        let mut grants = Section::new("Grants", &["grantee", "operations"]);
        grants.row([name, "Decrypt"]);
        grants.note("3 more are not listed");
        sheet.add(grants);
        sheet.add(Section::new("Nothing", &["a", "b"]));
        sheet
    }

    #[test]
    fn a_text_has_columns() {
        assert_eq!(
            sheet("alias/x").text(),
            "alias/x\naccount 1, eu-west-1, 1970-01-01 00:00 UTC\nOne finding.\n\n\
             Facts\n  state          Enabled\n  a longer name  alias/x\n\n\
             Grants\n  grantee  operations\n  alias/x  Decrypt\n  3 more are not listed\n"
        );
    }

    #[test]
    fn what_is_hostile_does_nothing() {
        let name = "</title><script>alert(1)</script>\u{1b}[31m\u{202e}\"'&\n  state  Enabled";
        let sheet = sheet(name);
        let (text, page) = (sheet.text(), sheet.page().unwrap());
        for form in [&text, &page] {
            assert!(!form.contains('\u{1b}') && !form.contains('\u{202e}'), "{form}");
        }
        assert_eq!(text.lines().count(), 12, "a name makes no line of its own: {text}");
        assert!(!page.contains("<script") && page.contains("&#60;script&#62;"), "{page}");
        assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"), "{page}");
        assert_eq!(page.matches("<h2").count(), 2, "an empty section is none");
    }
}
