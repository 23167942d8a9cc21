//! The rig's control device: the commands of a scenario.
//!
//! The rule: commands that send packets through the volume's stack run one after the other on a
//! thread of their own, as the PnP manager's work does, so that requests go on meanwhile.

use alloc::{collections::VecDeque, sync::Arc};
use core::sync::atomic::Ordering;

use nt::{
    irp::Irp,
    monitor::Monitor,
    println,
    status::{Failure, Result, code},
    thread::Thread,
    time::sleep_us,
};
use protocol::{
    ioctl::{
        ATTACH, ATTACH_SECOND, CLUSTERS_TOLD, Counters, DeviceFlags, FAIL_ALLOCATIONS, FAIL_READS,
        FAILED_READS, FLUSH, HANG, LOSE_SECTORS, MEMORY, PAUSE, PNP, QUERY, REFUSE_USAGE, REMOVE,
        REMOVE_SECOND, RESIZE, RESUME, SET_CLUSTER_MAP, SET_DEVICE_FLAGS, SET_PAGING_FILE,
        SET_POWER, SET_TRIM_SUPPORT, SHUTDOWN, SLEEP, SURPRISE_REMOVE, TOP_WRITE, USAGE,
        WRITE_PROTECT,
    },
    zerocopy::{FromBytes, Immutable, IntoBytes},
};
use wdk_sys::{
    IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, IRP_MN_REMOVE_DEVICE,
    IRP_MN_SURPRISE_REMOVAL, NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_DEVICE_BUSY,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::{framework, pnp::Stack, scheduler::Scheduler, second::SecondVolume, top_write};

/// How long applications may take to close a volume that is gone.
const HANDLES_LIMIT_MS: u32 = 20_000;

/// The control device's state.
pub(crate) struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    scheduler: Arc<Scheduler>,
    stack: Arc<Stack>,
    second_stack: Arc<Stack>,
    second: Arc<SecondVolume>,
    commands: Monitor<Commands>,
}

struct Commands {
    waiting: VecDeque<Irp>,
    stopping: bool,
}

impl Control {
    /// The state, and the thread that runs the commands.
    pub(crate) fn start(
        scheduler: &Arc<Scheduler>,
        [stack, second_stack]: &[Arc<Stack>; 2],
        second: &Arc<SecondVolume>,
    ) -> Result<(Self, Thread)> {
        let inner = Arc::new(Inner {
            scheduler: Arc::clone(scheduler),
            stack: Arc::clone(stack),
            second_stack: Arc::clone(second_stack),
            second: Arc::clone(second),
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
            // These do not wait, and have to work while a packet through the stack waits for them.
            IRP_MJ_DEVICE_CONTROL
                if [QUERY, PAUSE, RESUME, HANG].contains(&irp.device_control().0) =>
            {
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
        let give = |answer: &[u8]| give(irp, answer, output_length as usize);
        let (scheduler, stack) = (&self.scheduler, &self.stack);
        let switches = &scheduler.switches;
        // Relaxed, below: the switches are independent of each other.
        let result = match command {
            QUERY => {
                let applied = scheduler.store.applied();
                return give(Counters { applied, in_flight: scheduler.in_flight() }.as_bytes());
            }
            FLUSH => scheduler.store.flush(),
            PAUSE | RESUME => {
                scheduler.set_paused(command == PAUSE);
                Ok(())
            }
            MEMORY => return give(framework::memory().as_bytes()),
            TOP_WRITE => {
                let sent =
                    parsed(input).and_then(|write| top_write::send(stack, &scheduler.top, write));
                match sent {
                    Ok(arrived) => return give(arrived.as_bytes()),
                    Err(failure) => Err(failure),
                }
            }
            FAIL_READS => parsed(input).map(|percent| scheduler.reads.set_percent(percent)),
            LOSE_SECTORS => parsed(input).map(|lost| scheduler.reads.lose(lost)),
            FAILED_READS => return give(scheduler.reads.failed().as_bytes()),
            FAIL_ALLOCATIONS => parsed(input).map(framework::fail_allocations),
            SET_DEVICE_FLAGS => parsed(input).map(|flags: DeviceFlags| {
                stack.set_device_flags(flags);
                switches.gpt_attributes.store(flags.gpt_attributes, Ordering::Relaxed);
            }),
            SET_TRIM_SUPPORT => {
                parsed(input).map(|how| switches.trim_support.store(how, Ordering::Relaxed))
            }
            SET_PAGING_FILE => parsed(input).map(|file| switches.files.set_paging_file(file)),
            SET_CLUSTER_MAP => parsed(input).map(|map| switches.files.set_cluster_map(map)),
            CLUSTERS_TOLD => return give(&switches.files.told().to_le_bytes()),
            RESIZE => parsed(input).and_then(|length| scheduler.store.resize(length)),
            WRITE_PROTECT => parsed(input)
                .map(|on: u32| switches.write_protected.store(on != 0, Ordering::Relaxed)),
            REFUSE_USAGE => {
                parsed(input).map(|times| switches.usage_refusals.store(times, Ordering::Relaxed))
            }
            HANG => parsed(input).map(|what| self.second.set_hanging(what)),
            ATTACH_SECOND => self.second_stack.attach(),
            REMOVE_SECOND => self.second_stack.remove(),
            ATTACH => stack.attach(),
            REMOVE if scheduler.is_gone() => self.remove_gone(),
            REMOVE => stack.remove(),
            SURPRISE_REMOVE => stack.pnp(IRP_MN_SURPRISE_REMOVAL),
            PNP => parsed(input).and_then(|minor| stack.pnp(minor)),
            USAGE => parsed(input).and_then(|usage| stack.usage(usage)),
            SET_POWER => parsed(input).and_then(|state| stack.set_power(state)),
            SLEEP => parsed(input).map(|is_awake| {
                let told = framework::power(is_awake);
                println!("snapless-test-volume: awake {is_awake}, {told} drivers told");
            }),
            SHUTDOWN => {
                let notified = framework::shut_down();
                println!("snapless-test-volume: shutdown, {notified} devices notified");
                Ok(())
            }
            _ => return (STATUS_INVALID_DEVICE_REQUEST, 0),
        };
        (code(result), 0)
    }

    /// Plug and play removes a device that is gone when all handles to it are closed: applications
    /// have to get their answers before that.
    fn remove_gone(&self) -> Result {
        for _ in 0..HANDLES_LIMIT_MS {
            if self.scheduler.handles() == 0 {
                return self.stack.pnp(IRP_MN_REMOVE_DEVICE);
            }
            sleep_us(1000);
        }
        println!("snapless-test-volume: gone, but {} handles stay open", self.scheduler.handles());
        Err(Failure(STATUS_DEVICE_BUSY))
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

/// A command's structure; no other length is taken.
fn parsed<T: FromBytes + Immutable>(input: &[u8]) -> Result<T> {
    T::read_from_bytes(input).map_err(|_| Failure(STATUS_INVALID_PARAMETER))
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
