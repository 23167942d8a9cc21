//! `docs/benchmarks.md`: the table, the plots, the machine, and what was not reached.

use std::fmt::Write;

use crate::run::Plan;
use crate::table::{Row, markdown};

/// The page.
pub fn page(
    plan: &Plan,
    quick: bool,
    depth: usize,
    machine: &[(String, String)],
    rows: &[Row],
    plots: &[&str],
) -> String {
    let mut text = String::from(INTRODUCTION);
    let kind = if quick {
        "\n**This is a quick run: few rounds on a small file. Its numbers tell that everything works, not how fast.**\n"
    } else {
        ""
    };
    text.push_str(kind);
    let times =
        |count: usize| if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let (rounds, more) = (times(plan.rounds), times(2 * plan.rounds));
    let mib = plan.size >> 20;
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "\nFile: {mib} MiB of random bytes. Each measurement was made {rounds} (without a session {more}), the \
         contestants taking turns; a number is the median, with the smallest and the largest in parentheses. \
         Ratios are made within a round.\n"
    );
    if depth > 0 {
        let _ = write!(
            text,
            "\nThe sweep was limited to {depth} reads at a time, by the option `--depth`.\n"
        );
    }
    text.push_str("\n## The table\n\n");
    text.push_str(&markdown(rows));
    text.push_str("\n## Where it falls short\n\n");
    text.push_str(&shortfalls(rows));
    text.push_str("\n## During the first sync\n\n");
    for plot in plots {
        let _ = writeln!(text, "![{plot}](benchmarks/{plot})\n");
    }
    text.push_str("## The machine\n\n| | |\n| --- | --- |\n");
    for (name, value) in machine {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text.push_str(METHOD);
    text
}

const INTRODUCTION: &str = "# Benchmarks\n\n\
Written by `cargo xtask bench`; do not edit. The engine of Snapless in the bench host (`bench/`), side by side with \
QEMU's `blockdev-backup` job and its copy-before-write filter: the same file, the same writers (fio over NBD on a unix \
socket), a target of the same kind, `io_uring` and `O_DIRECT` on both sides.\n";

const METHOD: &str = "\n## How it is measured\n\n\
- fio logs every write with its time; what is said of writers during a sync is cut from its log by the times at which \
the sync began and ended.\n\
- QEMU's file node has `locking=off`: else its job cannot be put under an export that writes. Its target is `null-co`, \
for the slow target below a `throttle` node.\n\
- Our sink for the same cases forgets what it takes, but keeps a checksum for each sector; after each run that ends \
with a whole copy these are compared with the file, and a difference ends the benchmark. Runs to the server end with a \
restore that is compared byte by byte; those of the sparse volume write a copy, whose data are compared. QEMU keeps \
nothing of the kind, and is not charged for it.\n\
- What the gate costs without a session is measured on a file in memory, where nothing but the host takes time.\n\
- The raw read is the host's own: 1 MiB at a time, 8 under way, with the same ring.\n\
- A block's read, which the easy rate is compared with, is the p99 of 64 KiB random reads one at a time through the \
same host beside the same writers.\n";

fn shortfalls(rows: &[Row]) -> String {
    let missed: Vec<&Row> = rows.iter().filter(|row| row.reached == Some(false)).collect();
    if missed.is_empty() {
        return "Every mark is reached.\n".to_owned();
    }
    let mut text = String::new();
    for row in missed {
        let Row { case, measured, ours, other, ratio, mark, .. } = row;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "- {case}: {measured}: {ours}, against {other}; the ratio is {ratio}, the mark {mark}."
        );
    }
    text
}
