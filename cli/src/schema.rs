//! The JSON documents against their schemas in `docs/schema/`.
//!
//! Rule: a script that reads a document by its schema finds what it looks for, and nothing is
//! printed that the schema does not name.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use serde_json::{Value, json};
use snapless_types::GapReason;
use snapless_wire::ioctl::{LogPhase, Protection, SessionPhase};

use crate::arguments::Arguments;

const SUFFIX: &str = ".schema.json";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema")
}

fn read(name: &str) -> Value {
    let text = std::fs::read(folder().join(format!("{name}{SUFFIX}"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Panics unless the schema `name` describes the document.
pub(crate) fn check(name: &str, document: &Value) {
    let wrong = faults(&read(name), document);
    assert!(wrong.is_empty(), "{name}: {}\n{document:#}", wrong.join("\n"));
}

/// The same of a command's output.
pub(crate) fn parse(name: &str, printed: &str) -> Value {
    let document = serde_json::from_str(printed).unwrap();
    check(name, &document);
    document
}

fn faults(schema: &Value, document: &Value) -> Vec<String> {
    let options = jsonschema::options().should_validate_formats(true);
    let validator = options.build(schema).unwrap();
    validator.iter_errors(document).map(|it| format!("{}: {it}", it.instance_path())).collect()
}

fn all() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let name = |file: std::ffi::OsString| {
        file.to_str().unwrap().strip_suffix(SUFFIX).expect("a schema").to_owned()
    };
    files.map(name).map(|name| (name.clone(), read(&name))).collect()
}

/// Calls `see` with each object that the schema describes.
fn objects(schema: &Value, see: &mut dyn FnMut(&Value)) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") && !fields["properties"].is_boolean() {
                see(schema);
            }
            fields.values().for_each(|it| objects(it, see));
        }
        Value::Array(items) => items.iter().for_each(|it| objects(it, see)),
        _ => {}
    }
}

#[test]
fn every_schema_is_one_and_every_object_in_it_is_complete() {
    for (name, schema) in all() {
        jsonschema::meta::validate(&schema).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        objects(&schema, &mut |object| {
            assert_eq!(object["additionalProperties"], false, "{name}: {object}");
            let mut required: Vec<_> = object["required"].as_array().unwrap().iter().collect();
            let names = object["properties"].as_object().unwrap().keys();
            let mut names: Vec<Value> = names.map(|name| name.as_str().into()).collect();
            required.sort_by_key(|it| it.as_str());
            names.sort_by_key(|it| it.as_str().map(str::to_owned));
            assert_eq!(required, names.iter().collect::<Vec<_>>(), "{name}");
        });
    }
}

#[test]
fn every_command_that_prints_json_has_one_schema() {
    let schemas = all();
    for command in Arguments::command().get_subcommands() {
        let prints_json = command.get_arguments().any(|argument| argument.get_id() == "json");
        let is_named = |schema: &Value| {
            let title = schema["title"].as_str().unwrap().strip_prefix("snapless ").unwrap();
            title.split(", ").any(|name| name == command.get_name())
        };
        let count = schemas.iter().filter(|(_, schema)| is_named(schema)).count();
        assert_eq!(count, usize::from(prints_json), "{}", command.get_name());
    }
}

#[test]
fn a_field_that_the_schema_does_not_name_or_that_is_missing_is_found() {
    let schema = read("stop");
    let whole = json!({"session": "0a1b2c3d-0000-4000-8000-0123456789ab", "volume": null});
    assert_eq!(faults(&schema, &whole), [""; 0]);
    for wrong in [
        json!({"session": whole["session"], "volume": null, "more": 1}),
        json!({"session": whole["session"]}),
        json!({"session": "0a1b2c3d", "volume": null}),
        json!({"session": whole["session"], "volume": 1}),
    ] {
        assert_eq!(faults(&schema, &wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn what_stands_in_two_schemas_is_the_same_and_names_are_those_of_the_program() {
    let (volumes, status, verify) = (read("volumes"), read("status"), read("verify"));
    assert_eq!(status["$defs"]["verification"], verify["$defs"]["verification"]);

    let names = |all: &[&'static str], more: Value| -> Value {
        let names = all.iter().map(|name| Value::from(*name));
        names.chain(more.as_array().unwrap().iter().cloned()).collect()
    };
    let phases: Vec<_> = SessionPhase::ALL.iter().map(|it| it.name()).collect();
    let protections: Vec<_> = Protection::ALL.iter().map(|it| it.name()).collect();
    let gaps: Vec<_> = GapReason::ALL.iter().map(|it| it.name()).collect();
    let logs: Vec<_> = LogPhase::ALL.iter().map(|it| it.name()).collect();
    let volume = &volumes["properties"]["volumes"]["items"]["properties"];
    let session = &status["properties"]["sessions"]["items"]["properties"];
    assert_eq!(volume["phase"]["enum"], names(&phases, json!([])));
    assert_eq!(session["phase"]["enum"], names(&phases[1..], json!([])));
    assert_eq!(volume["protection"]["enum"], names(&protections, json!([null])));
    assert_eq!(session["protection"]["enum"], names(&protections, json!(["unknown"])));
    assert_eq!(session["gap_reason"]["enum"], names(&gaps, json!([null])));
    assert_eq!(session["log"]["enum"], names(&logs, json!(["unknown"])));
}
