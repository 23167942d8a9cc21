//! `snapless-fuzz`: one target under libFuzzer, whose arguments it takes. `cargo xtask fuzz` builds
//! it with coverage and names the target in `SNAPLESS_FUZZ_TARGET`. Without libFuzzer it plays the
//! corpora in a folder: `snapless-fuzz --replay FOLDER`.
#![cfg_attr(feature = "libfuzzer", no_main)]

#[cfg(feature = "libfuzzer")]
mod guided {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU8, Ordering};

    use snapless_fuzz::{TARGETS, Target};

    static TARGET: LazyLock<&Target> = LazyLock::new(|| {
        let name = std::env::var("SNAPLESS_FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("SNAPLESS_FUZZ_TARGET is `{name}`, which is no target"))
    });

    /// Coverage of the target's ends, so that the corpus has an input for each: libFuzzer reads and
    /// clears this section around every input.
    #[used]
    #[unsafe(link_section = "__libfuzzer_extra_counters")]
    static ENDS: [AtomicU8; 64] = [const { AtomicU8::new(0) }; 64];

    libfuzzer_sys::fuzz_target!(|input: &[u8]| {
        for end in TARGET.play(input) {
            let known = TARGET.reached.iter().position(|reached| *reached == end);
            if let Some(counter) = known.and_then(|index| ENDS.get(index)) {
                // Relaxed: one thread runs the target.
                counter.store(1, Ordering::Relaxed);
            }
        }
    });
}

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::io::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [option, corpora] = &arguments[..] else { return Err(no_fuzzer()) };
    if option != "--replay" {
        return Err(no_fuzzer());
    }
    for target in &snapless_fuzz::TARGETS {
        for file in std::fs::read_dir(std::path::Path::new(corpora).join(target.name))? {
            target.play(&std::fs::read(file?.path())?);
        }
    }
    Ok(())
}

#[cfg(not(feature = "libfuzzer"))]
fn no_fuzzer() -> std::io::Error {
    std::io::Error::other("this build has no fuzzer in it: run `cargo xtask fuzz`")
}
