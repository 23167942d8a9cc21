//! The PowerShell module, as far as it can be judged without PowerShell: its syntax, its manifest,
//! its help, the commands that it runs, and the fields of JSON that it reads. `powershell/tests/`
//! has the tests that run it, on Windows.

mod script;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use script::{Function, Script};
use serde_json::Value;
use snapless_cli::arguments::Arguments;

/// Functions that read JSON, and the schema of what they read.
const READERS: [(&str, &str); 15] = [
    ("New-SnaplessErrorRecord", "error"),
    ("Write-SnaplessRestart", "volumes"),
    ("Get-SnaplessVolume", "volumes"),
    ("ConvertFrom-SnaplessVolume", "volumes"),
    ("Get-SnaplessStatus", "status"),
    ("ConvertFrom-SnaplessStatus", "status"),
    ("ConvertFrom-SnaplessChange", "change"),
    ("ConvertFrom-SnaplessVerification", "verify"),
    ("ConvertFrom-SnaplessRestore", "restore"),
    ("ConvertFrom-SnaplessIdentity", "enroll"),
    ("ConvertFrom-SnaplessSession", "points"),
    ("ConvertFrom-SnaplessGroup", "points"),
    ("ConvertFrom-SnaplessGroupBookmark", "bookmark"),
    ("Get-SnaplessPoint", "points"),
    ("New-SnaplessBookmark", "bookmark"),
];
/// Verbs that Windows approves, of those that are used.
const VERBS: [&str; 9] =
    ["Get", "New", "Register", "Restore", "Resume", "Start", "Stop", "Suspend", "Test"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn module() -> Script {
    Script::parse(&read("powershell/Snapless/Snapless.psm1"))
}

fn manifest() -> Script {
    Script::parse(&read("powershell/Snapless/Snapless.psd1"))
}

/// The files of a folder and those below it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The names of all fields in a schema.
fn fields(schema: &str) -> BTreeSet<String> {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(entries) => {
                if let Some(Value::Object(properties)) = entries.get("properties") {
                    names.extend(properties.keys().cloned());
                }
                entries.values().for_each(|it| collect(it, names));
            }
            Value::Array(items) => items.iter().for_each(|it| collect(it, names)),
            _ => {}
        }
    }
    let schema = read(&format!("docs/schema/{schema}.schema.json"));
    let mut names = BTreeSet::new();
    collect(&serde_json::from_str(&schema).unwrap(), &mut names);
    names
}

fn exported(script: &Script) -> Vec<Function<'_>> {
    script.functions().into_iter().filter(|it| it.binding().is_some()).collect()
}

/// The fields that a function reads and that no schema names.
fn unknown_fields<'a>(function: &Function<'a>) -> Vec<&'a str> {
    let schema = READERS.iter().find(|(name, _)| *name == function.name);
    let known = schema.map(|(_, schema)| fields(schema)).unwrap_or_default();
    function.fields().into_iter().filter(|name| !known.contains(*name)).collect()
}

/// What is wrong with a function's help.
fn help_faults(function: &Function<'_>) -> Vec<String> {
    let help = function.help();
    let lines: Vec<&str> = help.lines().map(str::trim).collect();
    let mut faults = Vec::new();
    for section in [".SYNOPSIS", ".DESCRIPTION", ".EXAMPLE", ".OUTPUTS"] {
        let at = lines.iter().position(|line| *line == section);
        // A section has a text.
        if at.is_none_or(|at| lines[at + 1].is_empty() || lines[at + 1].starts_with('.')) {
            faults.push(section.to_owned());
        }
    }
    let documented: BTreeSet<_> =
        lines.iter().filter_map(|line| line.strip_prefix(".PARAMETER ")).collect();
    let parameters: BTreeSet<_> = function.parameters().into_iter().collect();
    faults.extend(documented.symmetric_difference(&parameters).map(|name| (*name).to_owned()));
    faults
}

/// What a function gives the program that its command line does not have.
fn unknown_words(function: &Function<'_>) -> Vec<String> {
    let Some((command, options)) = function.command() else { return Vec::new() };
    let program = Arguments::command();
    let Some(command) = program.find_subcommand(command) else { return vec![command.to_owned()] };
    let is_known = |option: &str| {
        let name = option.trim_start_matches('-').split('=').next();
        command.get_arguments().any(|argument| argument.get_long() == name)
    };
    options.into_iter().filter(|option| !is_known(option)).map(str::to_owned).collect()
}

#[test]
fn every_script_is_powershell() {
    let mut count = 0;
    for path in files(&root().join("powershell")) {
        let extension = path.extension().unwrap().to_str().unwrap();
        if ["ps1", "psm1", "psd1"].contains(&extension) {
            let faults = Script::parse(&fs::read_to_string(&path).unwrap()).faults();
            assert!(faults.is_empty(), "{}: lines {faults:?}", path.display());
            count += 1;
        }
    }
    assert!(count >= 3, "{count}");
}

#[test]
fn windows_powershell_reads_every_file_in_the_right_encoding() {
    for path in files(&root().join("powershell")) {
        let bytes = fs::read(&path).unwrap();
        let is_plain = bytes.is_ascii() || bytes.starts_with(b"\xef\xbb\xbf");
        assert!(is_plain, "{}: not ASCII, and without a byte order mark", path.display());
        assert!(!bytes.contains(&b'\r') && !bytes.contains(&b'\t'), "{}", path.display());
    }
}

#[test]
fn the_manifest_exports_the_cmdlets_and_names_files_that_are_there() {
    let (manifest, module) = (manifest(), module());
    let functions: BTreeSet<_> = exported(&module).iter().map(|it| it.name).collect();
    assert_eq!(manifest.entry("FunctionsToExport").into_iter().collect::<BTreeSet<_>>(), functions);
    assert_eq!(manifest.entry("ModuleVersion"), [env!("CARGO_PKG_VERSION")]);
    for key in ["RootModule", "FormatsToProcess"] {
        for file in manifest.entry(key) {
            assert!(root().join("powershell/Snapless").join(file).is_file(), "{file}");
        }
    }
    for key in ["CmdletsToExport", "VariablesToExport", "AliasesToExport"] {
        assert_eq!(manifest.entry(key), [""; 0], "{key}");
    }
    let about = read("powershell/Snapless/en-US/about_Snapless.help.txt");
    let page = read("docs/powershell.md");
    for name in functions {
        assert!(about.contains(name) && page.contains(name), "{name}");
    }
}

#[test]
fn the_page_of_the_module_has_the_category_of_every_exit_code() {
    let (module, about) = (module(), read("powershell/Snapless/en-US/about_Snapless.help.txt"));
    let told = about.lines().filter_map(|line| {
        let mut words = line.strip_prefix("        ")?.split_whitespace();
        let code = words.next().filter(|word| word.parse::<u8>().is_ok())?;
        Some((code, words.next()?))
    });
    let told: Vec<_> = told.collect();
    for (code, category) in &told {
        assert_eq!(module.entry(code)[1], *category, "{code}");
    }
    let known = read("powershell/Snapless/Snapless.psm1");
    let known = known.split("$script:Kinds = @{").nth(1).and_then(|it| it.split('}').next());
    assert_eq!(told.len(), known.unwrap().lines().filter(|line| line.contains('=')).count());
}

#[test]
fn every_cmdlet_has_help_of_all_its_parameters() {
    for function in exported(&module()) {
        assert_eq!(help_faults(&function), [""; 0], "{}", function.name);
    }
}

#[test]
fn every_cmdlet_that_changes_something_asks() {
    for function in exported(&module()) {
        let (verb, binding) = (function.name.split('-').next().unwrap(), function.binding());
        assert!(VERBS.contains(&verb), "{}", function.name);
        let asks = binding.unwrap().contains("SupportsShouldProcess");
        assert_eq!(asks, verb != "Get", "{}", function.name);
        assert_eq!(function.contains("$PSCmdlet.ShouldProcess("), asks, "{}", function.name);
        let is_high = binding.unwrap().contains("ConfirmImpact = 'High'");
        assert_eq!(is_high, ["Restore", "Stop"].contains(&verb), "{}", function.name);
    }
}

#[test]
fn every_field_that_is_read_is_in_the_schema() {
    let module = module();
    for function in module.functions() {
        assert_eq!(unknown_fields(&function), [""; 0], "{}", function.name);
    }
    for (name, _) in READERS {
        let reader = module.functions().into_iter().find(|it| it.name == name);
        assert!(!reader.unwrap().fields().is_empty(), "{name} reads nothing");
    }
}

#[test]
fn every_command_and_option_is_one_of_the_program() {
    let module = module();
    let run: BTreeSet<_> = exported(&module).iter().map(|it| it.command().unwrap().0).collect();
    assert_eq!(run.len(), exported(&module).len(), "{run:?}");
    for function in module.functions() {
        assert_eq!(unknown_words(&function), [""; 0], "{}", function.name);
    }
}

#[test]
fn the_program_understands_the_command_lines_that_the_tests_on_windows_expect() {
    let script = Script::parse(&read("powershell/tests/Snapless.Tests.ps1"));
    let lines: Vec<_> = script.strings().into_iter().filter(|it| it.contains(" --json ")).collect();
    let mut commands = BTreeSet::new();
    for line in lines.iter().filter(|line| !line.starts_with('$')) {
        let words = ["snapless"].into_iter().chain(line.split(' '));
        let parsed = Arguments::try_parse_from(words);
        // A name that is none has been taken for a name.
        let kind = parsed.err().map(|error| error.kind());
        assert!(matches!(kind, None | Some(ErrorKind::ValueValidation)), "{line}: {kind:?}");
        commands.extend(line.split(' ').next());
    }
    assert!(commands.len() > 2, "{commands:?}");
}

#[test]
fn every_type_has_a_format_of_properties_that_it_has() {
    let module = module();
    let formats = read("powershell/Snapless/Snapless.Format.ps1xml");
    let types: BTreeSet<_> = module.objects().into_iter().map(|(name, _)| name).collect();
    let tagged = |text: &'static str, tag: &str| -> Vec<&'static str> {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        text.split(&*open).skip(1).map(|rest| rest.split(&*close).next().unwrap()).collect()
    };
    let formats: &'static str = formats.leak();
    assert_eq!(tagged(formats, "TypeName").into_iter().collect::<BTreeSet<_>>(), types);
    for view in tagged(formats, "View") {
        let name = tagged(view, "TypeName")[0];
        let objects = module.objects();
        let (_, properties) = objects.iter().find(|(known, _)| *known == name).unwrap();
        let mut shown = tagged(view, "PropertyName");
        for block in tagged(view, "ScriptBlock") {
            let members = block.split("$_.").skip(1);
            shown.extend(
                members.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap()),
            );
        }
        assert!(shown.len() > 2, "{name}");
        for property in shown {
            assert!(properties.contains(&property), "{name} has no {property}");
        }
        let makes = exported(&module)
            .iter()
            .filter(|it| it.contains(&format!("[OutputType('{name}')]")))
            .count();
        assert!(makes > 0, "no cmdlet says that it gives {name}");
    }
}

#[test]
fn what_is_wrong_is_found() {
    assert!(!Script::parse("function Get-A {\n  if (\n}").faults().is_empty());
    let script = Script::parse(
        "function Write-SnaplessRestart {\n    <#\n    .SYNOPSIS\n    Text.\n\n    .PARAMETER Old\n    \
         Text.\n    #>\n    [CmdletBinding()]\n    param([string] $New)\n    \
         $x = $Json.restart_needed, $Json.no_such_field\n    \
         Invoke-It -Words 'volumes', '--json', \"--to=$New\"\n}\n",
    );
    assert_eq!(script.faults(), [0; 0]);
    let functions = script.functions();
    assert_eq!(unknown_fields(&functions[0]), ["no_such_field"]);
    assert_eq!(unknown_words(&functions[0]), ["--to=$New"]);
    let expected = [".DESCRIPTION", ".EXAMPLE", ".OUTPUTS", "New", "Old"];
    assert_eq!(help_faults(&functions[0]), expected);
}
