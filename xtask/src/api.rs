//! The API of the console against its description (`console/openapi.yaml`): schemathesis sends what
//! the description allows and what it does not to a console over the synthetic estate, and looks
//! whether each answer is as described.

use std::fs;
use std::process::Command;
use std::time::Duration;

use snapless_e2e::process::Program;

use crate::build::programs;
use crate::console::{Outcome, Progress};
use crate::error::{IoContext, Result};
use crate::files::remove_folder;
use crate::layout::Layout;
use crate::setup::tools::SCHEMATHESIS;

/// What to call it.
pub const NAME: &str = "API of the console";
/// The console over the synthetic estate.
const PROGRAM: &str = "snapless-console-synthetic";
/// The same requests each time.
const SEED: &str = "1";
/// Requests of each operation beside those that follow from the description.
const EXAMPLES: &str = "10";
/// The longest start and end of the program.
const LIMIT: Duration = Duration::from_secs(30);
/// They end the session of the one who asks, count attempts, or do not end.
const LEFT_OUT: [&str; 3] = ["signIn", "signOut", "events"];
/// Not whether a wrong cookie is refused: the token that goes with each request is right.
/// `console/tests/attacks.rs` asks without one.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,negative_data_rejection,unsupported_method";

/// Runs it, as one step of a longer task.
pub fn check(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    programs::host_cargo(&format!("building {PROGRAM}"))
        .current_dir(layout.root())
        // As the tests are built: with other features its crates would be compiled once more.
        .args(["build", "--workspace", "--bin", PROGRAM])
        .run_with_progress(progress)?;
    let folder = layout.target().join("api");
    remove_folder(&folder)?;
    fs::create_dir_all(&folder).on("create", &folder)?;
    let (token, certificate) = (folder.join("token"), folder.join("certificate.pem"));
    let mut command = Command::new(layout.target().join("debug").join(PROGRAM));
    command.args(["--listen", "127.0.0.1:0", "--volumes", "20"]);
    command.args(["--requests-per-second", "100000"]);
    command.arg("--token").arg(&token).arg("--certificate").arg(&certificate);
    let mut console = Program::start_talking(PROGRAM, &mut command, &folder)?;
    let address = console.line("its address", LIMIT)?;
    let token = fs::read_to_string(&token).on("read", &token)?;
    let mut tool = SCHEMATHESIS
        .tool(layout, "schemathesis")
        .arg("run")
        .arg("console/openapi.yaml")
        .arg(format!("--url={}/api/v1", address.trim()))
        .arg(format!("--header=Authorization:Bearer {}", token.trim()))
        .arg("--tls-verify")
        .arg(&certificate)
        .args(["--checks", CHECKS, "--seed", SEED, "--max-examples", EXAMPLES])
        // One worker: the parser of CPython 3.11, which hypothesis asks, fails now and then in two
        // threads.
        .args(["--phases", "examples,coverage,fuzzing", "--workers", "1", "--no-shrink"])
        .args(["--generation-database", "none", "--no-color", "--warnings", "off"])
        .args(["--suppress-health-check", "all"]);
    for operation in LEFT_OUT {
        tool = tool.args(["--exclude-operation-id", operation]);
    }
    tool.run_with_progress(progress)?;
    console.must_run()?;
    console.kill();
    Ok(Outcome::Done)
}
