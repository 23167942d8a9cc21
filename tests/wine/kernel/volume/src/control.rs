//! The rig's control device: the commands of a scenario.
//!
//! The rule: a command that sends packets through the volume's stack runs on a thread of its own, as the PnP manager's
//! work does, so that requests go on meanwhile; those run one after the other.

use alloc::{collections::VecDeque, sync::Arc};

use nt::{
    irp::Irp,
    monitor::Monitor,
    println,
    status::{Failure, Result, code},
    thread::Thread,
    time::sleep_us,
};
use protocol::ioctl::{
    ATTACH, CLEAR_FAULTS, Counters, DISGUISE, FLUSH, Fault, MEMORY, PAUSE, POWER_LENGTH, QUERY,
    REFUSE_USAGE, REMOVE, RESIZE, RESUME, SET_CLEARING, SET_FAULT, SET_POWER, SET_SCARCITY,
    SHUTDOWN, STEP, SURPRISE_REMOVE, Step, TOP_WRITE, USAGE, Usage, WRITE_PROTECT,
};
use protocol::{
    disguise::{Disguise, TopWrite},
    memory::Scarcity,
};
use wdk_sys::{
    IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, NTSTATUS,
    STATUS_BUFFER_TOO_SMALL, STATUS_DEVICE_BUSY, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::{completion, pnp::Stack, scarcity, scheduler::Scheduler, top_write};

/// How long applications may take to close a volume that is gone.
const HANDLES_LIMIT_MS: u32 = 20_000;

/// The control device's state.
pub(crate) struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    scheduler: Arc<Scheduler>,
    stack: Arc<Stack>,
    commands: Monitor<Commands>,
}

struct Commands {
    waiting: VecDeque<Irp>,
    stopping: bool,
}

impl Control {
    /// The state, and the thread that runs the commands.
    pub(crate) fn start(scheduler: &Arc<Scheduler>, stack: &Arc<Stack>) -> Result<(Self, Thread)> {
        let inner = Arc::new(Inner {
            scheduler: Arc::clone(scheduler),
            stack: Arc::clone(stack),
            commands: Monitor::new(Commands { waiting: VecDeque::new(), stopping: false }),
        });
        let runner = Arc::clone(&inner);
        let thread = Thread::spawn(move || runner.run())?;
        Ok((Self { inner }, thread))
    }

    /// Lets the thread end once the commands that it has are done.
    pub(crate) fn stop(&self) {
        self.inner.commands.lock().stopping = true;
        self.inner.commands.notify_one();
    }

    /// Handles a packet of the control device.
    pub(crate) fn dispatch(&self, mut irp: Irp) -> NTSTATUS {
        match u32::from(irp.function().0) {
            IRP_MJ_CREATE | IRP_MJ_CLEANUP | IRP_MJ_CLOSE => irp.complete(STATUS_SUCCESS, 0),
            // These wait for nothing, and have to work while a packet through the stack waits for them.
            IRP_MJ_DEVICE_CONTROL if [QUERY, PAUSE, RESUME].contains(&irp.device_control().0) => {
                let (status, information) = self.inner.command(&mut irp);
                irp.complete(status, information)
            }
            IRP_MJ_DEVICE_CONTROL => {
                irp.mark_pending();
                let refused = {
                    let mut commands = self.inner.commands.lock();
                    if commands.stopping {
                        Some(irp)
                    } else {
                        commands.waiting.push_back(irp);
                        None
                    }
                };
                match refused {
                    Some(irp) => {
                        irp.complete(STATUS_INVALID_DEVICE_REQUEST, 0);
                    }
                    None => self.inner.commands.notify_one(),
                }
                STATUS_PENDING
            }
            _ => irp.complete(STATUS_INVALID_DEVICE_REQUEST, 0),
        }
    }
}

impl Inner {
    fn run(&self) {
        while let Some(mut irp) = self.next() {
            let (status, information) = self.command(&mut irp);
            irp.complete(status, information);
        }
    }

    fn next(&self) -> Option<Irp> {
        let mut commands = self.commands.lock();
        loop {
            if let Some(irp) = commands.waiting.pop_front() {
                return Some(irp);
            }
            if commands.stopping {
                return None;
            }
            commands = commands.wait();
        }
    }

    fn command(&self, irp: &mut Irp) -> (NTSTATUS, usize) {
        let (command, input_length, output_length) = irp.device_control();
        // SAFETY: a buffered request's system buffer holds the larger of both lengths.
        let input = unsafe { bytes(irp, input_length as usize) };
        let result = match command {
            QUERY => return self.query(irp, output_length as usize),
            FLUSH => self.scheduler.store().flush(),
            SET_FAULT => parsed(Fault::decode(input)).map(|fault| self.scheduler.faults.arm(fault)),
            CLEAR_FAULTS => {
                self.scheduler.faults.clear();
                Ok(())
            }
            PAUSE => {
                self.scheduler.set_paused(true);
                Ok(())
            }
            RESUME => {
                self.scheduler.set_paused(false);
                Ok(())
            }
            MEMORY => return give(irp, &scarcity::memory().encode(), output_length as usize),
            TOP_WRITE => {
                let sent = parsed(TopWrite::decode(input))
                    .and_then(|write| top_write::send(&self.stack, &self.scheduler.top, write));
                return match sent {
                    Ok(arrived) => give(irp, &arrived.encode(), output_length as usize),
                    Err(Failure(status)) => (status, 0),
                };
            }
            SET_SCARCITY => parsed(Scarcity::decode(input)).map(scarcity::set),
            DISGUISE => parsed(Disguise::decode(input)).map(|disguise| {
                self.stack.disguise(disguise);
                self.scheduler.moods.set_gpt_attributes(disguise.gpt_attributes);
            }),
            SET_CLEARING => parsed(word(input)).map(|how| self.scheduler.moods.set_clearing(how)),
            RESIZE => {
                parsed(number(input)).and_then(|length| self.scheduler.store().resize(length))
            }
            WRITE_PROTECT => parsed(word(input)).map(|on| self.scheduler.moods.protect(on != 0)),
            REFUSE_USAGE => {
                parsed(word(input)).map(|times| self.scheduler.moods.refuse_usage(times))
            }
            ATTACH => self.stack.attach(),
            REMOVE if self.scheduler.is_gone() => self.remove_gone(),
            REMOVE => self.stack.remove(),
            SURPRISE_REMOVE => self.stack.surprise_remove(),
            STEP => parsed(Step::decode(input)).and_then(|step| self.stack.step(step)),
            USAGE => parsed(Usage::decode(input)).and_then(|usage| self.stack.usage(usage)),
            SET_POWER => parsed(power_state(input)).and_then(|state| self.stack.set_power(state)),
            SHUTDOWN => {
                println!(
                    "snapless-test-volume: shutdown, {} devices told",
                    completion::shut_down()
                );
                Ok(())
            }
            _ => return (STATUS_INVALID_DEVICE_REQUEST, 0),
        };
        (code(result), 0)
    }

    /// Plug and play removes a device that is gone when nobody has it open any more: its applications are to be let go
    /// by what happened before that.
    fn remove_gone(&self) -> Result {
        for _ in 0..HANDLES_LIMIT_MS {
            if self.scheduler.handles() == 0 {
                return self.stack.remove_gone();
            }
            sleep_us(1000);
        }
        println!("snapless-test-volume: gone, but {} handles stay open", self.scheduler.handles());
        Err(Failure(STATUS_DEVICE_BUSY))
    }

    fn query(&self, irp: &Irp, room: usize) -> (NTSTATUS, usize) {
        let counts = self.scheduler.counts();
        let (applied, completed_below) = self.scheduler.store().progress();
        let answer = Counters {
            submitted: counts.submitted,
            applied,
            completed_below,
            in_flight: counts.in_flight,
            reads: counts.reads,
            held: counts.held,
            flushes: counts.flushes,
        }
        .encode();
        give(irp, &answer, room)
    }
}

fn give(irp: &Irp, answer: &[u8], room: usize) -> (NTSTATUS, usize) {
    if room < answer.len() {
        return (STATUS_BUFFER_TOO_SMALL, 0);
    }
    let buffer = irp.system_buffer().cast::<u8>();
    // SAFETY: a buffered request's system buffer holds the output's length.
    unsafe { core::ptr::copy_nonoverlapping(answer.as_ptr(), buffer, answer.len()) };
    (STATUS_SUCCESS, answer.len())
}

fn parsed<T>(value: Option<T>) -> Result<T> {
    value.ok_or(Failure(STATUS_INVALID_PARAMETER))
}

fn number(input: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(input.try_into().ok()?))
}

fn word(input: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(input.try_into().ok()?))
}

fn power_state(input: &[u8]) -> Option<u32> {
    let bytes = <[u8; POWER_LENGTH]>::try_from(input).ok()?;
    Some(u32::from_le_bytes(bytes)).filter(|state| (1..=4).contains(state))
}

/// # Safety
/// The packet's system buffer has at least `length` bytes.
unsafe fn bytes(irp: &Irp, length: usize) -> &[u8] {
    let buffer = irp.system_buffer().cast::<u8>();
    if buffer.is_null() {
        return &[];
    }
    // SAFETY: the caller says so; the packet outlives the slice.
    unsafe { core::slice::from_raw_parts(buffer, length) }
}
