//! A message table: the texts of event ids, which Event Viewer takes from the file that an event
//! source names (docs: "Message Text Files", `MESSAGE_RESOURCE_DATA`). Compiled by `windmc`.
//!
//! Rule: an id has its severity in its two highest bits, and no facility: Event Viewer shows its
//! low 16 bits.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// The compiler, under the names that binutils gives it.
const COMPILERS: [&str; 2] = ["x86_64-w64-mingw32-windmc", "windmc"];
/// The table's file, as the source names it.
const TABLE: &str = "MSG00409.bin";
/// Severities by the two highest bits of an id.
const SEVERITIES: [&str; 4] = ["Success", "Informational", "Warning", "Error"];
/// Bytes in front of a message's text: its length and its flags.
const ENTRY_HEAD: usize = 4;
/// Bytes of a block: first id, last id, place of its messages.
const BLOCK: usize = 12;

/// A message: its id, and its text with `%1` and others for what an event inserts.
pub type Message = (u32, String);

/// Compiles messages in a folder; returns the table.
///
/// # Errors
/// The compiler is missing or refuses; a text is not ASCII, or more than one line.
pub fn compile(messages: &[Message], folder: &Path) -> io::Result<Vec<u8>> {
    let source = folder.join("messages.mc");
    fs::write(&source, text(messages)?)?;
    let run = |compiler: &str| {
        let mut command = Command::new(compiler);
        command.arg("-U").arg("-r").arg(folder).arg("-h").arg(folder).arg(&source).status()
    };
    let mut ended = run(COMPILERS[0]);
    for compiler in &COMPILERS[1..] {
        if ended.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            ended = run(compiler);
        }
    }
    let ended = ended.map_err(|error| {
        io::Error::new(error.kind(), format!("{} (binutils-mingw-w64): {error}", COMPILERS[0]))
    })?;
    if !ended.success() {
        return Err(io::Error::other(format!("windmc refuses {}: {ended}", source.display())));
    }
    fs::read(folder.join(TABLE))
}

/// The messages of a table, in order of their ids; `None` if it is damaged.
pub fn parse(table: &[u8]) -> Option<Vec<Message>> {
    let half = |at: usize| Some(u16::from_le_bytes(table.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(table.get(at..at + 4)?.try_into().ok()?));
    let mut messages = Vec::new();
    for block in 0..usize::try_from(word(0)?).ok()? {
        let block = 4 + block.checked_mul(BLOCK)?;
        let mut at = usize::try_from(word(block + 8)?).ok()?;
        for id in word(block)?..=word(block + 4)? {
            let len = usize::from(half(at)?);
            // Only Unicode.
            if half(at + 2)? != 1 || len < ENTRY_HEAD {
                return None;
            }
            let units: Vec<u16> = table
                .get(at + ENTRY_HEAD..at + len)?
                .chunks_exact(2)
                .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                .collect();
            let text = String::from_utf16(&units).ok()?;
            messages.push((id, text.trim_end_matches('\0').trim_end().to_owned()));
            at += len;
        }
    }
    Some(messages)
}

/// The source that the compiler takes.
fn text(messages: &[Message]) -> io::Result<String> {
    let head = "SeverityNames=(Success=0x0 Informational=0x1 Warning=0x2 Error=0x3)\n\
                LanguageNames=(English=0x0409:MSG00409)\n";
    let one = |(id, text): &Message| {
        let (severity, code) = (SEVERITIES[(id >> 30) as usize], id & 0xFFFF);
        if (id & 0x3FFF_0000) != 0 || !text.is_ascii() || text.contains('\n') {
            return Err(io::Error::other(format!("message {id:#x} cannot be compiled: {text}")));
        }
        Ok(format!(
            "\nMessageId={code}\nSeverity={severity}\nSymbolicName=MESSAGE_{code}\n\
             Language=English\n{text}\n.\n"
        ))
    };
    let messages: String = messages.iter().map(one).collect::<io::Result<_>>()?;
    Ok(format!("{head}{messages}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn messages() -> Vec<Message> {
        [(0x4000_0064, "%1%n%nits meaning"), (0x4000_0065, "%1"), (0xC000_0066, "100%% of %1")]
            .map(|(id, text)| (id, text.to_owned()))
            .to_vec()
    }

    #[test]
    fn what_is_compiled_is_read_again() {
        let folder = folder("messages-compiled");
        let table = compile(&messages(), &folder).unwrap();
        fs::remove_dir_all(folder).unwrap();
        assert_eq!(parse(&table), Some(messages()));
    }

    #[test]
    fn a_table_that_is_cut_off_is_refused() {
        let folder = folder("messages-cut");
        let table = compile(&messages(), &folder).unwrap();
        fs::remove_dir_all(folder).unwrap();
        // Its end fills up the last message.
        for len in 0..table.len() {
            assert_ne!(parse(&table[..len]), Some(messages()), "{len}");
        }
    }

    #[test]
    fn a_text_that_would_end_a_message_or_become_other_characters_is_refused() {
        for bad in [(0x4000_0001, "one\n.\ntwo"), (0x4000_0001, "é"), (0x0001_0001, "%1")] {
            assert!(text(&[(bad.0, bad.1.to_owned())]).is_err());
        }
    }
}
