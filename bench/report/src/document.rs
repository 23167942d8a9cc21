//! `docs/benchmarks.md`: the table, the missed marks, the plots, the machine, the method.

use std::fmt::Write;

use crate::run::Plan;
use crate::table::{Row, markdown};

/// The page.
pub fn page(
    plan: &Plan,
    quick: bool,
    (depth, queue_mib): (usize, u32),
    machine: &[(String, String)],
    rows: &[Row],
    plots: &[&str],
) -> String {
    let mut text = String::from(INTRODUCTION);
    let kind = if quick {
        "\n**This is a quick run: one round on a small file. It shows that everything works, not \
         how fast.**\n"
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
        "\nFile: {mib} MiB of random bytes. Each measurement was made {rounds} (without a session \
         {more}); the contestants took turns. A number is the median, with the smallest and the \
         largest in parentheses. Ratios are computed within a round. The capture queue has \
         {queue_mib} MiB.\n"
    );
    if depth > 0 {
        let _ =
            write!(text, "\nThe option `--depth` limited the sweep to {depth} reads at once.\n");
    }
    text.push_str("\n## The table\n\n");
    text.push_str(&markdown(rows));
    text.push_str("\n## Missed marks\n\n");
    text.push_str(&missed_marks(rows));
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

const INTRODUCTION: &str = "# Benchmarks\n\
\n\
Written by `cargo xtask bench`; do not edit. The engine of Snapless in the bench host \
(`bench/`), compared with QEMU's `blockdev-backup` job and its copy-before-write filter: the \
same file, the same writers (fio over NBD on a unix socket), a target of the same kind, \
`io_uring` and `O_DIRECT` on both sides.\n";

const METHOD: &str = "\n\
## Method\n\
\n\
- fio logs every write with its time. Results of writers during a sync come from the part of the \
log between the sync's begin and end.\n\
- QEMU's file node has `locking=off`: otherwise its job cannot be inserted under a writable \
export. Its target is `null-co`, for the slow target below a `throttle` node.\n\
- The sink of Snapless discards records too, but keeps a checksum per sector. After each run \
with a whole copy the checksums are compared with the file; a difference ends the benchmark. \
Runs to the server end with a restore that is compared byte by byte; runs on the sparse volume \
write a copy whose data is compared. QEMU keeps no checksums; the rate of a first sync without \
writers is therefore given without them as well.\n\
- The cost of rundown protection without a session is measured on a file in memory, where only \
the host takes time.\n\
- The rows without a session on one and on all processors, of the session's lock and of writes \
held at once call the engine without files and clients (`snapless-bench alone`). The lock's holds \
are timed by the clock; where the system gave the processor to another thread they are longer, so \
the mark is on 99.9 % of them. The disk under the writes held at once is a model; its reads \
without the engine and with it take turns.\n\
- The raw read is the host's own: 1 MiB per read, 8 at once, on the same ring.\n\
- A block's read, which the easy rate is compared with, is the p99 of random reads of 64 KiB, \
one at a time, through the same host beside the same writers.\n\
- Histories are written by the server's code without a network: a first sync of the file, and \
writes of 4 KiB at random places, with a map after each eighth of the volume's length. A copy of \
the file, its restored image and what a mount reads are compared with the image; both sides end \
with a sync, and find what they read in the system's cache.\n";

fn missed_marks(rows: &[Row]) -> String {
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
            "- {case}: {measured}: {ours}; compared with {other}; ratio {ratio}, mark {mark}."
        );
    }
    text
}
