//! A PowerShell script as a syntax tree: its functions, parameters, help, words.

use tree_sitter::{Node, Parser, Tree};

/// A script.
pub struct Script {
    text: String,
    tree: Tree,
}

impl Script {
    pub fn parse(text: &str) -> Self {
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
        Self { text: text.to_owned(), tree: parser.parse(text, None).unwrap() }
    }

    /// The lines at which it is no PowerShell.
    pub fn faults(&self) -> Vec<usize> {
        let is_wrong = |node: &Node<'_>| node.is_error() || node.is_missing();
        let nodes = below(self.tree.root_node()).into_iter().filter(is_wrong);
        nodes.map(|node| node.start_position().row + 1).collect()
    }

    pub fn functions(&self) -> Vec<Function<'_>> {
        let of = |node| Function {
            name: self.text(first(node, "function_name").unwrap()),
            node,
            script: self,
        };
        self.nodes("function_statement").into_iter().map(of).collect()
    }

    /// The strings that are the value of an entry of its hash table.
    pub fn entry(&self, key: &str) -> Vec<&str> {
        let is_key = |entry: &Node<'_>| {
            first(*entry, "key_expression").is_some_and(|node| self.text(node) == key)
        };
        let entry = self.nodes("hash_entry").into_iter().find(is_key).unwrap();
        all(entry, "string_literal").into_iter().map(|node| self.string(node)).collect()
    }

    /// All strings of one line.
    pub fn strings(&self) -> Vec<&str> {
        self.nodes("string_literal").into_iter().map(|node| self.string(node)).collect()
    }

    /// Each typed object that is made: its type, and its properties.
    pub fn objects(&self) -> Vec<(&str, Vec<&str>)> {
        let mut found = Vec::new();
        for table in self.nodes("hash_literal_body") {
            let mut keys = Vec::new();
            let mut name = None;
            for entry in children(table, "hash_entry") {
                match self.text(first(entry, "key_expression").unwrap()) {
                    "PSTypeName" => {
                        name = first(entry, "string_literal").map(|node| self.string(node));
                    }
                    key => keys.push(key),
                }
            }
            found.extend(name.map(|name| (name, keys)));
        }
        found
    }

    fn nodes(&self, kind: &str) -> Vec<Node<'_>> {
        all(self.tree.root_node(), kind)
    }

    fn text(&self, node: Node<'_>) -> &str {
        &self.text[node.byte_range()]
    }

    fn string(&self, node: Node<'_>) -> &str {
        self.text(node).trim_matches(['\'', '"'])
    }
}

/// A function of a script.
pub struct Function<'a> {
    pub name: &'a str,
    node: Node<'a>,
    script: &'a Script,
}

impl<'a> Function<'a> {
    /// The text of its help.
    pub fn help(&self) -> &'a str {
        children(self.node, "comment").first().map_or("", |node| self.script.text(*node))
    }

    /// The text of its `[CmdletBinding(…)]`; `None` for one that is not exported.
    pub fn binding(&self) -> Option<&'a str> {
        let block = first(self.node, "param_block")?;
        let attributes = all(block, "attribute").into_iter().map(|node| self.script.text(node));
        attributes.into_iter().find(|text| text.starts_with("[CmdletBinding"))
    }

    pub fn parameters(&self) -> Vec<&'a str> {
        let Some(block) = first(self.node, "parameter_list") else { return Vec::new() };
        let name = |node| {
            let variables = children(node, "variable");
            self.script.text(variables[0]).trim_start_matches('$')
        };
        children(block, "script_parameter").into_iter().map(name).collect()
    }

    pub fn contains(&self, part: &str) -> bool {
        self.script.text(self.node).contains(part)
    }

    /// Members in lower case: fields of JSON.
    pub fn fields(&self) -> Vec<&'a str> {
        let members = all(self.node, "member_name").into_iter().map(|node| self.script.text(node));
        members.filter(|name| name.starts_with(|first: char| first.is_ascii_lowercase())).collect()
    }

    /// The program's command that it runs, and the options that it gives.
    pub fn command(&self) -> Option<(&'a str, Vec<&'a str>)> {
        let strings = |node| {
            let nodes = all(node, "string_literal").into_iter();
            nodes.map(|node| self.script.string(node)).collect::<Vec<_>>()
        };
        let lists = all(self.node, "array_literal_expression").into_iter().map(strings);
        let words = lists.into_iter().find(|words| words.get(1) == Some(&"--json"))?;
        let mut options = strings(self.node);
        options.retain(|word| word.starts_with("--") && *word != "--");
        Some((words[0], options))
    }
}

fn below(node: Node<'_>) -> Vec<Node<'_>> {
    let mut found = vec![node];
    let mut at = 0;
    while let Some(&node) = found.get(at) {
        at += 1;
        found.extend(node.children(&mut node.walk()));
    }
    found
}

fn all<'a>(node: Node<'a>, kind: &str) -> Vec<Node<'a>> {
    let mut found = below(node);
    found.retain(|node| node.kind() == kind);
    found.sort_by_key(|node| node.start_byte());
    found
}

fn first<'a>(node: Node<'a>, kind: &str) -> Option<Node<'a>> {
    all(node, kind).into_iter().next()
}

fn children<'a>(node: Node<'a>, kind: &str) -> Vec<Node<'a>> {
    node.children(&mut node.walk()).filter(|child| child.kind() == kind).collect()
}
