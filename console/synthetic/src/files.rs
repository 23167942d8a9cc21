//! Files of a point: a small tree with every kind of entry.

use std::io::{Cursor, Read};

use snapless_console::estate::Download;
use snapless_console::fault::{Code, Fault, Result};
use snapless_console::model::{FileEntry, FileKind, Folder};

use crate::numbers::MIB;

/// Entries of a folder that are told at once.
const ENTRIES_MAX: usize = 1000;
/// Files in the folder that has many.
const MANY: usize = 2500;

fn entry(name: impl Into<String>, kind: FileKind, size: u64) -> FileEntry {
    FileEntry {
        name: name.into(),
        kind,
        size: (kind == FileKind::File).then_some(size),
        modified_ms: Some(1_790_000_000_000),
        attributes: Vec::new(),
        unreadable: None,
    }
}

fn unreadable(name: &str, attribute: &str, why: &str) -> FileEntry {
    let (attributes, unreadable) = (vec![attribute.to_owned()], Some(why.to_owned()));
    FileEntry { attributes, unreadable, ..entry(name, FileKind::File, 12_345) }
}

fn entries(path: &str) -> Option<Vec<FileEntry>> {
    let mut found = match path {
        "/" => vec![
            entry("Data", FileKind::Folder, 0),
            entry("Many", FileKind::Folder, 0),
            entry("Link", FileKind::Link, 0),
            entry("readme.txt", FileKind::File, 4096),
            entry("<img src=x onerror=alert(1)>.txt", FileKind::File, 100),
            unreadable("old.log", "compressed", "NTFS has compressed it: mount the point"),
            unreadable("secret.docx", "encrypted", "EFS has encrypted it: mount the point"),
        ],
        "/Data" => vec![
            entry("2026", FileKind::Folder, 0),
            entry("big.vhdx", FileKind::File, 64 * MIB),
            entry("Zürich \"plan\".pdf", FileKind::File, 3 * MIB),
        ],
        "/Data/2026" => vec![entry("empty.txt", FileKind::File, 0)],
        "/Many" => {
            (0..MANY).map(|n| entry(format!("file-{n:05}.dat"), FileKind::File, 512)).collect()
        }
        _ => return None,
    };
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Some(found)
}

pub(crate) fn folder(at_ms: u64, path: &str, after: Option<&str>) -> Result<Folder> {
    let trimmed = if path == "/" { path } else { path.trim_end_matches('/') };
    let all = entries(trimmed).ok_or_else(|| Fault::not_found("there is no such folder"))?;
    let behind = all.into_iter().filter(|it| after.is_none_or(|after| it.name.as_str() > after));
    let mut entries: Vec<_> = behind.take(ENTRIES_MAX + 1).collect();
    let more = entries.len() > ENTRIES_MAX;
    entries.truncate(ENTRIES_MAX);
    let (file_system, path) = ("NTFS 3.1".to_owned(), trimmed.to_owned());
    Ok(Folder { at_ms: Some(at_ms), file_system, path, entries, more })
}

pub(crate) fn file(path: &str) -> Result<Download> {
    let missing = || Fault::not_found("there is no such file");
    let (folder, name) = path.rsplit_once('/').ok_or_else(missing)?;
    let folder = if folder.is_empty() { "/" } else { folder };
    let entries = entries(folder).ok_or_else(missing)?;
    let found = entries.into_iter().find(|it| it.name == name).ok_or_else(missing)?;
    if let Some(why) = found.unreadable {
        return Err(Fault::new(Code::Unreadable, why));
    }
    let Some(size) = found.size else {
        return Err(Fault::new(Code::Unreadable, "it is no file"));
    };
    let line = Cursor::new(format!("{name}\n"));
    let content = line.chain(std::io::repeat(b'.'));
    Ok(Download { name: found.name, size, content: Box::new(content) })
}
