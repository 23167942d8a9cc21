//! Runs the program under ptrace and kills it outright at one of the system calls by which it
//! changes files: the n-th of all its threads.
//!
//! The program is begun by a shell that stops itself, so that it can be seized before its first
//! instruction without `unsafe` code of our own. The thread that traces it has no other child, and
//! waits for its own only.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use nix::libc::{self, c_long, user_regs_struct};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// How the program ends at the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blow {
    /// The call is not made.
    Before,
    /// A write of more than a page, which the system may break off there, writes some whole pages
    /// only. Any other call is made.
    Torn,
    /// The call is made.
    After,
}

/// The call at which the program is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kill {
    /// Which, from 1.
    pub call: usize,
    pub blow: Blow,
}

impl Kill {
    /// One of so many calls.
    pub fn draw(rng: &mut fastrand::Rng, calls: usize) -> Self {
        let blow = [Blow::Before, Blow::Torn, Blow::After][rng.usize(..3)];
        Self { call: rng.usize(1..=calls.max(1)), blow }
    }
}

/// How a traced program ended.
#[derive(Debug)]
pub struct Ended {
    /// Calls that change files, all threads together.
    pub calls: usize,
    /// Its exit code; `None` if it was killed.
    pub code: Option<i32>,
    /// What it said on standard error.
    pub stderr: String,
}

/// A program that is traced.
pub struct Traced {
    pub id: Pid,
    pub stdout: ChildStdout,
    thread: JoinHandle<Ended>,
}

impl Traced {
    /// Starts a program whose arguments and environment are set. `None`, with a word, where ptrace
    /// is not permitted.
    pub fn start(command: &Command, at: Option<Kill>) -> Option<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]);
        shell.arg(command.get_program()).args(command.get_args());
        let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        shell.envs(set).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (to, from) = channel();
        let thread = thread::spawn(move || trace(shell, at, &to));
        if let Ok((id, stdout)) = from.recv() {
            return Some(Self { id, stdout, thread });
        }
        // Past the harness, which shows nothing of a test that passes.
        drop(writeln!(io::stderr(), "skipped: no program can be traced here (ptrace)"));
        None
    }

    /// Waits until it has ended. Its output must have been read, or be short.
    pub fn wait(self) -> Ended {
        self.thread.join().unwrap()
    }
}

/// Runs a program to its end, or to the call at which it is killed.
pub fn run(command: &Command, at: Option<Kill>) -> Option<Ended> {
    let mut traced = Traced::start(command, at)?;
    let mut output = String::new();
    traced.stdout.read_to_string(&mut output).unwrap();
    Some(traced.wait())
}

fn trace(mut shell: Command, at: Option<Kill>, to: &Sender<(Pid, ChildStdout)>) -> Ended {
    let mut child = shell.spawn().unwrap();
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
    waitpid(id, Some(WaitPidFlag::WUNTRACED)).unwrap();
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    if ptrace::seize(id, options).is_err() {
        drop(child.kill());
        drop(child.wait());
        return Ended { calls: 0, code: None, stderr: String::new() };
    }
    kill(id, Signal::SIGCONT).unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let said = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    // Nobody listens if the test has failed.
    drop(to.send((id, child.stdout.take().unwrap())));
    let mut tracer = Tracer { id, at, calls: 0, has_begun: false, inside: HashMap::new() };
    let code = tracer.run();
    // It was waited for above: this tells the standard library.
    drop(child.wait());
    Ended { calls: tracer.calls, code, stderr: said.join().unwrap() }
}

struct Tracer {
    id: Pid,
    at: Option<Kill>,
    calls: usize,
    /// The shell has become the program.
    has_begun: bool,
    /// Threads in a system call, and whether the program is killed at its end.
    inside: HashMap<Pid, bool>,
}

impl Tracer {
    /// Returns the exit code; `None` if it was killed.
    fn run(&mut self) -> Option<i32> {
        let any = Pid::from_raw(-1);
        let mut code = None;
        loop {
            let status = match waitpid(any, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(status) => status,
                Err(nix::errno::Errno::EINTR) => continue,
                // All of it has ended.
                Err(_) => return code,
            };
            let (thread, signal) = match status {
                WaitStatus::Exited(id, exit) => {
                    if id == self.id {
                        code = Some(exit);
                    }
                    continue;
                }
                WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
                WaitStatus::PtraceEvent(thread, _, event) => {
                    self.has_begun |= event == libc::PTRACE_EVENT_EXEC;
                    (thread, None)
                }
                WaitStatus::PtraceSyscall(thread) => {
                    self.call(thread);
                    (thread, None)
                }
                _ => continue,
            };
            // It may be dead by now.
            _ = ptrace::syscall(thread, signal);
        }
    }

    /// A thread enters or leaves a system call.
    fn call(&mut self, thread: Pid) {
        if let Some(is_last) = self.inside.remove(&thread) {
            if is_last {
                self.kill();
            }
            return;
        }
        let mut is_last = false;
        if let Ok(mut registers) = ptrace::getregs(thread)
            && self.has_begun
            && changes_files(thread, &registers)
        {
            self.calls += 1;
            match self.at.filter(|at| at.call == self.calls).map(|at| at.blow) {
                None => {}
                Some(Blow::Before) => self.kill(),
                Some(Blow::After) => is_last = true,
                Some(Blow::Torn) => {
                    is_last = true;
                    let number = call_of(&registers);
                    let is_write = number == libc::SYS_write || number == libc::SYS_pwrite64;
                    if is_write && registers.rdx > PAGE {
                        registers.rdx = (registers.rdx / 2).next_multiple_of(PAGE);
                        _ = ptrace::setregs(thread, registers);
                    }
                }
            }
        }
        self.inside.insert(thread, is_last);
    }

    fn kill(&self) {
        _ = kill(self.id, Signal::SIGKILL);
    }
}

fn call_of(registers: &user_regs_struct) -> c_long {
    c_long::try_from(registers.orig_rax).unwrap_or(-1)
}

/// True for a call by which a file, a device or a folder changes, or becomes durable.
fn changes_files(thread: Pid, registers: &user_regs_struct) -> bool {
    let is_create = |flags: u64| flags & u64::from(libc::O_CREAT.unsigned_abs()) != 0;
    match call_of(registers) {
        libc::SYS_write | libc::SYS_writev => is_file(thread, registers.rdi),
        libc::SYS_openat => is_create(registers.rdx),
        libc::SYS_open => is_create(registers.rsi),
        libc::SYS_pwrite64
        | libc::SYS_pwritev
        | libc::SYS_fsync
        | libc::SYS_fdatasync
        | libc::SYS_sync_file_range
        | libc::SYS_fallocate
        | libc::SYS_ftruncate
        | libc::SYS_copy_file_range
        | libc::SYS_creat
        | libc::SYS_rename
        | libc::SYS_renameat
        | libc::SYS_renameat2
        | libc::SYS_link
        | libc::SYS_linkat
        | libc::SYS_symlink
        | libc::SYS_symlinkat
        | libc::SYS_unlink
        | libc::SYS_unlinkat
        | libc::SYS_mkdir
        | libc::SYS_mkdirat
        | libc::SYS_rmdir => true,
        _ => false,
    }
}

/// True if what is written to is neither a socket nor a pipe.
fn is_file(thread: Pid, descriptor: u64) -> bool {
    let link: PathBuf = format!("/proc/{thread}/fd/{descriptor}").into();
    fs::read_link(link).is_ok_and(|file| file.is_absolute())
}
