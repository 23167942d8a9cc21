//! A run from the machine's start to its verdict.
//!
//! The rule: a guest that is silent, a guest that is busy for too long, a guest that is gone and a
//! guest that talks nonsense are told apart, and none of them is waited for without a limit.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vm_protocol::frame::FrameError;
use vm_protocol::message::{
    Deed, FILE_MAX, FromGuest, Outcome, StepNumber, ToGuest, VERSION, is_plain_name,
};
use vm_protocol::results::{self, Kept};

use crate::error::VmError;
use crate::machine::Machine;
use crate::medium;
use crate::monitor::Happening;
use crate::plan::{Doing, Plan, Step};
use crate::verdict::{StepEnd, Verdict};
use crate::vm::Vm;

/// How long a guest is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until the first hello: with an installation, that takes long.
    pub first_boot: Duration,
    /// Until the hello after a restart.
    pub restart: Duration,
    /// Without a sign of life.
    pub silence: Duration,
    /// For this long after the start, the return key is pressed: the boot loader of an installation
    /// medium starts from it only if a key is pressed.
    pub press_return: Duration,
}

/// A run.
pub struct Run<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// What is done.
    pub plan: &'a Plan,
    /// How long the guest is waited for.
    pub patience: Patience,
    /// The image of the result disk.
    pub results: &'a Path,
    /// Where everything goes that comes back.
    pub folder: &'a Path,
}

/// What a run has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The verdict.
    pub verdict: Verdict,
    /// What the guest runs, if it said hello.
    pub system: Option<String>,
    /// Every step.
    pub steps: Vec<StepEnd>,
    /// Outcomes on the result disk: what the guest did, also if the line broke.
    pub kept: Vec<Kept>,
}

/// How often the monitor is asked.
const POLL: Duration = Duration::from_millis(200);
/// How often the return key is pressed.
const PRESS: Duration = Duration::from_secs(1);
/// How long after a torn line a reset may be told.
const TORN: Duration = Duration::from_secs(3);

impl Run<'_> {
    /// Starts the machine, does the steps, and collects what is there at the end. `tell` gets a
    /// line for each step.
    pub fn carry_out(&self, tell: &mut dyn FnMut(&str)) -> Result<Found, VmError> {
        fs::create_dir_all(self.folder).map_err(VmError::file("create", self.folder))?;
        let mut guest = Guest {
            vm: Vm::start(self.machine, self.folder)?,
            patience: self.patience,
            last_heard: Instant::now(),
            unplugged: Vec::new(),
            instance: None,
            system: None,
            files: Files { folder: self.folder.join("files"), lengths: BTreeMap::new() },
            log: self.folder.join("guest.log"),
        };
        let mut steps: Vec<StepEnd> = self.plan.steps.iter().map(StepEnd::waiting).collect();
        tell("waiting for the guest");
        let mut verdict = match guest.boot(self.patience.first_boot, self.patience.press_return)? {
            Some(verdict) => verdict,
            None => self.steps(&mut guest, &mut steps, tell)?,
        };
        if guest.recover(&verdict)? {
            for (index, step) in self.plan.afterwards.iter().enumerate() {
                let number = self.plan.steps.len() + index;
                let (ended, seconds) = guest.timed(number, step)?;
                let is_lost = !matches!(ended, Verdict::Passed | Verdict::Failed { .. });
                steps.push(StepEnd {
                    verdict: Some(ended.clone()),
                    seconds,
                    ..StepEnd::waiting(step)
                });
                // What ends a collection also ends a run that has passed until then.
                if verdict == Verdict::Passed {
                    verdict = ended;
                }
                if is_lost {
                    break;
                }
            }
        }
        let system = guest.system.take();
        drop(guest);
        let kept = medium::read_results(self.results, &self.folder.join("results"))?;
        Ok(Found { verdict, system, steps, kept })
    }

    fn steps(
        &self,
        guest: &mut Guest,
        ends: &mut [StepEnd],
        tell: &mut dyn FnMut(&str),
    ) -> Result<Verdict, VmError> {
        for (number, (step, end)) in self.plan.steps.iter().zip(ends).enumerate() {
            tell(&step.name);
            let (verdict, seconds) = guest.timed(number, step)?;
            (end.verdict, end.seconds) = (Some(verdict.clone()), seconds);
            if verdict != Verdict::Passed {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Passed)
    }
}

impl StepEnd {
    fn waiting(step: &Step) -> Self {
        Self { name: step.name.clone(), verdict: None, seconds: 0 }
    }
}

/// The guest, as the harness knows it.
struct Guest {
    vm: Vm,
    patience: Patience,
    last_heard: Instant,
    unplugged: Vec<String>,
    instance: Option<u64>,
    system: Option<String>,
    files: Files,
    log: PathBuf,
}

/// What the harness waits for.
enum Heard {
    Message(FromGuest),
    /// The wait is over: a verdict, unless what was waited for needs no message.
    Over(Verdict),
}

impl Guest {
    /// Does a step, and takes its time.
    fn timed(&mut self, number: usize, step: &Step) -> Result<(Verdict, u64), VmError> {
        let started = Instant::now();
        let number = StepNumber::try_from(number).unwrap_or(StepNumber::MAX);
        let verdict = self.step(number, step)?;
        Ok((verdict, started.elapsed().as_secs()))
    }

    fn step(&mut self, number: StepNumber, step: &Step) -> Result<Verdict, VmError> {
        let unless = |verdict: Option<Verdict>| verdict.unwrap_or(Verdict::Passed);
        match &step.doing {
            Doing::Guest(deed) => self.deed(number, deed, step.limit),
            Doing::PowerCut => {
                self.vm.cut_power()?;
                self.boot(step.limit, Duration::ZERO).map(unless)
            }
            Doing::Crash => {
                self.vm.monitor.inject_nmi()?;
                self.boot(step.limit, Duration::ZERO).map(unless)
            }
            Doing::Unplug { disk } => self.unplug(disk, step.limit),
        }
    }

    /// Waits for the guest's hello; until then it may be silent, crash, restart and be torn.
    fn boot(&mut self, limit: Duration, press: Duration) -> Result<Option<Verdict>, VmError> {
        let (started, mut pressed) = (Instant::now(), Instant::now());
        while started.elapsed() < limit {
            if started.elapsed() < press && pressed.elapsed() > PRESS {
                self.vm.monitor.press_return()?;
                pressed = Instant::now();
            }
            if self.vm.has_ended() {
                let what = "the machine went off before the guest said hello".to_owned();
                return Ok(Some(Verdict::Crashed { what }));
            }
            self.vm.monitor.happened()?;
            match self.vm.listen(POLL) {
                Some(Ok(FromGuest::Hello { version, instance, system })) => {
                    return Ok(self.greet(version, instance, system));
                }
                Some(Err(error)) => self.note(&format!("before hello: {error}"))?,
                // What was on its way when the guest went down.
                Some(Ok(_)) | None => {}
            }
        }
        Ok(Some(Verdict::NeverBooted))
    }

    fn greet(&mut self, version: u32, instance: u64, system: String) -> Option<Verdict> {
        self.last_heard = Instant::now();
        (self.instance, self.system) = (Some(instance), Some(system));
        let what = format!("the guest speaks version {version} of the protocol, not {VERSION}");
        (version != VERSION).then_some(Verdict::ProtocolBroken { what })
    }

    /// Has the guest do something, to its end.
    fn deed(&mut self, step: StepNumber, deed: &Deed, limit: Duration) -> Result<Verdict, VmError> {
        self.vm.send(&ToGuest::Run { step, deed: deed.clone() })?;
        let until = Instant::now() + limit;
        let mut has_started = false;
        loop {
            let message = match self.hear(until)? {
                Heard::Over(verdict) => return Ok(verdict),
                Heard::Message(message) => message,
            };
            let broken = format!("step {step}: unexpected {message:.200?}");
            match message {
                FromGuest::Beat => {}
                FromGuest::Started { step: told } if told == step && !has_started => {
                    has_started = true;
                }
                FromGuest::Log { step: told, line } if told == step && has_started => {
                    self.note(&format!("{step}: {line}"))?;
                }
                FromGuest::File { step: told, name, offset, data }
                    if told == step && has_started =>
                {
                    if let Err(what) = self.files.add(&name, offset, &data)? {
                        return Ok(Verdict::ProtocolBroken { what });
                    }
                }
                FromGuest::Ended { step: told, outcome } if told == step && has_started => {
                    return Ok(match outcome {
                        Outcome::Passed => Verdict::Passed,
                        Outcome::Failed { why } => Verdict::Failed { why },
                    });
                }
                FromGuest::Leaving { step: told }
                    if told == step && has_started && *deed == Deed::Restart =>
                {
                    let left = until.saturating_duration_since(Instant::now());
                    let came_back = self.boot(left, Duration::ZERO)?;
                    return Ok(came_back.unwrap_or(Verdict::Passed));
                }
                FromGuest::Leaving { step: told }
                    if told == step && has_started && *deed == Deed::Hibernate =>
                {
                    return self.hibernation(until);
                }
                FromGuest::Hello { instance, .. } if self.instance != Some(instance) => {
                    let what = "the program in the guest has started anew".to_owned();
                    self.instance = Some(instance);
                    return Ok(Verdict::Crashed { what });
                }
                _ => return Ok(Verdict::ProtocolBroken { what: broken }),
            }
        }
    }

    /// Waits until the guest has gone off, starts the machine, and waits until it goes on.
    fn hibernation(&mut self, until: Instant) -> Result<Verdict, VmError> {
        while !self.vm.has_ended() {
            match self.vm.listen(POLL) {
                Some(Ok(FromGuest::Ended { outcome: Outcome::Failed { why }, .. })) => {
                    return Ok(Verdict::Failed { why });
                }
                Some(Ok(FromGuest::Log { step, line })) => self.note(&format!("{step}: {line}"))?,
                // What is on its way when it goes off may be torn.
                Some(_) | None => {}
            }
            if Instant::now() > until {
                return Ok(Verdict::TimedOut);
            }
        }
        self.vm.cut_power()?;
        while Instant::now() < until {
            if self.vm.has_ended() {
                let what = "the machine went off before the guest went on".to_owned();
                return Ok(Verdict::Crashed { what });
            }
            self.vm.monitor.happened()?;
            match self.vm.listen(POLL) {
                Some(Ok(FromGuest::Hello { version, instance, system })) => {
                    let why = "the guest has started anew in the place of going on".to_owned();
                    let broken = self.greet(version, instance, system);
                    return Ok(broken.unwrap_or(Verdict::Failed { why }));
                }
                Some(Ok(_)) => {
                    self.last_heard = Instant::now();
                    return Ok(Verdict::Passed);
                }
                Some(Err(error)) => self.note(&format!("before it went on: {error}"))?,
                None => {}
            }
        }
        Ok(Verdict::TimedOut)
    }

    /// The next message, or the verdict on a guest from which none comes.
    fn hear(&mut self, until: Instant) -> Result<Heard, VmError> {
        loop {
            match self.vm.listen(POLL) {
                Some(Ok(message)) => {
                    self.last_heard = Instant::now();
                    return Ok(Heard::Message(message));
                }
                Some(Err(error)) => return self.torn(&error).map(Heard::Over),
                None => {}
            }
            if let Some(verdict) = self.end()? {
                return Ok(Heard::Over(verdict));
            }
            if self.last_heard.elapsed() > self.patience.silence {
                return Ok(Heard::Over(Verdict::Hung));
            }
            if Instant::now() > until {
                return Ok(Heard::Over(Verdict::TimedOut));
            }
        }
    }

    /// A line that is no message: one that a reset has cut, or a broken protocol.
    fn torn(&mut self, error: &FrameError) -> Result<Verdict, VmError> {
        let seen = Instant::now();
        while seen.elapsed() < TORN {
            if let Some(verdict) = self.end()? {
                return Ok(verdict);
            }
            std::thread::sleep(POLL);
        }
        Ok(Verdict::ProtocolBroken { what: error.to_string() })
    }

    /// The machine's end, if it has come.
    fn end(&mut self) -> Result<Option<Verdict>, VmError> {
        if self.vm.has_ended() {
            return Ok(Some(Verdict::Crashed { what: "the machine is off".to_owned() }));
        }
        let mut end = None;
        for happening in self.vm.monitor.happened()? {
            match happening {
                Happening::Panicked { what } => {
                    end.get_or_insert(Verdict::Crashed { what: format!("panic: {what}") });
                }
                Happening::Reset => {
                    let what = "the machine was reset by its guest".to_owned();
                    end.get_or_insert(Verdict::Crashed { what });
                }
                Happening::Off => {
                    let what = "the guest has switched the machine off".to_owned();
                    end.get_or_insert(Verdict::Crashed { what });
                }
                Happening::Unplugged { device } => self.unplugged.push(device),
            }
        }
        Ok(end)
    }

    fn unplug(&mut self, disk: &str, limit: Duration) -> Result<Verdict, VmError> {
        self.vm.monitor.unplug(disk)?;
        let until = Instant::now() + limit;
        while !self.unplugged.iter().any(|device| device == disk) {
            match self.vm.listen(POLL) {
                Some(Ok(_)) => self.last_heard = Instant::now(),
                Some(Err(error)) => return self.torn(&error),
                None => {}
            }
            if let Some(verdict) = self.end()? {
                return Ok(verdict);
            }
            if Instant::now() > until {
                return Ok(Verdict::TimedOut);
            }
        }
        Ok(Verdict::Passed)
    }

    /// Brings a guest to where it can collect. One that hangs or is busy is made to crash, so that
    /// its dump tells why. False if it cannot be had.
    fn recover(&mut self, verdict: &Verdict) -> Result<bool, VmError> {
        match verdict {
            Verdict::Passed | Verdict::Failed { .. } => return Ok(true),
            Verdict::NeverBooted | Verdict::ProtocolBroken { .. } => return Ok(false),
            Verdict::Hung | Verdict::TimedOut => self.vm.monitor.inject_nmi()?,
            Verdict::Crashed { .. } => {}
        }
        if self.vm.has_ended() {
            return Ok(false);
        }
        Ok(self.boot(self.patience.restart, Duration::ZERO)?.is_none())
    }

    fn note(&self, line: &str) -> Result<(), VmError> {
        let log = File::options().create(true).append(true).open(&self.log);
        let noted = log.and_then(|mut log| writeln!(log, "{line}"));
        noted.map_err(VmError::file("write", &self.log))
    }
}

/// Files on their way from the guest. The rule: a name stays in the folder, and parts come in
/// order.
struct Files {
    folder: PathBuf,
    lengths: BTreeMap<String, u64>,
}

impl Files {
    /// Adds a part; the inner error says what is wrong with it.
    fn add(&mut self, name: &str, offset: u64, data: &str) -> Result<Result<(), String>, VmError> {
        let Some(bytes) = results::from_text(data) else {
            return Ok(Err(format!("a part of {name} is no base64")));
        };
        if !is_plain_name(name) {
            return Ok(Err(format!("{name:?} is no name of a file")));
        }
        // A part at 0 begins a file, again if a later step sends it once more.
        let length = if offset == 0 { 0 } else { *self.lengths.get(name).unwrap_or(&0) };
        let end = length.saturating_add(bytes.len() as u64);
        if offset != length || end > FILE_MAX {
            return Ok(Err(format!("a part of {name} is at {offset} in the place of {length}")));
        }
        fs::create_dir_all(&self.folder).map_err(VmError::file("create", &self.folder))?;
        let path = self.folder.join(name);
        let file = File::options().create(true).truncate(offset == 0).write(true).open(&path);
        let written = file.and_then(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(&bytes)
        });
        written.map_err(VmError::file("write", &path))?;
        self.lengths.insert(name.to_owned(), end);
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_files_come_in_order_and_stay_in_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files { folder: dir.path().join("files"), lengths: BTreeMap::new() };
        let text = |text: &str| results::to_text(text.as_bytes());
        for (name, offset, data) in [("a", 0, "ab"), ("a", 2, "c"), ("b", 0, ""), ("a", 0, "new")] {
            assert_eq!(files.add(name, offset, &text(data)).unwrap(), Ok(()));
        }
        assert_eq!(fs::read(dir.path().join("files/a")).unwrap(), b"new");
        assert_eq!(fs::read(dir.path().join("files/b")).unwrap(), b"");
        for (name, offset, data) in [
            ("a", 5, text("x")),
            ("c", 1, text("x")),
            ("../a", 0, text("x")),
            ("a", 0, "?".to_owned()),
            ("a", u64::MAX, text("x")),
        ] {
            assert!(files.add(name, offset, &data).unwrap().is_err(), "{name} at {offset}");
        }
    }
}
