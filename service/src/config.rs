//! The service's configuration: one TOML file.
//!
//! ```toml
//! server = "backup.example.com:4850"
//! send_rate = "20 MiB"        # most bytes sent per second, of all volumes; absent: no limit
//! insecure = false            # true: without TLS, to a server on this machine only
//!
//! [[send_rates]]              # at some times another rate; the first entry that covers one counts
//! days = ["mon", "tue", "wed", "thu", "fri"]   # absent: every day
//! from = "08:00"              # local time; absent: from 00:00 to 24:00
//! to = "18:00"                # not later than `from`: until then on the next day
//! rate = "5 MiB"              # or "none": no limit
//!
//! [[sweep_rates]]             # the same of each volume's sweep; a lower `sweep_rate` counts
//! from = "08:00"
//! to = "18:00"
//! rate = "20 MiB"
//!
//! [scripts]                   # run around `snapless bookmark --consistency scripts|application`
//! before = ['C:\Scripts\freeze.cmd', 'sales']   # a program and its arguments
//! after = ['C:\Scripts\thaw.cmd', 'sales']
//! limit_s = 60                # how long each may take: 1 to 600
//!
//! [[volumes]]
//! volume = "{71a27cdd-812a-11d0-bec7-08002be2092f}"   # as `mountvol` shows it
//! server = "other.example.com:4850"   # absent: the one above
//! group = "sql"               # the volumes of a group get common bookmarks
//! block_size = "64 KiB"       # 16 KiB to 4 MiB, a power of two
//! queue_size = "256 MiB"      # nonpaged memory of the capture queue: 64 MiB to 2 GiB
//! hold_limit_ms = 200         # how long the queue may stay full before a gap: 1 to 50000
//! overflow = "gap"            # or "hold": writes wait up to 50 s before a gap opens
//! sweep_rate = "100 MiB"      # most bytes the sweep reads per second; absent: no limit
//! sweep_latency_ms = 20       # how long a sweep read may take on average: 0 to 10000; 0: no limit
//! resend_window = "128 MiB"   # memory for what the server has not acknowledged: 16 MiB to 1 GiB
//! compress = true             # frames are compressed on their way
//! compare = true              # after a gap, what the server has already is not sent
//! write_intent_log = true     # after a crash, only what was written to lately is compared
//! used_blocks_only = true     # what no file has is not read, on NTFS
//! paused = false              # true: what the driver captures is not sent
//! ```
//!
//! A file without volumes, or no file, is valid: the service waits for `snapless protect`.
//!
//! Rule: every value is checked before a session starts; an error names the file, the key and the
//! allowed values. Unknown keys are errors, so that a misspelt setting is not ignored.

mod check;
mod rates;
mod scripts;

use std::fs;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use serde::Deserialize;
use snapless_driver_client::identity::volume_of_device;
use snapless_driver_client::{VolumeName, paths};
use snapless_link::question::{GROUP_MAX, GROUP_NAME, is_group_name};
use snapless_trust::{regular, text};
use snapless_types::{Geometry, Overflow};
use snapless_wire::id::VolumeGuid;
use snapless_wire::ioctl::{
    HOLD_LIMIT_MAX_MS, QUEUE_BYTES_MAX, QUEUE_BYTES_MIN, SWEEP_LATENCY_MAX_MS, SWEEP_RATE_MIN,
    SweepLimits,
};

pub use check::ConfigError;

use check::Checker;
use rates::RawEntry;
use scripts::RawScripts;

use crate::connector::{Connector, is_loopback};
use crate::schedule::{InForce, Schedule};
use crate::scripts::Scripts;
use crate::size::Size;
use crate::sweep::at_most;
use crate::throttle::SEND_RATE_MIN;

/// The longest file, in bytes.
const LEN_MAX: u64 = 1 << 20;
/// Default block size.
const BLOCK_SIZE_DEFAULT: Size = Size(64 << 10);
/// Default size of the capture queue.
pub const QUEUE_SIZE_DEFAULT: Size = Size(256 << 20);
/// Default size of the resend window.
const RESEND_WINDOW_DEFAULT: Size = Size(128 << 20);
/// The sizes of a resend window.
const RESEND_WINDOW: RangeInclusive<u64> = 16 << 20..=1 << 30;
/// Default hold limit in milliseconds.
const HOLD_LIMIT_DEFAULT_MS: u32 = 200;

/// What a server's address is.
const ADDRESS: &str = "host:port, such as \"backup.example.com:4850\" or \"[::1]:4850\"";

/// The checked configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Address of the server, `host:port`, of volumes that name no other one.
    pub server: Option<String>,
    /// Without TLS, to a server on this machine.
    pub insecure: bool,
    /// Most bytes that are sent per second, of all volumes together.
    pub send_rate: Option<u64>,
    /// When it is another rate than that.
    pub send_rates: Schedule,
    /// When each volume's sweep reads less than otherwise.
    pub sweep_rates: Schedule,
    /// What is run around a bookmark.
    pub scripts: Scripts,
    /// Folder of session ids and reports.
    pub state_dir: PathBuf,
    /// Folder of the log.
    pub log_dir: PathBuf,
    /// The volumes to protect.
    pub volumes: Vec<VolumeConfig>,
}

/// One volume to protect.
// Each is a switch of its own in the file.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeConfig {
    /// How the volume is found on this machine.
    pub name: VolumeName,
    /// The volume's name at the server.
    pub guid: VolumeGuid,
    /// Another server than [`Config::server`], `host:port`.
    pub server: Option<String>,
    /// The consistency group.
    pub group: Option<String>,
    /// Bytes of a block.
    pub block_size: u32,
    /// Bytes of the capture queue.
    pub queue_bytes: u64,
    /// How long the queue may stay full before a gap opens, in milliseconds.
    pub hold_limit_ms: u32,
    /// What happens when the queue stays full.
    pub overflow: Overflow,
    /// Limits on the sweep's reads.
    pub sweep: SweepLimits,
    /// Bytes of memory for records that the server has not acknowledged.
    pub resend_window: usize,
    /// What is sent is compressed on its way, if that makes it shorter.
    pub compress: bool,
    /// What is read again after a gap is compared with the server by hash, and sent only if it
    /// differs.
    pub compare: bool,
    /// The driver notes on the volume which regions are written to, so that only these are compared
    /// after a crash.
    pub write_intent_log: bool,
    /// What no file of the volume has is not read, if its file system tells.
    pub used_blocks_only: bool,
    /// What the driver captures is not sent.
    pub paused: bool,
}

impl Config {
    /// Reads and checks the file.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(file, &Self::text(file)?)
    }

    /// The text of the file.
    pub fn text(file: &Path) -> Result<String, ConfigError> {
        let failed = |source| ConfigError::Read { file: file.to_owned(), source };
        let bytes = read(file).map_err(failed)?;
        let text = text::decode(&bytes)
            .map_err(|why| ConfigError::Encoding { file: file.to_owned(), why })?;
        Ok(text.to_string())
    }

    /// The server that a volume goes to. There is one if the configuration was checked.
    pub fn server_of<'a>(&'a self, volume: &'a VolumeConfig) -> Option<&'a str> {
        volume.server_or(self.server.as_deref())
    }

    /// How a server is reached.
    pub fn connector_to(&self, server: &str) -> Connector {
        if self.insecure {
            Connector::insecure(server)
        } else if self.server.as_deref() == Some(server) {
            Connector::tls(server, &self.state_dir)
        } else {
            Connector::other_tls(server, &self.state_dir)
        }
    }

    /// How a volume's server is reached.
    pub fn connector_of(&self, volume: &VolumeConfig) -> Option<Connector> {
        Some(self.connector_to(self.server_of(volume)?))
    }

    /// Each server, that of volumes that name no other one first.
    pub fn servers(&self) -> Vec<&str> {
        let mut servers: Vec<&str> = self.server.as_deref().into_iter().collect();
        for server in self.volumes.iter().filter_map(|volume| volume.server.as_deref()) {
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        servers
    }

    /// How each of them is reached.
    pub fn connectors(&self) -> Vec<Connector> {
        self.servers().into_iter().map(|server| self.connector_to(server)).collect()
    }

    /// The volumes of a consistency group.
    pub fn group<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a VolumeConfig> {
        self.volumes.iter().filter(move |volume| volume.group.as_deref() == Some(name))
    }

    /// How fast is sent at an instant of the machine's local time.
    pub fn send_rate_at(&self, at: DateTime) -> InForce {
        self.send_rates.at(at, self.send_rate)
    }

    /// How fast each sweep may read at an instant of the machine's local time, whatever its volume
    /// allows.
    pub fn sweep_rate_at(&self, at: DateTime) -> InForce {
        self.sweep_rates.at(at, None)
    }

    /// Checks `text`; error messages name `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let raw: RawConfig = toml::from_str(text).map_err(|source| ConfigError::Toml {
            file: file.to_owned(),
            source: Box::new(source),
        })?;
        Checker::of(file).config(raw)
    }
}

impl VolumeConfig {
    /// True if a pipeline of this volume goes on with other settings: where it sends to is the
    /// [`Connector`]'s matter, and the driver takes other limits of the sweep meanwhile.
    pub fn runs_as(&self, other: &Self) -> bool {
        let sweep = SweepLimits::DEFAULT;
        let own = |it: &Self| Self { server: None, group: None, sweep, ..it.clone() };
        own(self) == own(other)
    }

    /// The limits of its sweep while the schedule has this rate.
    pub fn sweep_at(&self, scheduled: InForce) -> SweepLimits {
        at_most(self.sweep, scheduled.rate)
    }

    fn server_or<'a>(&'a self, main: Option<&'a str>) -> Option<&'a str> {
        self.server.as_deref().or(main)
    }
}

/// The content of a file that the user names: links are followed, and nothing is waited for.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let place = fs::canonicalize(file)?;
    let opened = regular::open_to_read(&place)?;
    let mut bytes = Vec::new();
    opened.take(LEN_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LEN_MAX {
        return Err(io::Error::other("it is longer than 1 MiB, as no configuration is"));
    }
    Ok(bytes)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    server: Option<String>,
    #[serde(default)]
    insecure: bool,
    send_rate: Option<Size>,
    #[serde(default)]
    send_rates: Vec<RawEntry>,
    #[serde(default)]
    sweep_rates: Vec<RawEntry>,
    #[serde(default)]
    scripts: RawScripts,
    state_dir: Option<PathBuf>,
    log_dir: Option<PathBuf>,
    #[serde(default)]
    volumes: Vec<RawVolume>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVolume {
    volume: Option<String>,
    device: Option<String>,
    server: Option<String>,
    group: Option<String>,
    block_size: Option<Size>,
    queue_size: Option<Size>,
    hold_limit_ms: Option<u64>,
    overflow: Option<RawOverflow>,
    sweep_rate: Option<Size>,
    sweep_latency_ms: Option<u64>,
    resend_window: Option<Size>,
    compress: Option<bool>,
    compare: Option<bool>,
    write_intent_log: Option<bool>,
    used_blocks_only: Option<bool>,
    #[serde(default)]
    paused: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawOverflow {
    Gap,
    Hold,
}

impl Checker<'_> {
    fn config(&self, raw: RawConfig) -> Result<Config, ConfigError> {
        let server = raw.server.map(|text| self.server("server", text)).transpose()?;
        let mut volumes: Vec<VolumeConfig> = Vec::new();
        for (index, raw) in raw.volumes.iter().enumerate() {
            let volume = self.volume(&format!("volumes[{index}]"), raw)?;
            if volumes.iter().any(|other| other.guid == volume.guid) {
                let key = format!("volumes[{index}]");
                return Err(self.not_allowed(&key, volume.name, "each volume once"));
            }
            volumes.push(volume);
        }
        if server.is_none() && volumes.iter().any(|volume| volume.server.is_none()) {
            return Err(self.not_allowed("server", "nothing", ADDRESS));
        }
        let mut servers = server.iter().chain(volumes.iter().filter_map(|it| it.server.as_ref()));
        if raw.insecure && !servers.all(|server| is_loopback(server)) {
            let allowed = "false, or servers on this machine (127.0.0.1 or [::1]): without TLS, \
                           others on the network read and change what is sent";
            return Err(self.not_allowed("insecure", true, allowed));
        }
        self.groups(server.as_deref(), &volumes)?;
        Ok(Config {
            server,
            insecure: raw.insecure,
            send_rate: self.send_rate(raw.send_rate)?,
            send_rates: self.rates("send_rates", &raw.send_rates, SEND_RATE_MIN)?,
            sweep_rates: self.rates("sweep_rates", &raw.sweep_rates, SWEEP_RATE_MIN)?,
            scripts: self.scripts(raw.scripts)?,
            state_dir: raw.state_dir.unwrap_or_else(paths::state_dir),
            log_dir: raw.log_dir.unwrap_or_else(paths::log_dir),
            volumes,
        })
    }

    fn volume(&self, key: &str, raw: &RawVolume) -> Result<VolumeConfig, ConfigError> {
        let guid = raw.volume.as_deref().map(|text| self.guid(key, text)).transpose()?;
        let device = raw.device.as_deref().map(|text| self.device(key, text)).transpose()?;
        let (name, guid) = match (guid, device) {
            (Some(guid), None) => (VolumeName::Guid(guid), guid),
            (Some(guid), Some(device)) => (VolumeName::Device(device), guid),
            (None, Some(device)) => {
                let guid = volume_of_device(&device);
                (VolumeName::Device(device), guid)
            }
            (None, None) => {
                let allowed = "volume = \"{guid}\", device = '\\Device\\…', or both";
                return Err(self.not_allowed(key, "neither volume nor device", allowed));
            }
        };
        let own = |name: &str| format!("{key}.{name}");
        let server = raw.server.clone().map(|text| self.server(&own("server"), text));
        let group = raw.group.clone().map(|text| self.group(&own("group"), text));
        Ok(VolumeConfig {
            name,
            guid,
            server: server.transpose()?,
            group: group.transpose()?,
            block_size: self.block_size(key, raw.block_size.unwrap_or(BLOCK_SIZE_DEFAULT))?,
            queue_bytes: self.queue_bytes(key, raw.queue_size.unwrap_or(QUEUE_SIZE_DEFAULT))?,
            hold_limit_ms: self.milliseconds(
                &format!("{key}.hold_limit_ms"),
                raw.hold_limit_ms.unwrap_or(HOLD_LIMIT_DEFAULT_MS.into()),
                1..=HOLD_LIMIT_MAX_MS,
            )?,
            overflow: match raw.overflow {
                None | Some(RawOverflow::Gap) => Overflow::Gap,
                Some(RawOverflow::Hold) => Overflow::Hold,
            },
            sweep: SweepLimits {
                bytes_per_second: self.sweep_rate(key, raw.sweep_rate)?,
                latency_ms: self.milliseconds(
                    &format!("{key}.sweep_latency_ms"),
                    raw.sweep_latency_ms.unwrap_or(SweepLimits::DEFAULT.latency_ms.into()),
                    0..=SWEEP_LATENCY_MAX_MS,
                )?,
            },
            resend_window: self
                .resend_window(key, raw.resend_window.unwrap_or(RESEND_WINDOW_DEFAULT))?,
            compress: raw.compress.unwrap_or(true),
            compare: raw.compare.unwrap_or(true),
            write_intent_log: raw.write_intent_log.unwrap_or(true),
            used_blocks_only: raw.used_blocks_only.unwrap_or(true),
            paused: raw.paused,
        })
    }

    fn server(&self, key: &str, text: String) -> Result<String, ConfigError> {
        if is_address(&text) {
            return Ok(text);
        }
        Err(self.not_allowed(key, format!("{text:?}"), ADDRESS))
    }

    fn group(&self, key: &str, text: String) -> Result<String, ConfigError> {
        if is_group_name(&text) {
            return Ok(text);
        }
        Err(self.not_allowed(key, format!("{text:?}"), GROUP_NAME))
    }

    /// A common bookmark is made by one server, of all volumes or of none.
    fn groups(&self, main: Option<&str>, volumes: &[VolumeConfig]) -> Result<(), ConfigError> {
        for (index, volume) in volumes.iter().enumerate() {
            let is_mate = |it: &&VolumeConfig| it.group.is_some() && it.group == volume.group;
            let Some(first) = volumes.iter().find(is_mate) else { continue };
            if first.server_or(main) != volume.server_or(main) {
                let group = volume.group.as_deref().unwrap_or_default();
                let key = format!("volumes[{index}].group");
                let allowed = "a group whose other volumes go to the same server";
                return Err(self.not_allowed(&key, format!("{group:?}"), allowed));
            }
        }
        for volume in volumes {
            let Some(group) = volume.group.as_deref() else { continue };
            let count = volumes.iter().filter(|it| it.group.as_deref() == Some(group)).count();
            if count > GROUP_MAX {
                let allowed = format!("at most {GROUP_MAX} volumes in a group");
                return Err(self.not_allowed("group", format!("{group:?}"), allowed));
            }
        }
        Ok(())
    }

    fn guid(&self, key: &str, text: &str) -> Result<VolumeGuid, ConfigError> {
        if let Ok(VolumeName::Guid(guid)) = text.parse() {
            return Ok(guid);
        }
        let allowed = "a volume GUID in braces, as `mountvol` shows it";
        Err(self.not_allowed(&format!("{key}.volume"), format!("{text:?}"), allowed))
    }

    fn device(&self, key: &str, text: &str) -> Result<String, ConfigError> {
        if let Ok(VolumeName::Device(device)) = text.parse() {
            return Ok(device);
        }
        let allowed = "a device path, such as '\\Device\\HarddiskVolume3'";
        Err(self.not_allowed(&format!("{key}.device"), format!("{text:?}"), allowed))
    }

    fn block_size(&self, key: &str, size: Size) -> Result<u32, ConfigError> {
        let range = u64::from(Geometry::BLOCK_SIZE_MIN)..=u64::from(Geometry::BLOCK_SIZE_MAX);
        let fits = size.0.is_power_of_two() && range.contains(&size.0);
        u32::try_from(size.0).ok().filter(|_| fits).ok_or_else(|| {
            let (min, max) = (Size(*range.start()), Size(*range.end()));
            let allowed = format!("a power of two from {min} to {max}");
            self.not_allowed(&format!("{key}.block_size"), size, allowed)
        })
    }

    fn queue_bytes(&self, key: &str, size: Size) -> Result<u64, ConfigError> {
        if (QUEUE_BYTES_MIN..=QUEUE_BYTES_MAX).contains(&size.0) {
            return Ok(size.0);
        }
        let allowed = format!("{} to {}", Size(QUEUE_BYTES_MIN), Size(QUEUE_BYTES_MAX));
        Err(self.not_allowed(&format!("{key}.queue_size"), size, allowed))
    }

    fn resend_window(&self, key: &str, size: Size) -> Result<usize, ConfigError> {
        usize::try_from(size.0).ok().filter(|_| RESEND_WINDOW.contains(&size.0)).ok_or_else(|| {
            let allowed =
                format!("{} to {}", Size(*RESEND_WINDOW.start()), Size(*RESEND_WINDOW.end()));
            self.not_allowed(&format!("{key}.resend_window"), size, allowed)
        })
    }

    fn milliseconds(
        &self,
        key: &str,
        value: u64,
        range: RangeInclusive<u32>,
    ) -> Result<u32, ConfigError> {
        u32::try_from(value).ok().filter(|ms| range.contains(ms)).ok_or_else(|| {
            let allowed = format!("{} to {}", range.start(), range.end());
            self.not_allowed(key, value, allowed)
        })
    }

    fn send_rate(&self, rate: Option<Size>) -> Result<Option<u64>, ConfigError> {
        match rate {
            Some(rate) if rate.0 < SEND_RATE_MIN => {
                let allowed = format!("{} or more a second, or no such line", Size(SEND_RATE_MIN));
                Err(self.not_allowed("send_rate", rate, allowed))
            }
            rate => Ok(rate.map(|rate| rate.0)),
        }
    }

    fn sweep_rate(&self, key: &str, rate: Option<Size>) -> Result<u64, ConfigError> {
        match rate {
            None => Ok(SweepLimits::DEFAULT.bytes_per_second),
            Some(rate) if rate.0 >= SWEEP_RATE_MIN => Ok(rate.0),
            Some(rate) => {
                let allowed = format!("{} or more a second, or no such line", Size(SWEEP_RATE_MIN));
                Err(self.not_allowed(&format!("{key}.sweep_rate"), rate, allowed))
            }
        }
    }
}

/// True for `host:port`. An IPv6 address is in brackets.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let plain = !host.is_empty() && !host.contains([':', '[', ']', ' ']);
    (bracketed || plain) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "{71a27cdd-812a-11d0-bec7-08002be2092f}";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("service.toml"), text)
    }

    fn with(lines: &str) -> Result<Config, ConfigError> {
        parse(&format!("server = \"s:1\"\n[[volumes]]\nvolume = \"{GUID}\"\n{lines}"))
    }

    fn error_of(lines: &str) -> String {
        with(lines).unwrap_err().to_string()
    }

    #[test]
    fn the_shortest_valid_file_gives_the_defaults() {
        let config = with("").unwrap();
        let volume = &config.volumes[0];
        assert_eq!(volume.name.to_string(), GUID);
        assert_eq!((volume.block_size, volume.queue_bytes), (65_536, 256 << 20));
        assert_eq!((volume.hold_limit_ms, volume.overflow), (200, Overflow::Gap));
        assert_eq!(volume.sweep, SweepLimits::DEFAULT);
        assert_eq!(volume.resend_window, 128 << 20);
        assert!(volume.compress && volume.compare && volume.write_intent_log && !volume.paused);
        assert!(volume.used_blocks_only);
        assert!(config.state_dir.ends_with("state"));
    }

    #[test]
    fn every_setting_is_read() {
        let text = "block_size = 131072\nqueue_size = \"64 MiB\"\nhold_limit_ms = 5000\n\
                    overflow = \"hold\"\ndevice = '\\Device\\X'\n\
                    sweep_rate = \"100 MiB\"\nsweep_latency_ms = 0\n\
                    resend_window = \"1 GiB\"\ncompress = false\ncompare = false\n\
                    write_intent_log = false\nused_blocks_only = false\npaused = true";
        let volume = &with(text).unwrap().volumes[0];
        assert_eq!(volume.name, VolumeName::Device(r"\Device\X".into()));
        assert_eq!(format!("{{{}}}", volume.guid), GUID);
        assert_eq!((volume.block_size, volume.queue_bytes), (131_072, 64 << 20));
        assert_eq!((volume.hold_limit_ms, volume.overflow), (5000, Overflow::Hold));
        let sweep = SweepLimits { bytes_per_second: 100 << 20, latency_ms: 0 };
        assert_eq!(volume.sweep, sweep);
        assert_eq!(volume.resend_window, 1 << 30);
        assert!(!volume.compress && !volume.compare && !volume.write_intent_log && volume.paused);
        assert!(!volume.used_blocks_only);
    }

    #[test]
    fn a_device_without_a_volume_guid_gets_one_derived_from_its_path() {
        let text = "server = \"s:1\"\n[[volumes]]\ndevice = '\\Device\\X'";
        let volume = &parse(text).unwrap().volumes[0];
        assert_eq!(volume.guid, volume_of_device(r"\Device\X"));
    }

    #[test]
    fn an_error_names_the_file_the_key_and_the_allowed_values() {
        for (line, key, allowed) in [
            ("block_size = \"48 KiB\"", "volumes[0].block_size = 48 KiB", "16 KiB to 4 MiB"),
            ("block_size = 8192", "volumes[0].block_size = 8 KiB", "16 KiB to 4 MiB"),
            ("queue_size = \"8 GiB\"", "volumes[0].queue_size = 8 GiB", "64 MiB to 2 GiB"),
            ("hold_limit_ms = 0", "volumes[0].hold_limit_ms = 0", "1 to 50000"),
            ("hold_limit_ms = 50001", "volumes[0].hold_limit_ms = 50001", "1 to 50000"),
            ("sweep_rate = 0", "volumes[0].sweep_rate = 0 B", "1 MiB or more a second"),
            ("sweep_latency_ms = 10001", "volumes[0].sweep_latency_ms = 10001", "0 to 10000"),
            ("resend_window = \"8 MiB\"", "volumes[0].resend_window = 8 MiB", "16 MiB to 1 GiB"),
            ("device = 'C:'", "volumes[0].device = \"C:\"", "device path"),
        ] {
            let message = error_of(line);
            for part in ["service.toml", key, allowed] {
                assert!(message.contains(part), "{line}: {message}");
            }
        }
    }

    #[test]
    fn without_tls_the_server_must_be_on_this_machine() {
        let volume = format!("insecure = true\n[[volumes]]\nvolume = \"{GUID}\"");
        let on = |server: &str| parse(&format!("server = \"{server}\"\n{volume}"));
        assert!(on("127.0.0.1:4850").unwrap().insecure);
        assert!(!with("").unwrap().insecure);
        let message = on("192.0.2.1:4850").unwrap_err().to_string();
        assert!(message.contains("insecure = true") && message.contains("127.0.0.1"), "{message}");
    }

    #[test]
    fn a_file_is_read_in_every_encoding_that_windows_writes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("service.toml");
        let text = format!("server = \"s:1\"\r\n[[volumes]]\r\nvolume = \"{GUID}\"\r\n");
        let utf16 = |to: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to).collect::<Vec<_>>();
        for bytes in [
            text.as_bytes().to_vec(),
            [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
            [vec![0xff, 0xfe], utf16(u16::to_le_bytes)].concat(),
            [vec![0xfe, 0xff], utf16(u16::to_be_bytes)].concat(),
        ] {
            fs::write(&file, bytes).unwrap();
            assert_eq!(Config::load(&file).unwrap().server.unwrap(), "s:1");
        }
        fs::write(&file, utf16(u16::to_le_bytes)).unwrap();
        let refused = Config::load(&file).unwrap_err().to_string();
        assert!(refused.contains("service.toml") && refused.contains("UTF-16"), "{refused}");
        // A folder, as of any other thing that is no file.
        let refused = Config::load(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("a directory"), "{refused}");
        assert!(Config::load(&dir.path().join("missing")).unwrap_err().is_missing());
    }

    #[test]
    fn unknown_keys_and_values_are_errors_with_a_line_number() {
        let message = error_of("blocksize = 65536");
        assert!(message.contains("blocksize") && message.contains("line 4"), "{message}");
        assert!(error_of("overflow = \"wait\"").contains("wait"));
        assert!(error_of("block_size = \"64 KB\"").contains("64 KB"));
        assert!(error_of("block_size = -1").contains("negative"));
    }

    #[test]
    fn a_rate_of_sending_has_a_lowest_value() {
        assert_eq!(parse("").unwrap().send_rate, None);
        assert_eq!(parse("send_rate = \"20 MiB\"").unwrap().send_rate, Some(20 << 20));
        let refused = parse("send_rate = \"1023 KiB\"").unwrap_err().to_string();
        assert!(refused.contains("1 MiB or more"), "{refused}");
    }

    #[test]
    fn scripts_are_programs_with_their_whole_paths_and_have_a_limit() {
        let none = parse("").unwrap().scripts;
        assert!(!none.are_there() && none.limit.as_secs() == 60);
        let program = std::env::current_exe().unwrap();
        let of = |lines: &str| parse(&format!("[scripts]\n{lines}"));
        let with_program = |rest: &str| of(&format!("before = ['{}'{rest}", program.display()));
        let scripts = with_program(", 'a b']\nlimit_s = 600").unwrap().scripts;
        let before = scripts.before.clone().unwrap();
        assert_eq!((before.program, before.arguments), (program.clone(), vec!["a b".to_owned()]));
        assert!(scripts.are_there() && scripts.after.is_none() && scripts.limit.as_secs() == 600);
        for (lines, allowed) in [
            ("after = []", "whole path"),
            ("after = ['freeze.cmd']", "whole path"),
            ("limit_s = 0", "1 to 600"),
            ("limit_s = 601", "1 to 600"),
            ("during = ['x']", "during"),
        ] {
            let refused = of(lines).unwrap_err().to_string();
            assert!(refused.contains(allowed), "{lines}: {refused}");
        }
    }

    #[test]
    fn a_file_may_be_empty_and_volumes_need_a_server_and_differ() {
        let volume = format!("[[volumes]]\nvolume = \"{GUID}\"\n");
        for (text, server) in [("", None), ("server = \"s:1\"", Some("s:1".to_owned()))] {
            let config = parse(text).unwrap();
            assert_eq!((config.server, config.volumes.len()), (server, 0));
        }
        let twice = format!("server = \"s:1\"\n{volume}{volume}");
        assert!(parse(&twice).unwrap_err().to_string().contains("volumes[1]"));
        assert!(parse(&volume).unwrap_err().to_string().contains("server = nothing"));
        assert!(parse("server = \"s:1\"\n[[volumes]]\n").is_err(), "no name");
    }

    #[test]
    fn a_volume_may_name_its_server_and_a_group_has_one() {
        let volumes = |lines: [&str; 2]| {
            let [one, two] = lines;
            let other = GUID.replace("71a27cdd", "00000001");
            format!(
                "[[volumes]]\nvolume = \"{GUID}\"\n{one}\n[[volumes]]\nvolume = \"{other}\"\n{two}\n"
            )
        };
        let (own, group) = ("server = \"other:1\"", "group = \"sql\"");
        let config = parse(&format!("server = \"s:1\"\n{}", volumes([own, group]))).unwrap();
        let servers: Vec<_> = config.volumes.iter().map(|it| config.server_of(it)).collect();
        assert_eq!(servers, [Some("other:1"), Some("s:1")]);
        let connectors = config.connectors();
        let servers: Vec<_> = connectors.iter().map(Connector::server).collect();
        assert_eq!(servers, ["s:1", "other:1"]);
        assert_eq!(config.group("sql").count(), 1);
        assert!(parse(&volumes([own, own])).is_ok(), "none is needed for all");
        let refused = |text: &str| parse(text).unwrap_err().to_string();
        assert!(refused(&volumes([own, ""])).contains("server = nothing"));
        let both = format!("{own}\n{group}");
        let apart = format!("server = \"s:1\"\n{}", volumes([&both, group]));
        assert!(refused(&apart).contains("volumes[1].group"), "{}", refused(&apart));
        let together = format!("server = \"other:1\"\n{}", volumes([&both, group]));
        assert_eq!(parse(&together).unwrap().group("sql").count(), 2);
        let insecure = "insecure = true\nserver = \"127.0.0.1:1\"\n";
        let elsewhere = "server = \"192.0.2.1:1\"";
        assert!(refused(&format!("{insecure}{}", volumes([elsewhere, ""]))).contains("insecure"));
        for (line, key) in [("server = \"x\"", ".server"), ("group = \"s q\"", ".group")] {
            let message = error_of(line);
            assert!(message.contains(&format!("volumes[0]{key}")), "{message}");
        }
        let section = |number: usize| {
            let guid = GUID.replace("71a27cdd", &format!("{number:08x}"));
            format!("[[volumes]]\nvolume = \"{guid}\"\n{both}\n")
        };
        let many = |count: usize| (0..count).map(section).collect::<String>();
        assert!(parse(&many(GROUP_MAX)).is_ok());
        assert!(refused(&many(GROUP_MAX + 1)).contains("at most 24"));
    }

    #[test]
    fn a_server_address_has_a_host_and_a_port() {
        for good in ["s:1", "10.0.0.1:4850", "[::1]:4850"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "s", "s:", ":1", "s:0", "s:70000", "::1:4850", "[]:1", "a b:1"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
