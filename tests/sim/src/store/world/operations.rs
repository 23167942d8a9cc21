//! What each operation does, by the server's real code.

use std::path::Path;
use std::sync::Arc;

use snapless_server::error::Error;
use snapless_server::floor::{Floor, MinFree};
use snapless_server::fold::{collect, fold_into};
use snapless_server::format::repository::LOCK_FILE;
use snapless_server::indexer::Indexer;
use snapless_server::reader::SessionReader;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;

use super::{Connection, Operation, Stop, World};
use crate::store::check::image;
use crate::store::model::{Content, Model};
use crate::store::site::Site;
use crate::store::{StoreSabotage, broken};

/// One that another server's fold or collection keeps from its work is in order.
fn unless_other_folds(ended: Result<(), Error>) -> Result<(), Stop> {
    match ended {
        Err(Error::FoldRuns(_) | Error::OtherFolds(_)) => Ok(()),
        ended => Ok(ended?),
    }
}

impl World {
    /// Asks or tells the driver of the present session.
    fn driver<R>(&self, ask: impl FnOnce(&mut Model) -> R) -> R {
        self.drivers.of(self.current, ask)
    }

    pub(super) fn try_apply(&mut self, operation: Operation) -> Result<(), Stop> {
        match operation {
            Operation::Sync => self.send(Content::Sync),
            Operation::Write => self.send(Content::Writes),
            Operation::Gap => self.send(Content::Gap),
            Operation::Mark => self.mark(),
            Operation::State => {
                let connection = self.open(self.current)?;
                if let Some(state) = connection.ingest.state() {
                    connection.writer.keep_state_at_end(state);
                }
                Ok(())
            }
            Operation::Index => self.index(),
            Operation::Fold => self.fold(),
            Operation::Collect => self.collect(),
            Operation::FoldAndCollect => {
                self.fold()?;
                self.collect()
            }
            Operation::Restore => self.restore(),
            Operation::Reopen => {
                let connections = self.process.as_mut().map(|process| &mut process.connections);
                let closed = connections.and_then(|them| them.remove(&self.current));
                self.open_as_it_was(closed.as_ref())
            }
            Operation::Restart => {
                let process = self.process.take();
                self.kill();
                let connections = process.as_ref().map(|process| &process.connections);
                self.open_as_it_was(connections.and_then(|them| them.get(&self.current)))
            }
            Operation::Rival => self.rival(),
            Operation::Usurp => self.usurp(),
            Operation::Switch => {
                self.current = 1 - self.current;
                Ok(())
            }
            Operation::Forward | Operation::Back => {
                self.driver(|driver| driver.set_clock(operation == Operation::Forward));
                Ok(())
            }
        }
    }

    /// Opens the session again. The watermark that a connection left is there unless the disk
    /// has refused a call: it has lost nothing.
    fn open_as_it_was(&mut self, left: Option<&Connection>) -> Result<(), Stop> {
        let mark = self.driver(|driver| driver.last_mark());
        // To a bucket not each of them is stored.
        let is_kept = left.is_some_and(|left| left.has_mark) && !self.keeping.is_in_objects();
        let mark = mark.filter(|_| is_kept);
        let connection = self.open(self.current)?;
        let found = connection.ingest.state().and_then(|state| state.watermark());
        // One that cannot be read is left out: nothing depends on it.
        if mark.is_some() && found != mark && !self.storage.has_failed() {
            return Err(Stop::Broken(format!("the watermark is {found:?} and was {mark:?}")));
        }
        Ok(())
    }

    /// Sends an epoch, and acknowledges it once the server has.
    fn send(&mut self, content: Content) -> Result<(), Stop> {
        let is_fresh = self.open(self.current)?.is_fresh;
        let sent = self.driver(|driver| {
            let frames = driver.send(content, is_fresh)?;
            Some((frames, driver.sent()?))
        });
        let Some((frames, sent)) = sent else { return Ok(()) };
        let sabotage = self.sabotage;
        let Self { process: Some(process), drivers, current, .. } = self else { return Ok(()) };
        let Some(connection) = process.connections.get_mut(current) else { return Ok(()) };
        connection.is_fresh = false;
        let mut ends = None;
        for payload in &frames {
            ends = connection.store(payload)?;
        }
        let Some((epoch, seq)) = ends else {
            return Err(Stop::Broken("the end of an epoch is not seen".to_owned()));
        };
        let acknowledge = |connection: &Connection| {
            let has_mark = connection.has_mark;
            if drivers.of(*current, |driver| driver.acknowledge(&sent, has_mark)) {
                return Ok(());
            }
            let what = "an epoch is acknowledged that another server has replaced";
            Err(Stop::Broken(what.to_owned()))
        };
        if sabotage == Some(StoreSabotage::EarlyAcknowledgement) {
            acknowledge(connection)?;
        }
        match connection.writer.commit(epoch, seq) {
            Err(_) if sabotage == Some(StoreSabotage::SyncAgain) => {
                connection.writer.commit(epoch, seq)?;
            }
            committed => committed?,
        }
        acknowledge(connection)?;
        connection.has_mark = false;
        Ok(())
    }

    fn mark(&mut self) -> Result<(), Stop> {
        self.open(self.current)?;
        let mark = self.driver(|driver| {
            let (acknowledged, sent) = driver.counts();
            if acknowledged == sent { driver.mark() } else { None }
        });
        let (Some(mark), connection) = (mark, self.open(self.current)?) else { return Ok(()) };
        connection.has_mark = false;
        connection.mark(&mark)?;
        connection.has_mark = true;
        Ok(())
    }

    /// What the server does on another thread.
    fn index(&mut self) -> Result<(), Stop> {
        self.open(self.current)?;
        let header = self.driver(|driver| *driver.header());
        let repository = self.site().open()?;
        let store = repository.store();
        let indexer = Indexer::new(1, Floor::new(store.clone(), MinFree::NONE));
        indexer.look_at(SessionReader::open(store, header)?, &Arc::default());
        indexer.close();
        indexer.run(&StopFlag::default());
        Ok(())
    }

    /// What the server does on another thread.
    fn fold(&mut self) -> Result<(), Stop> {
        self.open(self.current)?;
        let Some(plan) = self.driver(|driver| driver.fold()) else { return Ok(()) };
        let site = match self.sabotage {
            Some(StoreSabotage::EarlyCollection | StoreSabotage::ForgottenMap)
                if !self.keeping.is_in_objects() =>
            {
                let store = broken::store(&self.storage, self.sabotage);
                Site::new(store, self.keeping.clone())
            }
            _ => self.site(),
        };
        let repository = site.open()?;
        let header = self.driver(|driver| *driver.header());
        let reader = SessionReader::open(repository.store(), header)?;
        let stop = StopFlag::default();
        let folded = fold_into(&reader, &plan, self.segment_bytes(), &stop, |_, _| ());
        unless_other_folds(folded.map(|_| ()))
    }

    /// What the server does on another thread.
    fn collect(&mut self) -> Result<(), Stop> {
        self.open(self.current)?;
        let (repository, header) = (self.site().open()?, self.driver(|driver| *driver.header()));
        let reader = SessionReader::open(repository.store(), header)?;
        let is_pinned = || match self.keeping.is_in_objects() {
            true if self.sabotage == Some(StoreSabotage::IgnoredLeases) => Ok(false),
            true => reader.pins().any_held(),
            // On the simulated disk nothing is pinned.
            false => Ok(false),
        };
        let collected = collect(&reader, is_pinned, &StopFlag::default());
        unless_other_folds(collected.map(|_| ()))
    }

    /// What another program does: it holds a pin of what it reads.
    fn restore(&mut self) -> Result<(), Stop> {
        let before = self.driver(|driver| driver.clone());
        let (epochs, _) = before.counts();
        if !before.is_whole(epochs) {
            return Ok(());
        }
        let repository = self.site().open()?.pinned_for("restore");
        for (at, want) in [(At::Latest, before.latest(epochs)), (At::T0, Some(&before.t0()[..]))] {
            let Some(want) = want else { continue };
            let is_kept = || self.driver(|driver| at != At::T0 || driver.t0_is_kept());
            match image(&repository, &before, at) {
                Ok(found) if found == want => {}
                // A newer point may be there meanwhile.
                Ok(found) if at == At::Latest && self.driver(|it| it.was(&found)) => {}
                Ok(_) => return Err(Stop::Broken(format!("{at:?} restores to other bytes"))),
                Err(Error::NotRestorable { .. }) if !is_kept() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn rival(&mut self) -> Result<(), Stop> {
        self.process()?;
        match self.site().open_writable() {
            Err(Error::Locked(_)) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) if self.keeping.is_in_objects() => Ok(()),
            Ok(_) => Err(Stop::Broken("two servers write at a time".to_owned())),
        }
    }

    /// Another server takes the session over while this one has an epoch under way, which must not
    /// be acknowledged and must not harm what the other one acknowledges.
    fn usurp(&mut self) -> Result<(), Stop> {
        self.open(self.current)?;
        let Some(mut old) = self.process.take() else { return Ok(()) };
        let Some(ghost) = old.connections.get_mut(&self.current) else { return Ok(()) };
        let mut lost = self.driver(|driver| driver.clone());
        // Not with the bytes that the other server gets.
        lost.go_back(lost.counts().0);
        let frames = lost.send(Content::Writes, ghost.is_fresh).unwrap_or_default();
        if !self.keeping.is_in_objects() {
            self.site().store().remove(Path::new(LOCK_FILE))?;
        }
        self.send(Content::Writes)?;
        let mut outcome = Ok(());
        for payload in &frames {
            outcome = outcome.and_then(|()| match ghost.store(payload)? {
                Some((epoch, seq)) => ghost.writer.commit(epoch, seq),
                None => Ok(()),
            });
        }
        match outcome {
            Ok(()) if !frames.is_empty() => {
                Err(Stop::Broken("two servers acknowledge the same epoch".to_owned()))
            }
            _ => Ok(()),
        }
    }
}
