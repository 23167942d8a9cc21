//! What compression saves on the link and what it takes: that of the service, beside lz4, frame by
//! frame of 1 MiB on one thread.
//!
//! The files are those of this system's programs, as they lie below `/usr`: what a system volume
//! has.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fastrand::Rng;
use snapless_link::packing::{Packer, Sampler};

use super::{Cases, MIB};
use crate::content::Content;
use crate::error::{IoContext, Result};
use crate::run::in_turn;
use crate::statistics::Series;
use crate::table::Row;

/// Bytes of content.
const LEN: usize = 256 << 20;
/// Bytes of a frame.
const FRAME: usize = 1 << 20;
/// Where files are taken from.
const FILES: &str = "/usr";

/// Bytes a second, and bytes that are left of the content.
#[derive(Default)]
struct Measured {
    rate: Vec<f64>,
    left: usize,
}

impl Cases {
    // Lengths below 2^52.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn packing(&mut self) -> Result<()> {
        let made = |content: Content| {
            let mut bytes = vec![0; LEN];
            content.fill(&mut Rng::with_seed(1), &mut bytes);
            bytes
        };
        let contents = [
            ("files of programs", files(Path::new(FILES))?),
            (Content::Half.name(), made(Content::Half)),
            (Content::Random.name(), made(Content::Random)),
        ];
        for (name, content) in contents {
            let (mut ours, mut theirs) = (Measured::default(), Measured::default());
            for round in 0..self.plan.rounds {
                for index in in_turn(round, vec![0, 1]) {
                    if index == 0 {
                        pack(&content, &mut ours)?;
                    } else {
                        lz4(&content, &mut theirs)?;
                    }
                }
            }
            let rates = |it: &Measured| it.rate.iter().copied().collect::<Series>();
            let ratio: Series = ours.rate.iter().zip(&theirs.rate).map(|(a, b)| a / b).collect();
            let case = format!("link compression, {name}");
            self.rows.push(Row::new(
                &case,
                "MiB/s on one thread",
                rates(&ours).text(0),
                format!("lz4: {}", rates(&theirs).text(0)),
                ratio.text(2),
            ));
            let part = |it: &Measured| it.left as f64 / content.len() as f64;
            self.rows.push(Row::new(
                case,
                "part that is sent",
                format!("{:.3}", part(&ours)),
                format!("lz4: {:.3}", part(&theirs)),
                format!("{:.2}", part(&ours) / part(&theirs)),
            ));
        }
        Ok(())
    }
}

fn pack(content: &[u8], measured: &mut Measured) -> Result<()> {
    let mut packer = Packer::new().on("compress", Path::new("frames"))?;
    measure(content, measured, |frame| packer.pack(frame).map_or(frame.len(), <[u8]>::len));
    Ok(())
}

/// The same rule as the service's: samples first, and a frame that hardly shrinks stays.
fn lz4(content: &[u8], measured: &mut Measured) -> Result<()> {
    let mut sampler = Sampler::new().on("compress", Path::new("frames"))?;
    let mut packed = vec![0; lz4_flex::block::get_maximum_output_size(FRAME)];
    measure(content, measured, |frame| {
        if !sampler.shrinks(frame) {
            return frame.len();
        }
        let len = lz4_flex::block::compress_into(frame, &mut packed).unwrap_or(frame.len());
        if len < frame.len() / 8 * 7 { len } else { frame.len() }
    });
    Ok(())
}

// Lengths below 2^52.
#[allow(clippy::cast_precision_loss)]
fn measure(content: &[u8], measured: &mut Measured, mut pack: impl FnMut(&[u8]) -> usize) {
    let begun = Instant::now();
    measured.left = content.chunks(FRAME).map(&mut pack).sum();
    measured.rate.push(content.len() as f64 / MIB / begun.elapsed().as_secs_f64());
}

/// The first regular files below a folder, one after the other, as many as there is room for.
fn files(folder: &Path) -> Result<Vec<u8>> {
    let (mut bytes, mut folders) = (Vec::with_capacity(LEN), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).on("list", &folder)?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let Ok(kind) = fs::symlink_metadata(&path) else { continue };
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let mut file =
                    File::open(&path).on("open", &path)?.take((LEN - bytes.len()) as u64);
                file.read_to_end(&mut bytes).on("read", &path)?;
            }
            if bytes.len() == LEN {
                return Ok(bytes);
            }
        }
    }
    Ok(bytes)
}
