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
    let (mib, store_mib) = (plan.size >> 20, plan.store_size >> 20);
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "\nFile: {mib} MiB of random bytes. Each measurement was made {rounds} (without a session \
         {more}); the contestants took turns. A number is the median, with the smallest and the \
         largest in parentheses, or with the quartiles in brackets. Ratios are computed within a \
         round. The capture queue has {queue_mib} MiB. Volumes that are sent to repositories have \
         {store_mib} MiB.\n"
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
`io_uring` and `O_DIRECT` on both sides. Then the server's repository, compared with `dd`, with a \
copy of the image, with `qemu-nbd`, and with backups in fixed chunks.\n";

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
- Ingest is a first sync, from a process that has the volume in the system's cache to \
`snapless-server serve` over TCP on the loopback without TLS, until the last epoch is \
acknowledged. Epochs have 64 MiB. `dd` copies the same file with `bs=4M`, and syncs once; the \
same writes and syncs are those of the server without the server: 4 MiB at a time, and for each \
epoch a sync of the file, a write of 64 bytes and a sync of that. Half compressible content has \
in each 512 bytes 256 random ones. Bytes written are those of the server in `/proc/PID/io`. \
Memory is the largest `VmHWM` that was seen. Each repository is restored and compared with the \
file.\n\
- Histories before restores and mounts are written by the server's code without a network: a \
first sync of the file, and writes of 4 KiB at random places, with a map after each eighth of the \
volume's length. A copy of the file, its restored image and what a mount reads are compared with \
the image; both sides end with a sync, and find what they read in the system's cache, or nothing \
of it where the row says so.\n\
- Histories of an hour, a day and 30 days at 1,000 IOPS are written in the same way, without \
syncs. 30 days are 2.6 milliard writes of 4 KiB, 11 TB. The table says which part of the volume \
and of the writes there is; segments and the stream between two maps are divided by the same \
number. So the counts of segments and maps are those of the whole, and the records between a map \
and a point, the pieces of the volume and the lengths of the images are that part of it. An \
epoch, which is a frame, has a quarter of a segment. The other hour has all writes and all pieces \
of the volume, each write and each piece an eighth as long, and an epoch each second. Points are \
checked: restored images against copies of the image at t0, in the middle and at the end; a \
mount's first bytes, which are those of the last write. Bytes written are counted at the server's \
calls of the file system.\n\
- Fixed chunks are counted by a model of Proxmox Backup Server \
(`bench/report/src/chunk_store.rs`), from its documents and its source: chunks of 4 MiB with \
SHA-256 names, a dirty bitmap, zstd level 1, nothing pruned. What it writes is counted in whole \
blocks of 4 KiB. A twentieth of the volume is written in a day, in writes of 4 to 64 KiB, half of \
them 4 KiB. Regions of 4 MiB, which are those of the chunks, are written as often as Zipf says \
with the exponent 1. The volume has few regions, so that a larger part of them is written between \
two backups than of a large volume's. Snapless has a recovery point for each write, and an epoch \
for each three. Backups at each write are made for the first 256; the others are taken to cost as \
much. All that Snapless writes and stores counts, indices and acknowledged ends too, as \
`/proc/PID/io` and the lengths of the files say.\n";

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
