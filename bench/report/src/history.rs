//! Histories, which `snapless-bench` writes: a process of its own leaves its memory.

use std::path::Path;
use std::process::Command;

use snapless_bench::history::{Begin, History, Plan};

use crate::error::Result;
use crate::process;
use crate::server::VOLUME;

const PROGRAM: &str = "snapless-bench";

/// Writes a repository as planned, of the volume [`VOLUME`]; lengths are whole KiB.
pub fn write(host: &Path, plan: &Plan) -> Result<History> {
    let mut command = Command::new(host);
    command.args(["history", "--volume", VOLUME, "--repository"]).arg(&plan.repository);
    match &plan.begin {
        Begin::Image { image, middle } => {
            command.arg("--image").arg(image);
            if let Some(middle) = middle {
                command.arg("--middle").arg(middle);
            }
        }
        Begin::Empty { length } => _ = command.arg("--length").arg((length >> 10).to_string()),
    }
    for (name, value) in [
        ("--writes", plan.writes),
        ("--write", plan.write_len),
        ("--interval", plan.interval_us),
        ("--epoch", plan.epoch_writes),
        ("--segment", plan.segment_bytes >> 10),
        ("--map", plan.map_bytes >> 10),
    ] {
        command.arg(name).arg(value.to_string());
    }
    let output = process::run(PROGRAM, &mut command)?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| process::failed(PROGRAM, format!("it printed no history: {error}")))
}
