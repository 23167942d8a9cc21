//! The command line of `snapless`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;
use snapless_driver_client::VolumeName;
use snapless_driver_client::volume::NotAVolumeName;
use snapless_installer::rescue;
use snapless_link::question::Consistency;
use snapless_link::question::{GROUP_NAME, is_group_name};
use snapless_service::size::{NotASize, Size};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::SWEEP_RATE_MIN;

const AFTER_HELP: &str = "Exit codes:\n  0  done\n  1  failed\n  2  wrong arguments\n  \
                          3  the driver is not running\n  4  no such volume or session\n  \
                          5  access denied: run this program as an administrator\n  \
                          6  verify --wait: the copy is not what the volume is\n  \
                          7  the service is not running\n  \
                          8  doctor: something is wrong\n  \
                          9  bookmark, restore: the instant cannot be restored, or not yet\n \
                          10  restore: done; there are zeros where the volume's disk could not be \
                          read\n \
                          11  bookmark: the applications could not be prepared for it\n\n\
                          With --json an answer is one JSON document on standard output, and an \
                          error one on\nstandard error, with the exit code and what is said \
                          without --json:\n  \
                          {\"error\":{\"code\":7,\"text\":\"the service is not running: …\"}}\n\
                          docs/schema/ has the schema of each document.";

/// Protects this machine's volumes, and shows how it stands with them
#[derive(Parser, Debug)]
#[command(name = "snapless", version, after_help = AFTER_HELP)]
pub struct Arguments {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Lists the volumes that the driver filters
    #[command(after_help = "Examples:\n  snapless volumes\n  snapless volumes --json")]
    Volumes {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Has a volume protected, from now on and after each restart of the machine
    ///
    /// The service adds the volume to its configuration and begins with it at once: it reads the
    /// whole volume while that is in use, and follows its writes. A volume that is protected
    /// already stays as it is, or gets another group.
    #[command(after_help = "Examples:\n  snapless protect D:\n  \
                            snapless protect D: --to backup.example.com:4850\n  \
                            snapless protect D: E: --group sql\n  \
                            snapless protect {71a27cdd-812a-11d0-bec7-08002be2092f} --json")]
    Protect(ProtectArguments),
    /// Has a volume protected no longer: its session ends, and it leaves the configuration
    ///
    /// The server keeps what it has. If the volume is protected again, a first sync begins, which
    /// sends only what the server does not have.
    #[command(after_help = "Examples:\n  snapless unprotect D:\n  snapless unprotect D: --json")]
    Unprotect(VolumeArguments),
    /// Has nothing of a volume sent until `snapless resume`, also after a restart of the service
    ///
    /// The driver goes on capturing. Once its queue is full a gap begins: instants from then on
    /// cannot be restored until `snapless resume` and until what was written meanwhile has been
    /// read.
    #[command(after_help = "Examples:\n  snapless pause D:\n  snapless pause D: --json")]
    Pause(VolumeArguments),
    /// Has a paused volume sent again
    #[command(after_help = "Examples:\n  snapless resume D:\n  snapless resume D: --json")]
    Resume(VolumeArguments),
    /// Limits how fast the service sends, all volumes together, at once and from then on
    ///
    /// More that is written than is sent fills the driver's queue, and then a gap begins. A first
    /// sync takes as long as the rate makes it. At the times of the configuration's `send_rates`
    /// their rate counts instead.
    #[command(after_help = "Examples:\n  snapless throttle 20MiB\n  snapless throttle --off")]
    Throttle(ThrottleArguments),
    /// Measures a volume before it is protected, and says what protection will take
    ///
    /// How long the first sync takes, the bandwidth that keeps up with the writes, the journal of a
    /// day, how long a held write waits, and how long a cut of the link may last. Needs neither
    /// driver nor server, and changes nothing. Measure when the volume is as busy as it gets.
    #[command(after_help = "Examples:\n  snapless predict D:\n  \
                            snapless predict D: --seconds 3600 --link 100MiB\n  \
                            snapless predict D: --sweep-rate 50MiB --json")]
    Predict(PredictArguments),
    /// Has the service read its configuration again
    ///
    /// Volumes whose settings have not changed go on undisturbed; others go on with their sessions.
    /// A configuration that cannot be used changes nothing.
    #[command(after_help = "Example:\n  snapless reload")]
    Reload {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Shows what can be restored of a volume: stretches of instants, gaps, bookmarks
    ///
    /// The service asks the server. Times are those of this machine's clock, in UTC. Of a group the
    /// instants and bookmarks that its volumes have in common are shown: the first one is the
    /// latest t0 of its volumes.
    #[command(after_help = "Examples:\n  snapless points D:\n  snapless points D: --json\n  \
                            snapless points --group sql")]
    Points(PointsArguments),
    /// Gives the present instant of a volume a name, and waits until the server has it
    ///
    /// What has been written before is in it, as in the image that a power cut now would leave. The
    /// name stands for the instant wherever the server takes one; its retention policy says how
    /// long the instant is kept. Of a group one instant of all volumes gets the name, or none; no
    /// write waits for that.
    ///
    /// With --consistency, applications are prepared for the instant first: by the scripts of the
    /// service's configuration, or by these and VSS, which freezes its writers without making a
    /// shadow copy. If that fails, no bookmark is made.
    #[command(after_help = "Examples:\n  snapless bookmark D: before-upgrade\n  \
                            snapless bookmark D: nightly --consistency application\n  \
                            snapless bookmark D: nightly --consistency application --or-crash\n  \
                            snapless bookmark D: before-upgrade --json\n  \
                            snapless bookmark --group sql before-upgrade")]
    Bookmark(BookmarkArguments),
    /// Restores a point of a volume from the server: to another volume, in place, or to a file
    ///
    /// The target is read, and only what differs is sent. A volume is taken offline, and begins as
    /// half restored until all of it is there; at the end it is compared with the point. A link
    /// that is cut is made anew; a restore that was ended goes on when it is run again. The
    /// server's administrator must have allowed it: `snapless-server allow-restore`.
    #[command(after_help = "Examples:\n  snapless restore D: --at latest --to E: --force\n  \
                            snapless restore D: --at before-upgrade --to D: --force\n  \
                            snapless restore {71a27cdd-812a-11d0-bec7-08002be2092f} --at \"2h ago\" \
                            --to F:\\volume.img --json")]
    Restore(RestoreArguments),
    /// Writes the script that takes the driver out of a machine that does not boot
    ///
    /// Keep it on a USB stick. It needs nothing but what the recovery environment has.
    #[command(after_help = "Examples:\n  snapless rescue\n  snapless rescue --to \
                            E:\\snapless-rescue.cmd")]
    Rescue {
        /// The script
        #[arg(long, value_name = "FILE", default_value = rescue::FILE)]
        to: PathBuf,
    },
    /// Shows each session: progress, rate, time left, held writes, gaps
    #[command(after_help = "Examples:\n  snapless status\n  snapless status --watch\n  \
                            snapless status --json\n  snapless status --watch --interval 5 --json")]
    Status(StatusArguments),
    /// Ends a session: its volume is no longer protected
    ///
    /// Held writes are issued and nothing more is captured. The server keeps what it has. The
    /// service begins a new session, with a full first sync, when it is restarted. A session that
    /// is ended while no service runs goes on when the service is started, with a verification.
    #[command(after_help = "Examples:\n  snapless stop --volume D:\n  \
                            snapless stop --session 0a1b2c3d-0000-4000-8000-0123456789ab")]
    Stop(StopArguments),
    /// Verifies the copy of a volume at the server, while the volume is in use
    ///
    /// The driver reads the whole volume once more, when it has nothing else to read, and the
    /// service sends hashes of what it read. Writes go on, no write waits, and there is no gap. The
    /// server compares the hashes with the copy. `snapless status` shows how far it is and what
    /// differs; what differs is an event, too.
    #[command(after_help = "Examples:\n  snapless verify D:\n  snapless verify D: --wait\n  \
                            snapless verify D: --rate 50MiB\n  snapless verify D: --repair\n  \
                            snapless verify D: --stop")]
    Verify(VerifyArguments),
    /// Enrols this machine at a server, with a token of the server's administrator
    ///
    /// The machine gets a certificate, which the service renews by itself. A volume belongs to the
    /// machine that sends it first. A machine may enrol at several servers, and have a volume sent
    /// to another one than the others by `snapless protect --to`.
    #[command(
        after_help = "Examples:\n  snapless enroll backup.example.com:4850 --token snapless-…\n  \
                            type token.txt | snapless enroll backup.example.com:4850 --token -\n  \
                            snapless enroll --renew"
    )]
    Enroll(EnrollArguments),
    /// Looks at all that protection needs, and says what is wrong and what to do
    ///
    /// The driver, the service, its configuration, the machine's certificate, the server, each
    /// volume. Nothing changes.
    #[command(after_help = "Examples:\n  snapless doctor\n  snapless doctor --json")]
    Doctor {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Makes a file for somebody who is to help: reports, log and configuration
    ///
    /// It has neither keys nor data of volumes; names of volumes, servers and this machine it has.
    #[command(after_help = "Examples:\n  snapless support-bundle\n  \
                            snapless support-bundle --to E:\\support.zip --json")]
    SupportBundle(SupportBundleArguments),
    /// Prints a script that completes commands and options in a shell
    #[command(
        after_help = "Examples:\n  snapless completions powershell | Out-String | Invoke-Expression\n  \
                      snapless completions bash > ~/.local/share/bash-completion/completions/snapless"
    )]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Writes manual pages, one of each command
    #[command(after_help = "Example:\n  snapless man /usr/local/share/man/man1")]
    Man {
        /// The folder, which is made if necessary
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Prints the version of this program and of the driver interface
    Version {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

/// Options of `snapless protect`.
#[derive(Args, Debug)]
pub struct ProtectArguments {
    /// The volumes: {GUID}, a drive letter (D:) or a device path
    #[arg(value_name = "VOLUME", required = true)]
    pub volumes: Vec<VolumeName>,
    /// The server, host:port [default: that of the configuration, or at which the machine enrolled]
    #[arg(long, value_name = "SERVER")]
    pub to: Option<String>,
    /// The consistency group: its volumes get common bookmarks
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    pub group: Option<String>,
    /// Print JSON, for scripts; of several volumes one document on each line
    #[arg(long)]
    pub json: bool,
}

/// Options of `snapless points`.
#[derive(Args, Debug)]
pub struct PointsArguments {
    /// Of what.
    #[command(flatten)]
    pub of: VolumeOrGroup,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// A volume, or all volumes of a consistency group.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct VolumeOrGroup {
    /// The volume: {GUID}, a drive letter (D:) or a device path
    #[arg(value_name = "VOLUME")]
    pub volume: Option<VolumeName>,
    /// All volumes of a consistency group
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    pub group: Option<String>,
}

/// Options of `snapless bookmark`.
#[derive(Args, Debug)]
#[command(override_usage = "snapless bookmark [OPTIONS] <VOLUME> <NAME>\n       \
                            snapless bookmark [--json] --group <GROUP> <NAME>")]
pub struct BookmarkArguments {
    /// The volume: {GUID}, a drive letter (D:) or a device path; none with --group
    #[arg(value_name = "VOLUME")]
    pub first: String,
    /// The name: a letter, then letters, digits, '-', '_' and '.', at most 64
    #[arg(value_name = "NAME", required_unless_present = "group", conflicts_with = "group")]
    pub second: Option<String>,
    /// All volumes of a consistency group
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    pub group: Option<String>,
    /// How applications are prepared for the instant
    #[arg(long, value_name = "KIND", value_enum, default_value = "crash")]
    #[arg(conflicts_with = "group")]
    pub consistency: ConsistencyArgument,
    /// If that fails: a crash-consistent bookmark all the same
    #[arg(long, conflicts_with = "group")]
    pub or_crash: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// What an instant is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Of {
    /// A volume.
    Volume(VolumeName),
    /// All volumes of a consistency group.
    Group(String),
}

impl BookmarkArguments {
    /// Of what an instant is to get a name, and the name.
    ///
    /// # Errors
    /// The volume's name is none.
    pub fn target(&self) -> Result<(Of, &str), NotAVolumeName> {
        match (&self.group, &self.second) {
            (None, Some(name)) => Ok((Of::Volume(self.first.parse()?), name)),
            // The parser lets one of them pass.
            (group, _) => Ok((Of::Group(group.clone().unwrap_or_default()), &self.first)),
        }
    }
}

/// Options of `snapless restore`.
// Each flag is one of the command line.
#[allow(clippy::struct_excessive_bools)]
#[derive(Args, Debug)]
pub struct RestoreArguments {
    /// The volume that was protected: {GUID}, a drive letter (D:) or a device path
    #[arg(value_name = "VOLUME")]
    pub volume: VolumeName,
    /// The point: t0, latest, a time (2026-11-23T14:00:00Z), how long ago ("2h ago"), or a
    /// bookmark
    #[arg(long, value_name = "POINT")]
    pub at: String,
    /// The target: a volume (E:, {GUID}), or a file, which becomes a raw image
    #[arg(long, value_name = "TARGET", value_parser = parse_target)]
    pub to: RestoreTarget,
    /// The session, as `snapless points` shows it [default: the newest that has the point]
    #[arg(long, value_name = "ID", value_parser = parse_session)]
    pub session: Option<SessionId>,
    /// Overwrite a volume, or a file that is there
    #[arg(long)]
    pub force: bool,
    /// Restore to a volume whose sectors have another size
    #[arg(long)]
    pub other_sector_size: bool,
    /// Have all sent, and do not read what the target has
    #[arg(long)]
    pub whole: bool,
    /// Do not compare the target with the point at the end
    #[arg(long)]
    pub no_compare: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// Where a point is restored to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RestoreTarget {
    /// A volume.
    Volume(VolumeName),
    /// A file.
    File(PathBuf),
}

/// How applications are prepared for an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ConsistencyArgument {
    /// Not at all
    Crash,
    /// By the scripts of the service's configuration
    Scripts,
    /// By these, and VSS freezes its writers
    Application,
}

impl From<ConsistencyArgument> for Consistency {
    fn from(argument: ConsistencyArgument) -> Self {
        match argument {
            ConsistencyArgument::Crash => Self::Crash,
            ConsistencyArgument::Scripts => Self::Scripts,
            ConsistencyArgument::Application => Self::Application,
        }
    }
}

/// Options of `snapless throttle`.
#[derive(Args, Debug)]
pub struct ThrottleArguments {
    /// Bytes per second, such as 20MiB
    #[arg(value_name = "RATE", value_parser = parse_rate, required_unless_present = "off")]
    pub rate: Option<u64>,
    /// As fast as the link takes it
    #[arg(long, conflicts_with = "rate")]
    pub off: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// For how many seconds a volume can be measured.
pub const PREDICT_SECONDS: RangeInclusive<u32> = 5..=86_400;

/// Options of `snapless predict`.
#[derive(Args, Debug)]
pub struct PredictArguments {
    /// The volume: {GUID}, a drive letter (D:) or a device path
    #[arg(value_name = "VOLUME")]
    pub volume: VolumeName,
    /// Measure for so many seconds, 5 to 86400
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    #[arg(value_parser = value_parser!(u32).range(predict_seconds()))]
    pub seconds: u32,
    /// Bytes per second that the link to the server takes, such as 100MiB [default: no limit]
    #[arg(long, value_name = "RATE", value_parser = parse_link)]
    pub link: Option<u64>,
    /// Bytes per second that the sweep may read, as `sweep_rate` of the configuration
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub sweep_rate: Option<u64>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// Options of commands for one volume.
#[derive(Args, Debug)]
pub struct VolumeArguments {
    /// The volume: {GUID}, a drive letter (D:) or a device path
    #[arg(value_name = "VOLUME")]
    pub volume: VolumeName,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// Options of `snapless support-bundle`.
#[derive(Args, Debug)]
pub struct SupportBundleArguments {
    /// The file, which must not be there [default: snapless-support-DATE-TIME.zip in this folder]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// Options of `snapless status`.
#[derive(Args, Debug)]
pub struct StatusArguments {
    /// Print JSON, for scripts; with --watch, one document on each line
    #[arg(long)]
    pub json: bool,
    /// Repeat until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two updates, with --watch
    #[arg(long, value_name = "SECONDS", default_value = "1", requires = "watch")]
    #[arg(value_parser = parse_interval)]
    pub interval: Duration,
}

impl StatusArguments {
    /// Once, as JSON.
    pub fn once() -> Self {
        Self { json: true, watch: false, interval: Duration::ZERO }
    }
}

/// Options of `snapless enroll`.
#[derive(Args, Debug)]
pub struct EnrollArguments {
    /// The server, host:port; with --renew, the one at which the machine enrolled
    #[arg(value_name = "SERVER", required_unless_present = "renew")]
    pub server: Option<String>,
    /// The token, as `snapless-server token create` printed it; `-` reads standard input
    #[arg(long, value_name = "TOKEN", required_unless_present = "renew", conflicts_with = "renew")]
    pub token: Option<String>,
    /// The machine's name, for people [default: the computer's name]
    #[arg(long, value_name = "NAME", conflicts_with = "renew")]
    pub name: Option<String>,
    /// Renew the certificate that the machine has
    #[arg(long, conflicts_with = "force")]
    pub renew: bool,
    /// Replace the identity that the machine has; unless the token is for that machine, its volumes
    /// begin anew
    #[arg(long)]
    pub force: bool,
    /// The service's state folder, if service.toml names another one
    #[arg(long, value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// Options of `snapless stop`.
#[derive(Args, Debug)]
pub struct StopArguments {
    /// The session.
    #[command(flatten)]
    pub session: SessionName,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// How a session is named.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct SessionName {
    /// The session's id, as `snapless status` shows it
    #[arg(long = "session", value_name = "ID", value_parser = parse_session)]
    pub id: Option<SessionId>,
    /// The volume: {GUID}, a drive letter (D:) or a device path
    #[arg(long, value_name = "NAME")]
    pub volume: Option<VolumeName>,
}

/// Options of `snapless verify`.
// Each flag is one of the command line.
#[allow(clippy::struct_excessive_bools)]
#[derive(Args, Debug)]
pub struct VerifyArguments {
    /// The volume: {GUID}, a drive letter (D:) or a device path
    #[arg(value_name = "VOLUME")]
    pub volume: VolumeName,
    /// Read so many bytes per second at most, such as 50MiB; the session's `sweep_rate` counts too
    #[arg(long, value_name = "RATE", value_parser = parse_rate, conflicts_with = "stop")]
    pub rate: Option<u64>,
    /// Wait until all of it is compared, and say what differs
    #[arg(long, conflicts_with = "stop")]
    pub wait: bool,
    /// Wait, and have what differs read again and sent: instants cannot be restored meanwhile
    #[arg(long, conflicts_with = "stop")]
    pub repair: bool,
    /// End the verification that is under way
    #[arg(long)]
    pub stop: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

fn parse_group(text: &str) -> Result<String, String> {
    if is_group_name(text) { Ok(text.to_owned()) } else { Err(GROUP_NAME.to_owned()) }
}

fn predict_seconds() -> RangeInclusive<i64> {
    let (least, most) = PREDICT_SECONDS.into_inner();
    least.into()..=most.into()
}

fn parse_target(text: &str) -> Result<RestoreTarget, String> {
    if let Ok(volume) = text.strip_prefix(r"\\.\").unwrap_or(text).parse() {
        return Ok(RestoreTarget::Volume(volume));
    }
    // Other devices have such names, whole disks among them.
    if text.starts_with(r"\\.\") {
        let why = "a point is a volume: make a partition on the disk, and restore to that";
        return Err(why.to_owned());
    }
    if text.is_empty() {
        Err("a volume or a file".to_owned())
    } else {
        Ok(RestoreTarget::File(text.into()))
    }
}

fn parse_link(text: &str) -> Result<u64, String> {
    let Size(rate) = text.parse().map_err(|why: NotASize| why.to_string())?;
    if rate == 0 { Err("more than nothing".to_owned()) } else { Ok(rate) }
}

fn parse_rate(text: &str) -> Result<u64, String> {
    let Size(rate) = text.parse().map_err(|why: NotASize| why.to_string())?;
    if rate < SWEEP_RATE_MIN {
        return Err("at least 1MiB".to_owned());
    }
    Ok(rate)
}

fn parse_session(text: &str) -> Result<SessionId, String> {
    SessionId::parse(text)
        .filter(|session| !session.is_nil())
        .ok_or_else(|| "not a session id; `snapless status` shows them".to_owned())
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    let allowed = (0.1..=3600.0).contains(&seconds);
    allowed
        .then(|| Duration::from_secs_f64(seconds))
        .ok_or_else(|| "allowed: 0.1 to 3600".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        let all = ["snapless"].iter().chain(words);
        Arguments::try_parse_from(all).map(|arguments| arguments.command)
    }

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_restore_goes_to_a_volume_or_a_file_and_not_to_a_whole_disk() {
        let to = |target: &str| match parse(&["restore", "D:", "--at", "latest", "--to", target]) {
            Ok(Command::Restore(arguments)) => Ok(arguments.to),
            Ok(other) => panic!("{other:?}"),
            Err(wrong) => Err(wrong.to_string()),
        };
        let volume = |name: &str| Ok(RestoreTarget::Volume(name.parse().unwrap()));
        for (text, name) in [("e:", "E:"), (r"E:\", "E:"), (r"\\.\E:", "E:")] {
            assert_eq!(to(text), volume(name), "{text}");
        }
        let guid = r"\\?\Volume{71a27cdd-812a-11d0-bec7-08002be2092f}\";
        assert_eq!(to(guid), volume(guid));
        let file = RestoreTarget::File(r"E:\volume.img".into());
        assert_eq!(to(r"E:\volume.img"), Ok(file));
        let refused = to(r"\\.\PhysicalDrive1").unwrap_err();
        assert!(refused.contains("make a partition"), "{refused}");
        assert!(to("").is_err());
    }

    #[test]
    fn stop_takes_either_a_session_or_a_volume() {
        let id = "71a27cdd-812a-11d0-bec7-08002be2092f";
        assert!(parse(&["stop", "--session", id]).is_ok());
        assert!(parse(&["stop", "--volume", "D:", "--json"]).is_ok());
        assert!(parse(&["stop", "--volume", r"\Device\HarddiskVolume3"]).is_ok());
        for words in [
            &["stop"][..],
            &["stop", "--json"],
            &["stop", "--session", id, "--volume", "D:"],
            &["stop", "--session", "x"],
            &["stop", "--session", "00000000-0000-0000-0000-000000000000"],
            &["stop", "--volume", "x"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn points_and_bookmarks_are_of_a_volume_or_of_a_group() {
        let points = |words: &[&str]| match parse(words) {
            Ok(Command::Points(it)) => Some((it.of.volume.is_some(), it.of.group)),
            Ok(Command::Bookmark(it)) => {
                let (of, name) = it.target().ok()?;
                assert_eq!(name, "before");
                match of {
                    Of::Volume(_) => Some((true, None)),
                    Of::Group(group) => Some((false, Some(group))),
                }
            }
            _ => None,
        };
        let (volume, group) = (Some((true, None)), Some((false, Some("sql".to_owned()))));
        assert_eq!(points(&["points", "D:", "--json"]), volume);
        assert_eq!(points(&["points", "--group", "sql"]), group);
        assert_eq!(points(&["bookmark", "--json", "--", "D:", "before"]), volume);
        assert_eq!(points(&["bookmark", "--group", "sql", "before"]), group);
        assert_eq!(points(&["bookmark", "before", "--group", "sql"]), group);
        for words in [
            &["points"][..],
            &["points", "D:", "--group", "sql"],
            &["points", "--group", "s q"],
            &["bookmark", "before"],
            &["bookmark", "no-volume", "before"],
            &["bookmark", "--group", "sql"],
            &["bookmark", "D:", "before", "--group", "sql"],
        ] {
            assert_eq!(points(words), None, "{words:?}");
        }
    }

    #[test]
    fn verify_takes_a_volume_and_a_rate_or_stops() {
        let verify = |words: &[&str]| match parse(words) {
            Ok(Command::Verify(it)) => Some((it.rate, it.wait || it.repair, it.stop)),
            _ => None,
        };
        assert_eq!(verify(&["verify", "D:"]), Some((None, false, false)));
        let slow = ["verify", "D:", "--wait", "--rate", "1MiB"];
        assert_eq!(verify(&slow), Some((Some(1 << 20), true, false)));
        assert_eq!(verify(&["verify", "D:", "--repair"]), Some((None, true, false)));
        assert_eq!(verify(&["verify", "D:", "--stop", "--json"]), Some((None, false, true)));
        for words in [
            &["verify"][..],
            &["verify", "D:", "--rate", "1023KiB"],
            &["verify", "D:", "--rate", "x"],
            &["verify", "D:", "--rate", "1MiB", "--stop"],
            &["verify", "D:", "--wait", "--stop"],
            &["verify", "D:", "--repair", "--stop"],
        ] {
            assert_eq!(verify(words), None, "{words:?}");
        }
    }

    #[test]
    fn predict_measures_a_volume_for_a_time_that_is_bounded() {
        let predict = |words: &[&str]| match parse(&[&["predict"], words].concat()) {
            Ok(Command::Predict(it)) => Some((it.seconds, it.link, it.sweep_rate)),
            _ => None,
        };
        assert_eq!(predict(&["D:"]), Some((60, None, None)));
        let all = ["D:", "--seconds", "5", "--link", "512KiB", "--sweep-rate", "1MiB", "--json"];
        assert_eq!(predict(&all), Some((5, Some(512 << 10), Some(1 << 20))));
        for words in [
            &[][..],
            &["D:", "--seconds", "4"],
            &["D:", "--seconds", "86401"],
            &["D:", "--link", "0B"],
            &["D:", "--link", "100"],
            &["D:", "--sweep-rate", "1023KiB"],
        ] {
            assert_eq!(predict(words), None, "{words:?}");
        }
    }

    #[test]
    fn enroll_takes_a_server_and_a_token_or_renews() {
        assert!(parse(&["enroll", "s:1", "--token", "t"]).is_ok());
        assert!(parse(&["enroll", "s:1", "--token", "t", "--force", "--name", "n"]).is_ok());
        assert!(parse(&["enroll", "--renew"]).is_ok());
        for words in [
            &["enroll"][..],
            &["enroll", "s:1"],
            &["enroll", "--token", "t"],
            &["enroll", "--renew", "--token", "t"],
            &["enroll", "--renew", "--force"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn an_interval_is_bounded_and_needs_watch() {
        let Ok(Command::Status(status)) = parse(&["status", "--watch", "--interval", "2.5"]) else {
            panic!("refused");
        };
        assert_eq!(status.interval, Duration::from_millis(2500));
        assert!(parse(&["status", "--interval", "2"]).is_err());
        assert!(parse(&["status", "--watch", "--interval", "0"]).is_err());
        assert!(parse(&["status", "--watch", "--interval", "nan"]).is_err());
    }
}
