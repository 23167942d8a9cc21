//! Fuzz targets: every parser of bytes that come from outside, for libFuzzer ([`targets`]).
//!
//! `corpus/TARGET` has inputs that cover the parser's code; `cargo xtask fuzz` mutates them, guided
//! by coverage, and `--keep` writes what it found back. The test below replays them without a
//! fuzzer. A target names how each input ended, and the corpus must reach every end: a corpus whose
//! inputs fail the first check proves nothing.

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

    #[test]
    fn every_corpus_belongs_to_a_target() {
        for folder in files(&corpus()) {
            let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(TARGETS.iter().any(|target| target.name == name), "{name}");
        }
    }
}
