//! The session of Windows Installer, and the entry point that `snapless.wxs` names.

use std::io;
use std::os::windows::process::CommandExt;
use std::process::{Command, Stdio};

use windows_strings::{HSTRING, w};
use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_SUCCESS};
use windows_sys::Win32::System::ApplicationInstallationAndServicing::{
    INSTALLMESSAGE, INSTALLMESSAGE_ERROR, INSTALLMESSAGE_INFO, MSIHANDLE, MsiCloseHandle,
    MsiCreateRecord, MsiGetPropertyW, MsiProcessMessage, MsiRecordSetStringW,
};
use windows_sys::Win32::System::Threading::CREATE_NO_WINDOW;

use crate::run::{self, Ended, Session};
use crate::task::Task;

/// Runs the setup program that the package names, and reports it.
#[unsafe(no_mangle)]
pub extern "system" fn RunSetup(install: MSIHANDLE) -> u32 {
    run::run(&mut Installer(install), launch)
}

fn launch(task: &Task) -> io::Result<Ended> {
    let output = Command::new(&task.program)
        .raw_arg(&task.arguments)
        .stdin(Stdio::null())
        .creation_flags(CREATE_NO_WINDOW)
        .output()?;
    Ok(Ended {
        code: output.status.code(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The installation that called this DLL.
struct Installer(MSIHANDLE);

impl Session for Installer {
    /// A deferred action reads no other property.
    fn data(&mut self) -> Result<String, String> {
        let name = w!("CustomActionData");
        let mut len = 0;
        let mut none = [0_u16];
        // SAFETY: the name is NUL-terminated; the buffer has room for the NUL that `len` of 0
        // allows.
        let code =
            unsafe { MsiGetPropertyW(self.0, name.as_ptr(), none.as_mut_ptr(), &raw mut len) };
        if code != ERROR_SUCCESS && code != ERROR_MORE_DATA {
            return Err(refused(code));
        }
        // Without the NUL, which the buffer has room for.
        len += 1;
        let mut units = vec![0_u16; usize::try_from(len).unwrap_or(0)];
        // SAFETY: the name is NUL-terminated; the buffer has `len` units.
        let code =
            unsafe { MsiGetPropertyW(self.0, name.as_ptr(), units.as_mut_ptr(), &raw mut len) };
        if code != ERROR_SUCCESS {
            return Err(refused(code));
        }
        units.truncate(usize::try_from(len).unwrap_or(0));
        Ok(String::from_utf16_lossy(&units))
    }

    fn log(&mut self, line: &str) {
        self.say(INSTALLMESSAGE_INFO, line);
    }

    fn fail(&mut self, message: &str) {
        self.say(INSTALLMESSAGE_ERROR, message);
    }
}

impl Installer {
    /// A message that cannot be sent is lost; the action's result is not.
    fn say(&self, kind: INSTALLMESSAGE, text: &str) {
        // SAFETY: makes a record with one field.
        let record = unsafe { MsiCreateRecord(1) };
        if record == 0 {
            return;
        }
        let text = HSTRING::from(text);
        // The text is a field, so that brackets in it are not taken for a format.
        // SAFETY: the record is open, the format NUL-terminated.
        unsafe { MsiRecordSetStringW(record, 0, w!("[1]").as_ptr()) };
        // SAFETY: the record is open, the text NUL-terminated.
        unsafe { MsiRecordSetStringW(record, 1, text.as_ptr()) };
        // SAFETY: session and record are open.
        unsafe { MsiProcessMessage(self.0, kind, record) };
        // SAFETY: the record is open and not used again.
        unsafe { MsiCloseHandle(record) };
    }
}

fn refused(code: u32) -> String {
    let why = io::Error::from_raw_os_error(code.cast_signed());
    format!("Windows Installer does not say what to run: {why}")
}
