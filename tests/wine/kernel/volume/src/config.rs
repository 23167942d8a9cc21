//! What a scenario says about the test volume, from its service's `Parameters` key.
//!
//! The rule: a value that is there but makes no sense is an error, not a default.

use nt::{
    println,
    registry::Key,
    status::{Failure, Result},
    unicode::Wide,
};
use protocol::names::{DEFAULT_VOLUME_GUID, parameters};
use wdk_sys::{
    DO_BUFFERED_IO, DO_DIRECT_IO, STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_NOT_FOUND,
};

/// The scenario's choices.
pub(crate) struct Config {
    pub(crate) image_path: Wide,
    pub(crate) journal_path: Wide,
    pub(crate) seed: u32,
    pub(crate) workers: u32,
    pub(crate) slow_percent: u32,
    pub(crate) slow_ms: u32,
    pub(crate) jitter_us: u32,
    pub(crate) sector_size: u32,
    /// `DO_…`
    pub(crate) io_model: u32,
    pub(crate) volume_guid: Guid,
}

/// A GUID as its text and as Windows lays it out.
#[derive(Clone)]
pub(crate) struct Guid {
    /// With braces.
    pub(crate) text: alloc::string::String,
    pub(crate) bytes: [u8; 16],
}

impl Config {
    /// Reads the key below a service's registry path.
    pub(crate) fn read(service: &Wide) -> Result<Self> {
        let key = Key::open(&service.with(r"\Parameters")).inspect_err(|_| {
            println!("snapless-test-volume: the service has no Parameters key");
        })?;
        let volume_guid = match key.string(&Wide::new(parameters::VOLUME_GUID)) {
            Ok(text) => Guid::parse(&text.to_text())?,
            Err(Failure(STATUS_OBJECT_NAME_NOT_FOUND)) => Guid::parse(DEFAULT_VOLUME_GUID)?,
            Err(other) => return Err(other),
        };
        Ok(Self {
            image_path: path(&key, parameters::IMAGE_PATH)?,
            journal_path: path(&key, parameters::JOURNAL_PATH)?,
            seed: number(&key, parameters::SEED, 1, |_| true)?,
            workers: number(&key, parameters::WORKERS, 4, |value| (1..=64).contains(&value))?,
            slow_percent: number(&key, parameters::SLOW_PERCENT, 3, |value| value <= 100)?,
            slow_ms: number(&key, parameters::SLOW_MS, 30, |value| value <= 10_000)?,
            jitter_us: number(&key, parameters::JITTER_US, 0, |value| value <= 1_000_000)?,
            sector_size: number(&key, parameters::SECTOR_SIZE, 512, |value| {
                value == 512 || value == 4096
            })?,
            io_model: [DO_DIRECT_IO, DO_BUFFERED_IO, 0]
                [number(&key, parameters::IO_MODEL, 0, |value| value <= 2)? as usize],
            volume_guid,
        })
    }
}

impl Guid {
    fn parse(text: &str) -> Result<Self> {
        let digits = text.trim_matches(['{', '}']);
        let malformed = || {
            println!("snapless-test-volume: {text:?} is not a GUID");
            Failure(STATUS_INVALID_PARAMETER)
        };
        let lengths = [8, 4, 4, 4, 12];
        let mut bytes = [0; 16];
        let mut at = 0;
        let mut groups = digits.split('-');
        for length in lengths {
            let group =
                groups.next().filter(|group| group.len() == length).ok_or_else(malformed)?;
            let (start, end) = (at, at + length / 2);
            for index in 0..length / 2 {
                let pair = group.get(index * 2..index * 2 + 2).ok_or_else(malformed)?;
                bytes[at] = u8::from_str_radix(pair, 16).map_err(|_| malformed())?;
                at += 1;
            }
            // The first three groups are numbers, which Windows stores little-endian.
            if start < 8 {
                bytes[start..end].reverse();
            }
        }
        if groups.next().is_some() {
            return Err(malformed());
        }
        Ok(Self { text: alloc::format!("{{{digits}}}"), bytes })
    }
}

fn path(key: &Key, name: &str) -> Result<Wide> {
    key.string(&Wide::new(name)).inspect_err(|failure| {
        println!("snapless-test-volume: the value {name} (REG_SZ) is needed: {failure}");
    })
}

fn number(key: &Key, name: &str, default: u32, allowed: impl FnOnce(u32) -> bool) -> Result<u32> {
    match key.dword(&Wide::new(name)) {
        Ok(value) if allowed(value) => Ok(value),
        Ok(value) => {
            println!("snapless-test-volume: {name} = {value} is out of range");
            Err(Failure(STATUS_INVALID_PARAMETER))
        }
        Err(Failure(STATUS_OBJECT_NAME_NOT_FOUND)) => Ok(default),
        Err(failure) => {
            println!("snapless-test-volume: {name} cannot be read as REG_DWORD: {failure}");
            Err(failure)
        }
    }
}
