//! `snapless-e2e`: the program in the guest. It says hello on a serial line, does what the harness
//! tells it to, one step after the other, and gives a sign of life once a second.
//!
//! | module | concept |
//! | --- | --- |
//! | [`line`] | the serial line to the harness |
//! | [`programs`] | programs that steps run |
//! | [`store`] | the result disk, and files on their way to the harness |
//! | `routines` | on Windows: how long DPCs and ISRs take, from a trace of the kernel |
//!
//! It runs on Windows. On Linux the same program runs in a small guest, so that the harness and the
//! protocol are tested where there is no Windows.

mod error;
mod line;
mod programs;
// What is not Windows' own is tested on Linux too.
#[cfg(any(windows, test))]
mod routines;
mod store;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use vm_protocol::message::{
    BEAT_SECONDS, Command, Deed, FromGuest, Outcome, StepNumber, ToGuest, VERSION,
};

use crate::error::AgentError;
use crate::line::{Line, Orders};
use crate::programs::Programs;
use crate::store::Store;

/// Carries out the steps that the harness of `cargo xtask vm` sends over a serial line.
#[derive(Parser, Debug)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    /// The serial port: COM2, /dev/ttyS1.
    #[arg(long, required = true)]
    line: Option<String>,
    /// Where the result disk is; by default it is looked for on the drives D to Z.
    #[arg(long)]
    results: Option<PathBuf>,
    #[command(subcommand)]
    task: Option<Task>,
}

/// What the program does instead of serving the harness, as a program of a step.
#[derive(clap::Subcommand, Debug)]
enum Task {
    /// Traces DPCs and ISRs until its standard input ends, and prints how long they took, as JSON.
    #[cfg(windows)]
    Routines,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.task {
        #[cfg(windows)]
        Some(Task::Routines) => print_routines(),
        None => serve(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("snapless-e2e: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints how long DPCs and ISRs took until standard input ends.
#[cfg(windows)]
fn print_routines() -> Result<(), AgentError> {
    let input_ends = || drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let found = routines::trace::watch(input_ends)?;
    let text = serde_json::to_string(&found);
    println!("{}", text.map_err(|error| AgentError::Found(error.to_string()))?);
    Ok(())
}

/// Serves the harness until the line breaks.
fn serve(arguments: &Arguments) -> Result<(), AgentError> {
    let (line, mut orders) = line::open(arguments.line.as_deref().unwrap_or_default())?;
    let mut agent = Agent {
        line: line.clone(),
        store: Store::find(arguments.results.as_deref()),
        programs: Programs::default(),
    };
    let instance = fastrand::u64(..);
    line.send(&FromGuest::Hello { version: VERSION, instance, system: system() })?;
    thread::spawn(move || {
        while line.send(&FromGuest::Beat).is_ok() {
            thread::sleep(Duration::from_secs(BEAT_SECONDS));
        }
    });
    loop {
        let ToGuest::Run { step, deed } = orders.next()?;
        agent.carry_out(step, deed, &mut orders)?;
    }
}

/// How the Linux guest hibernates: to a disk of its own. It returns when the machine goes on.
const HIBERNATE_LINUX: &str = "mkswap /dev/swap && swapon /dev/swap && \
    echo shutdown > /sys/power/disk && echo disk > /sys/power/state";

/// What steps work with.
struct Agent {
    line: Line,
    store: Store,
    programs: Programs,
}

impl Agent {
    /// Does one step and tells how it ended.
    fn carry_out(
        &mut self,
        step: StepNumber,
        deed: Deed,
        orders: &mut Orders,
    ) -> Result<(), AgentError> {
        self.line.send(&FromGuest::Started { step })?;
        let done = match deed {
            Deed::Run(command) => programs::run(&command, step, &self.line, &mut self.store),
            Deed::Start { name, command } => self.programs.start(&name, command),
            Deed::Stop { name } => self.programs.stop(&name, step, &self.line, &mut self.store),
            Deed::Collect { paths } => self.collect(step, &paths),
            Deed::Restart => return self.restart(step, orders),
            Deed::Hibernate => return self.hibernate(step),
        };
        self.end(step, done)
    }

    fn end(&mut self, step: StepNumber, done: Result<(), AgentError>) -> Result<(), AgentError> {
        let outcome = match done {
            Ok(()) => Outcome::Passed,
            Err(AgentError::Line(error)) => return Err(AgentError::Line(error)),
            Err(error) => Outcome::Failed { why: error.to_string() },
        };
        self.store.keep(step, &outcome)?;
        self.line.send(&FromGuest::Ended { step, outcome })
    }

    fn collect(&mut self, step: StepNumber, paths: &[String]) -> Result<(), AgentError> {
        for path in paths {
            for file in store::files_at(Path::new(path))? {
                let name = store::plain_name(&file);
                self.store.copy(&file, &name)?;
                store::send(&file, &name, step, &self.line)?;
            }
        }
        Ok(())
    }

    /// If that goes well, the harness hears no more of the step: signs of life, once the machine is
    /// on again.
    fn hibernate(&mut self, step: StepNumber) -> Result<(), AgentError> {
        self.line.send(&FromGuest::Leaving { step })?;
        let command = if cfg!(windows) {
            Command::new("shutdown.exe", &["/h"])
        } else {
            Command::new("sh", &["-c", HIBERNATE_LINUX])
        };
        match programs::run(&command, step, &self.line, &mut self.store) {
            Ok(()) => self.store.keep(step, &Outcome::Passed),
            failed => self.end(step, failed),
        }
    }

    /// The next thing that the harness hears is the hello after the restart.
    fn restart(&mut self, step: StepNumber, orders: &mut Orders) -> Result<(), AgentError> {
        self.store.keep(step, &Outcome::Passed)?;
        self.line.send(&FromGuest::Leaving { step })?;
        let (program, arguments): (&str, &[&str]) = if cfg!(windows) {
            ("shutdown.exe", &["/r", "/t", "0", "/f"])
        } else {
            ("reboot", &["-f"])
        };
        let started = std::process::Command::new(program).args(arguments).status();
        started.map_err(|source| AgentError::Spawn(program.to_owned(), source))?;
        // The system goes down; whatever is said meanwhile is too late.
        loop {
            orders.next()?;
        }
    }
}

/// The operating system, as it calls itself.
fn system() -> String {
    let (program, arguments): (&str, &[&str]) =
        if cfg!(windows) { ("cmd.exe", &["/c", "ver"]) } else { ("uname", &["-sr"]) };
    let asked = std::process::Command::new(program).args(arguments).output();
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.unwrap_or_else(|_| std::env::consts::OS.to_owned())
}
