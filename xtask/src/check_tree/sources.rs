//! What must hold in the text of the sources.

use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use super::{Text, Tree, pages};

/// The rules of docs/rules.md.
pub const RULES: [&str; 8] = ["T0", "ORDER", "LOSS", "HANG", "BOUND", "TRUTH", "CLEAR", "RESUME"];
/// The page that has a section for each of them.
const RULES_PAGE: &str = "docs/rules.md";

/// Where the driver may have `unsafe`.
const UNSAFE_FOLDERS: [&str; 2] = ["driver/src/kernel", "driver/src/framework"];
/// The modules that the folders belong to.
const UNSAFE_FILES: [&str; 2] = ["driver/src/kernel.rs", "driver/src/framework.rs"];

/// How a comment cites a section of the page, with the anchor behind it.
const CITATION: &str = concat!("rules.md", "#");

const COLUMNS_MAX: usize = 100;

/// `unsafe` in the driver, outside the folders of its wrappers.
pub fn unsafe_outside(tree: &Tree) -> Vec<String> {
    let outside = tree.with_extension("rs").filter(|Text { path, .. }| {
        path.starts_with("driver/src")
            && !UNSAFE_FOLDERS.iter().any(|folder| path.starts_with(folder))
            && !UNSAFE_FILES.iter().any(|file| path == Path::new(file))
    });
    let mut found = Vec::new();
    for Text { path, text } in outside {
        each_token(text, &mut |token| {
            if let TokenTree::Ident(word) = token
                && word == "unsafe"
            {
                let line = word.span().start().line;
                found.push(format!("{}:{line}: unsafe code", path.display()));
            }
        });
    }
    found
}

/// Citations of rules that docs/rules.md does not have: an anchor of the page and `rule X` in
/// comments, the name that an assertion's text begins with; and the rules that the page lacks.
pub fn unknown_rules(tree: &Tree) -> Vec<String> {
    let headings = tree.text(Path::new(RULES_PAGE)).map(pages::headings).unwrap_or_default();
    let lacks = |rule: &&&str| !headings.contains(&rule.to_lowercase());
    let lacking = RULES.iter().filter(lacks);
    let mut found: Vec<String> =
        lacking.map(|rule| format!("{RULES_PAGE}: no section for {rule}")).collect();
    for Text { path, text } in tree.with_extension("rs") {
        for (index, line) in text.lines().enumerate() {
            let mut report = |what: &str| {
                found.push(format!("{}:{}: no rule {what}", path.display(), index + 1));
            };
            for (at, cited) in line.match_indices(CITATION) {
                let anchor = word(&line[at + cited.len()..], |c| c.is_ascii_lowercase());
                if !headings.iter().any(|heading| heading == anchor) {
                    report(anchor);
                }
            }
            let comment = if line.trim_start().starts_with("//") { line } else { "" };
            for (at, cited) in comment.match_indices("rule ") {
                let name = word(&comment[at + cited.len()..], |c| c.is_ascii_uppercase());
                if name.len() > 1 && !RULES.contains(&name) {
                    report(name);
                }
            }
        }
        each_token(text, &mut |token| {
            if let TokenTree::Literal(literal) = token
                && let literal = literal.to_string()
                && let Some((name, _)) = literal.trim_start_matches('"').split_once(": ")
                && literal.starts_with('"')
                && name.len() > 1
                && name.starts_with(|c: char| c.is_ascii_uppercase())
                && name == word(name, |c| c.is_ascii_uppercase())
                && !RULES.contains(&name)
                && !OTHER_NAMES.contains(&name)
            {
                let line = token.span().start().line;
                found.push(format!("{}:{line}: no rule {name}", path.display()));
            }
        });
    }
    found
}

/// Texts begin with these as well: they name a program, not a rule.
const OTHER_NAMES: [&str; 2] = ["QEMU", "SNAPLESS"];

/// Comments that are longer than a line of code may be; addresses and tables are not wrapped.
pub fn wide_comments(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for Text { path, text } in tree.with_extension("rs") {
        for (index, line) in text.lines().enumerate() {
            let comment = line.trim_start();
            let is_table = comment.trim_start_matches(['/', '!']).trim_start().starts_with('|');
            let columns = line.chars().count();
            if comment.starts_with("//")
                && columns > COLUMNS_MAX
                && !is_table
                && !comment.contains("://")
            {
                found.push(format!("{}:{}: {columns} columns", path.display(), index + 1));
            }
        }
    }
    found
}

/// The beginning of a text: letters of a kind, and digits.
fn word(text: &str, is_letter: impl Fn(char) -> bool) -> &str {
    text.split(|c: char| !is_letter(c) && !c.is_ascii_digit()).next().unwrap_or_default()
}

/// Visits every token outside comments, those inside macros included.
fn each_token(text: &str, visit: &mut impl FnMut(&TokenTree)) {
    fn walk(tokens: TokenStream, visit: &mut impl FnMut(&TokenTree)) {
        for token in tokens {
            visit(&token);
            if let TokenTree::Group(group) = token {
                walk(group.stream(), visit);
            }
        }
    }
    // A file that is no Rust does not compile either.
    walk(text.parse().unwrap_or_default(), visit);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: (&str, &str) = (
        RULES_PAGE,
        "## T0\n## ORDER\n## LOSS\n## HANG\n## BOUND\n## TRUTH\n## CLEAR\n## RESUME\n",
    );

    #[test]
    fn unsafe_code_is_found_everywhere_but_in_comments_and_in_its_folders() {
        let tree = Tree::of(&[
            ("driver/src/kernel/irp.rs", "unsafe fn f() {}"),
            ("driver/src/filter.rs", "// unsafe\nmacro_rules! m { () => { unsafe { g() } } }"),
            ("engine/src/lib.rs", "unsafe fn f() {}"),
        ]);
        assert_eq!(unsafe_outside(&tree), ["driver/src/filter.rs:2: unsafe code"]);
    }

    #[test]
    fn a_rule_that_the_page_does_not_have_is_found_wherever_it_is_cited() {
        let file = |text: &str| Tree::of(&[PAGE, ("a.rs", text)]);
        let good = "// rule LOSS (rules.md#loss), the rule A\nfn f() { assert!(x, \"T0: y\"); }";
        assert_eq!(unknown_rules(&file(good)), Vec::<String>::new());
        assert_eq!(unknown_rules(&file(&format!("// {CITATION}lost"))), ["a.rs:1: no rule lost"]);
        assert_eq!(unknown_rules(&file("// rule LOST")), ["a.rs:1: no rule LOST"]);
        let bad = "fn f() {\n    rule!(x, \"T1: y\");\n}";
        assert_eq!(unknown_rules(&file(bad)), ["a.rs:2: no rule T1"]);
        let lacking = unknown_rules(&Tree::of(&[(RULES_PAGE, "## T0\n")]));
        assert_eq!((lacking.len(), lacking[0].contains("ORDER")), (7, true));
    }

    #[test]
    fn a_comment_of_more_than_100_columns_is_found_unless_it_cannot_be_wrapped() {
        let long = "x".repeat(COLUMNS_MAX);
        let tree = |line: &str| Tree::of(&[("a.rs", line)]);
        assert_eq!(wide_comments(&tree(&format!("/// {long}"))), ["a.rs:1: 104 columns"]);
        for fine in [format!("//! | {long} |"), format!("// https://{long}"), long] {
            assert_eq!(wide_comments(&tree(&fine)), Vec::<String>::new());
        }
    }
}
