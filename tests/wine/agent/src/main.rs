//! `snapless-rig-agent`: reads commands from standard input, one a line, and answers each with one line:
//! `ok …` or `error …`. It ends with its input.
//!
//! Upholds: one answer to each line, in order, whatever happens. While it runs, Wine keeps its drivers.
//!
//! | command | what it does |
//! | --- | --- |
//! | `hello` | nothing: shows that Wine runs |
//! | `query` | the volume's counters, as `name=value` words |
//! | `attach`, `remove` | build the volume's stack up, take it down |
//! | `surprise-remove` | the volume is gone: `remove` ends its stack when all handles are closed |
//! | `begin-remove`, `end-remove` | `remove`, while other commands go on |
//! | `pnp PACKET` | sends `query-remove`, `cancel-remove`, `query-stop`, `cancel-stop`, `stop` or `start` |
//! | `flush-journal` | makes the journal's file complete |
//! | `pause`, `resume` | the volume takes requests but does not work on them; it works again |
//! | `resize`, `protect`, `refuse-usage` | the volume gets another length, says that it is write-protected, refuses notifications |
//! | `disguise`, `clearing` | the volume says that it is of another kind, answers requests that clear in another way |
//! | `scarce KINDS NTH`, `memory` | refuses memory to the product's driver; what it asked for and has |
//! | `top-write` | writes from the top of the volume's stack in the kernel: with flags, in a chain of lists |
//! | `usage KIND on`, `usage KIND off` | a paging (1), hibernation (2) or dump (3) file comes to the volume, or goes |
//! | `power STATE` | the volume's stack goes to a power state: 1 is working, 4 is off |
//! | `shutdown` | the drivers that asked for it are told that the system shuts down |
//! | `length`, `write`, `begin-write`, `end-write`, `cancel-write`, `trim`, `zero`, `control` | what an application asks of the volume |
//! | `malformed alone` | throws malformed requests at the product's driver, with a session of the agent's own |
//! | `refused start` | a start on a volume that cannot be protected |
//! | `refused each-allocation`, `refused attach`, `refused no-memory` | what the driver answers where it gets no memory |
//! | `malformed beside SEED COUNT` | the same beside somebody else's session, then as many random ones |

mod command;
#[cfg(windows)]
mod malformed;
#[cfg(windows)]
mod refused;
#[cfg(windows)]
mod requests;
#[cfg(windows)]
mod volume;

use std::io::{BufRead, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let answer = match command::Command::parse(&line).and_then(act) {
            Ok(text) if text.is_empty() => String::from("ok"),
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
fn act(command: command::Command) -> Result<String, String> {
    match command {
        command::Command::Hello => Ok(String::new()),
        command::Command::Rig(command) => volume::act(command).map_err(|error| error.to_string()),
        command::Command::Volume(request) => {
            requests::act(&request).map_err(|error| error.to_string())
        }
        command::Command::Refused(command::Refused::Start) => refused::start(),
        command::Command::Refused(command::Refused::EachAllocation) => refused::each_allocation(),
        command::Command::Refused(command::Refused::EachAllocationOfAttach) => refused::attach(),
        command::Command::Refused(command::Refused::NoMemory) => refused::no_memory(),
        command::Command::Malformed(command::Malformed::Alone) => malformed::alone(),
        command::Command::Malformed(command::Malformed::Beside { seed, count }) => {
            malformed::beside(seed, count)
        }
    }
}

#[cfg(not(windows))]
fn act(command: command::Command) -> Result<String, String> {
    match command {
        command::Command::Hello => Ok(String::new()),
        _ => Err(String::from("this program talks to a driver: run it on Windows or in Wine")),
    }
}
