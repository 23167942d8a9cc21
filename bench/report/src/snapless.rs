//! The contestant Snapless: the bench host with a session.

use std::time::Duration;

use snapless_bench::control::Client;
use snapless_bench::process::HostProcess;
use snapless_bench::protocol::{Comparison, Report};
use snapless_bench::spec::SessionSpec;

use crate::contestant::Contestant;
use crate::error::{Error, Result};
use crate::process;
use crate::statistics::now_ms;
use crate::wait::wait_for;

/// Longest first sync with its resync.
const SYNC_LIMIT: Duration = Duration::from_mins(5);

/// The host with a session.
pub struct Snapless {
    host: HostProcess,
    control: Client,
    spec: SessionSpec,
}

impl Snapless {
    /// The contestant `host`; the session begins later.
    pub fn new(host: HostProcess, spec: SessionSpec) -> Result<Self> {
        let control = host.control()?;
        Ok(Self { host, control, spec })
    }

    /// The state of the session; an error if its sink has failed.
    pub fn status(&mut self) -> Result<Report> {
        let report = self.control.status("v")?;
        if report.sink_failed {
            return Err(process::failed("snapless-bench", "the sink failed; its error is above"));
        }
        Ok(report)
    }

    /// Waits until every block is copied and every record processed.
    pub fn await_settled(&mut self) -> Result<Report> {
        wait_for("a sync", SYNC_LIMIT, || {
            let report = self.status()?;
            let copied = report.blocks_synced == report.blocks_total && report.consistent;
            Ok((copied && report.sink_seq >= report.last_seq).then_some(report))
        })
    }
}

impl Contestant for Snapless {
    fn uri(&self) -> String {
        self.host.uri("v")
    }

    fn begin(&mut self) -> Result<u64> {
        self.control.start("v", &self.spec)?;
        Ok(now_ms())
    }

    fn is_synced(&mut self) -> Result<bool> {
        let report = self.status()?;
        Ok(report.blocks_synced == report.blocks_total)
    }

    fn longest_hold_ms(&mut self) -> Result<Option<f64>> {
        #[allow(clippy::cast_precision_loss)]
        let longest = self.status()?.hold_longest_us as f64 / 1e3;
        Ok(Some(longest))
    }

    fn settle(&mut self, case: &str) -> Result<()> {
        self.await_settled()?;
        if !self.spec.sink.has_digest() {
            return Ok(());
        }
        check(case, &self.control.verify("v")?)
    }
}

/// An error unless stream and file are equal.
pub fn check(case: &str, found: &Comparison) -> Result<()> {
    match found.first_different {
        None => Ok(()),
        Some(first) => Err(Error::Differs { case: case.to_owned(), first }),
    }
}
