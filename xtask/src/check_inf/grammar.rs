//! The grammar of INF files: sections of entries, each an optional key and its values (docs:
//! "General Syntax Rules for INF Files").
//!
//! The rule: a line that is neither is an error with its number, never left out.

/// An INF file.
#[derive(Debug, Default)]
pub struct Inf {
    /// In the order of the file; sections of one name are one section for Windows.
    pub sections: Vec<Section>,
}

/// A section.
#[derive(Debug)]
pub struct Section {
    /// As it is spelled.
    pub name: String,
    /// Number of its first line.
    pub line: usize,
    /// Its entries.
    pub entries: Vec<Entry>,
}

/// `key = value, value`, or values alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Number of its first line.
    pub line: usize,
    /// What is before the equals sign.
    pub key: Option<String>,
    /// Without the quotes around them.
    pub values: Vec<String>,
}

impl Inf {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut inf = Self::default();
        for (line, code) in logical_lines(text) {
            let said = |problem: &str| format!("line {line}: {problem}: {code}");
            if let Some(rest) = code.strip_prefix('[') {
                let name = rest.strip_suffix(']').ok_or_else(|| said("a `]` is missing"))?;
                inf.sections.push(Section {
                    name: unquoted(name.trim()).map_err(|problem| said(&problem))?,
                    line,
                    entries: Vec::new(),
                });
                continue;
            }
            let entry = Entry::parse(line, &code).map_err(|problem| said(&problem))?;
            let section = inf.sections.last_mut();
            section.ok_or_else(|| said("this is in no section"))?.entries.push(entry);
        }
        Ok(inf)
    }

    /// The sections of this name; case is ignored.
    pub fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Section> {
        self.sections.iter().filter(move |section| same(&section.name, name))
    }

    /// The entries of all sections of this name.
    pub fn entries<'a>(&'a self, section: &str) -> impl Iterator<Item = &'a Entry> {
        self.named(section).flat_map(|section| &section.entries)
    }

    /// The values of a key in a section; the first, if there are several.
    pub fn values(&self, section: &str, key: &str) -> Option<&[String]> {
        let entry = self.entries(section).find(|entry| entry.is(key))?;
        Some(&entry.values)
    }

    /// The first value of a key in a section, with its tokens replaced.
    pub fn value(&self, section: &str, key: &str) -> Option<String> {
        self.values(section, key)?.first().map(|value| self.expanded(value))
    }

    /// A value with the texts of `[Strings]` in place of tokens.
    pub fn expanded(&self, value: &str) -> String {
        let token = value.strip_prefix('%').and_then(|rest| rest.strip_suffix('%'));
        let text = token.and_then(|token| self.values("Strings", token)?.first());
        text.map_or_else(|| value.to_owned(), Clone::clone)
    }
}

impl Section {
    /// True if it has this name, or one that begins with it and a dot.
    pub fn is_or_extends(&self, name: &str) -> bool {
        let rest = self.name.get(name.len()..);
        self.name.get(..name.len()).is_some_and(|beginning| same(beginning, name))
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl Entry {
    fn parse(line: usize, code: &str) -> Result<Self, String> {
        let (key, values) = match split(code, '=')?.as_slice() {
            [values] => (None, *values),
            [key, ..] => (Some(unquoted(key.trim())?), code.get(key.len() + 1..).unwrap_or("")),
            [] => (None, ""),
        };
        let values = split(values, ',')?.into_iter().map(|value| unquoted(value.trim()));
        Ok(Self { line, key, values: values.collect::<Result<_, _>>()? })
    }

    /// True if this is its key; case is ignored.
    pub fn is(&self, key: &str) -> bool {
        self.key.as_deref().is_some_and(|own| same(own, key))
    }

    /// The value at a place, if it is there and not empty.
    pub fn at(&self, index: usize) -> Option<&str> {
        self.values.get(index).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Names are equal in any case.
pub fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Lines without comments and blank ends, those that a backslash continues joined; with the number
/// of the first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut begun: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let code = without_comment(line).trim();
        let (number, mut joined) = begun.take().unwrap_or((index + 1, String::new()));
        let continued = code.strip_suffix('\\');
        joined.push_str(continued.unwrap_or(code));
        if continued.is_some() {
            begun = Some((number, joined));
        } else if !joined.is_empty() {
            lines.push((number, joined));
        }
    }
    lines.extend(begun);
    lines
}

fn without_comment(line: &str) -> &str {
    let end = outside_quotes(line).find(|&(_, letter)| letter == ';').map(|(at, _)| at);
    line.get(..end.unwrap_or(line.len())).unwrap_or(line)
}

/// The characters outside quotes, with their places.
fn outside_quotes(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quoted = false;
    text.char_indices().filter(move |&(_, letter)| {
        // Two quotes inside quotes, which stand for one, close and open again.
        quoted ^= letter == '"';
        !quoted && letter != '"'
    })
}

fn split(text: &str, separator: char) -> Result<Vec<&str>, String> {
    if !text.matches('"').count().is_multiple_of(2) {
        return Err("a quotation mark is missing".to_owned());
    }
    let places = outside_quotes(text).filter(|&(_, letter)| letter == separator);
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in places {
        parts.extend(text.get(from..at));
        from = at + separator.len_utf8();
    }
    parts.extend(text.get(from..));
    Ok(parts)
}

fn unquoted(text: &str) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('"') else {
        return Ok(text.to_owned());
    };
    let inner = rest.strip_suffix('"').ok_or("a quotation mark is missing")?;
    Ok(inner.replace("\"\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(line: &str) -> (Option<String>, Vec<String>) {
        let inf = Inf::parse(&format!("[s]\n{line}\n")).expect("sound");
        let entry = inf.sections[0].entries[0].clone();
        (entry.key, entry.values)
    }

    #[test]
    fn keys_values_quotes_and_comments_are_told_apart() {
        let read = |line| values(line);
        let expected = |key: Option<&str>, values: &[&str]| {
            (key.map(str::to_owned), values.iter().map(|&value| value.to_owned()).collect())
        };
        assert_eq!(read("a = b, ,c ; d"), expected(Some("a"), &["b", "", "c"]));
        assert_eq!(read("snapless.sys"), expected(None, &["snapless.sys"]));
        assert_eq!(
            read("HKR,,X,,\"say \"\"a;b\"\", = c\""),
            expected(None, &["HKR", "", "X", "", "say \"a;b\", = c"])
        );
        assert_eq!(read("a = b, \\ ; more\n  c"), expected(Some("a"), &["b", "c"]));
        assert_eq!(read("a = b = c"), expected(Some("a"), &["b = c"]));
    }

    #[test]
    fn names_are_found_in_any_case_and_tokens_are_replaced() {
        let text = "[Version]\nProvider = %P%\n[STRINGS]\np = \"Somebody\"\n[A.NTamd64.Services]\n";
        let inf = Inf::parse(text).expect("sound");
        assert_eq!(inf.value("VERSION", "provider").as_deref(), Some("Somebody"));
        assert_eq!(inf.expanded("%unknown%"), "%unknown%");
        let section = &inf.sections[2];
        assert!(section.is_or_extends("a") && section.is_or_extends("A.ntamd64"));
        assert!(!section.is_or_extends("A.NT") && !section.is_or_extends("A.NTamd64.Services.X"));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error_with_its_number() {
        for (text, number) in [("[a\n", 1), ("\nkey = 1\n", 2), ("[a]\n; x\nk = \"b\n", 3)] {
            let problem = Inf::parse(text).expect_err("broken");
            assert!(problem.starts_with(&format!("line {number}: ")), "{problem}");
        }
    }
}
