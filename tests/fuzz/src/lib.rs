//! Fuzz targets: every parser of bytes that come from outside, for libFuzzer ([`targets`]).
//!
//! `corpus/TARGET` has inputs that cover the parser's code; `cargo xtask fuzz` mutates them, guided
//! by coverage, and `--keep` writes what it found back. The test below replays them without a
//! fuzzer. A target names how each input ended, and the corpus must reach every end: a corpus whose
//! inputs fail the first check proves nothing.

mod disk;
mod memory;
pub mod targets;

pub use targets::{TARGETS, Target};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder of this crate");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    fn corpus() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
    }

    #[test]
    fn every_target_takes_its_corpus_which_reaches_every_end() {
        let (len, peak) = memory::peak_of(|| vec![1_u8; 64 << 20].len());
        assert!(peak >= len, "what is allocated is counted");
        for target in &TARGETS {
            // libFuzzer keeps no empty file, and tries the empty input by itself.
            let mut reached: BTreeSet<_> = target.play(&[]).into_iter().collect();
            for file in files(&corpus().join(target.name)) {
                reached.extend(target.play(&fs::read(&file).expect("a file of the corpus")));
            }
            let missing: Vec<_> =
                target.reached.iter().filter(|end| !reached.contains(*end)).collect();
            let name = target.name;
            assert!(
                missing.is_empty(),
                "{name}: no input comes to {missing:?}. Has its format changed? Then run\n  \
                 cargo xtask fuzz {name} --seconds 300 --keep"
            );
        }
    }

    /// A format, and its target. One with no target has none because of what is said.
    type Format = (&'static str, Result<&'static str, &'static str>);

    /// The formats in each folder.
    const FORMATS: &[(&str, &[Format])] = &[
        (
            "server/src/format",
            &[
                ("acknowledged", Ok("repository")),
                ("bookmark", Ok("bookmark")),
                ("claim", Ok("marks")),
                ("codec", Err("reads nothing by itself: the parts of others")),
                ("cut", Err("a part of bookmarks and of unfinished images")),
                ("export", Ok("export")),
                ("fence", Ok("history")),
                ("floor", Ok("repository")),
                ("geometry", Err("a part of the session's header and of the state")),
                ("history", Ok("history")),
                ("index", Ok("index")),
                ("map", Ok("map")),
                ("mod", Err("heads and checksums of the others")),
                ("pin", Ok("marks")),
                ("point_key", Ok("text")),
                ("repository", Ok("repository")),
                ("sealed", Ok("sealed")),
                ("sealing", Ok("sealed")),
                ("segment", Ok("repository")),
                ("session", Ok("repository")),
                ("sessions", Ok("state")),
                ("slots", Err("the two slots of acknowledged ends and watermarks")),
                ("state", Ok("state")),
                ("unfinished", Ok("unfinished")),
                ("verified", Ok("marks")),
                ("watermark", Ok("marks")),
            ],
        ),
        (
            "wire/src",
            &[
                ("check", Ok("records")),
                ("compare", Ok("frames")),
                ("fetch", Ok("frames")),
                ("frame", Ok("frames")),
                ("id", Ok("text")),
                ("ioctl", Ok("control")),
                ("lib", Err("names the others")),
                ("record", Ok("records")),
                ("state_area", Ok("area")),
                ("verified", Ok("frames")),
            ],
        ),
    ];

    #[test]
    fn every_format_has_a_target() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for (folder, formats) in FORMATS {
            for file in files(&root.join(folder)).iter().filter(|file| file.is_file()) {
                let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
                let found = formats.iter().find(|(format, _)| *format == name);
                let (_, target) = found.unwrap_or_else(|| {
                    panic!("{folder}/{name}.rs has no fuzz target: write one, and list it here")
                });
                let Ok(target) = target else { continue };
                assert!(TARGETS.iter().any(|it| it.name == *target), "{target} is no target");
                let source = root.join(format!("tests/fuzz/src/targets/{target}.rs"));
                let source = fs::read_to_string(source).expect("the target's source");
                assert!(source.contains(&format!("{name}::")), "{target} does not use {name}");
            }
        }
    }

    #[test]
    fn every_corpus_belongs_to_a_target() {
        for folder in files(&corpus()) {
            let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(TARGETS.iter().any(|target| target.name == name), "{name}");
        }
    }
}
