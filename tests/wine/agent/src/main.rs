//! `snapless-rig-agent`: reads commands from standard input, one a line, and answers each with one
//! line, `ok …` or `error …`, until its input ends.
//!
//! The rule: each line gets one answer, in order. While the agent runs, Wine keeps its drivers.
//!
//! | command | effect |
//! | --- | --- |
//! | `hello` | none: shows that Wine runs |
//! | `rig CODE INPUT LENGTH` | sends a control code with input bytes to the rig's control device; the answer has LENGTH bytes (hexadecimal, `-` is none) |
//! | `begin-remove`, `end-remove` | removes the volume's stack while other commands go on |
//! | `length`, `write`, `begin-write`, `end-write`, `cancel-write`, `trim`, `zero`, `control` | requests of an application to the volume, see `volume.rs` |
//! | `many …` | many writes at once, see `many_writes.rs` |
//! | `malformed alone` | malformed requests to the product's driver, with a session of the agent's own |
//! | `malformed beside SEED COUNT` | the same beside another program's session, then random requests |
//! | `hung begin`, `hung ask`, `hung end` | requests to the driver while the disk of the second volume hangs |
//! | `refused start` | a start on a volume that cannot be protected |
//! | `cut` | a write in a cut, with a session of the agent's own |
//! | `short-sessions` | sessions that begin and end |
//! | `refused each-allocation`, `refused attach`, `refused no-memory` | requests to the driver while its allocations fail |

#[cfg(windows)]
mod cases;
#[cfg(windows)]
mod cut;
#[cfg(windows)]
mod device_control;
#[cfg(windows)]
mod event;
#[cfg(windows)]
mod handle;
#[cfg(windows)]
mod hung;
#[cfg(windows)]
mod malformed;
#[cfg(windows)]
mod many_writes;
#[cfg(windows)]
mod refused;
#[cfg(windows)]
mod rig;
#[cfg(windows)]
mod volume;

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    use std::io::{BufRead, Write};
    use std::process::ExitCode;

    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let answer = match act(&line) {
            Ok(text) => format!("ok {text}"),
            Err(why) => format!("error {}", why.replace(['\r', '\n'], " ")),
        };
        if writeln!(stdout, "{answer}").and_then(|()| stdout.flush()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(windows)]
fn act(line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let unknown = || format!("{line:?} is not a command");
    match words[..] {
        ["hello"] => Ok(String::new()),
        ["rig", code, input, length] => rig::command(code, input, length).ok_or_else(unknown)?,
        ["begin-remove"] => Ok(rig::begin_remove()),
        ["end-remove"] => rig::end_remove(),
        ["malformed", "alone"] => malformed::alone(),
        ["malformed", "beside", seed, count] => {
            let seed = seed.parse().map_err(|_| unknown())?;
            malformed::beside(seed, count.parse().map_err(|_| unknown())?)
        }
        ["hung", "begin"] => hung::begin(),
        ["hung", "ask"] => hung::ask(),
        ["hung", "end"] => hung::end(),
        ["refused", "start"] => refused::start(),
        ["refused", "each-allocation"] => refused::each_allocation(),
        ["refused", "attach"] => refused::attach(),
        ["refused", "no-memory"] => refused::no_memory(),
        ["many", verb, ref arguments @ ..] => {
            let answer = many_writes::command(verb, arguments).ok_or_else(unknown)?;
            answer.map_err(|error| error.to_string())
        }
        ["cut"] => cut::waits(),
        ["short-sessions"] => refused::short_sessions(),
        [verb, ref arguments @ ..] => {
            volume::request(verb, arguments).ok_or_else(unknown)?.map_err(|error| error.to_string())
        }
        [] => Err(unknown()),
    }
}

#[cfg(not(windows))]
fn main() {
    eprintln!("snapless-rig-agent talks to drivers: run it in Wine");
}
