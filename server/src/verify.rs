//! Verifies a repository: reads every byte, checks every checksum and every rule of every stream.

use std::path::{Path, PathBuf};

use serde::Serialize;
use snapless_wire::frame::{FrameKind, Watermark};
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::record::Records;

use crate::checks::{Checker, Checks};
use crate::error::{Damage, Error, Result};
use crate::export;
use crate::fold;
use crate::format::FormatError;
use crate::format::export::EXPORT_FILE;
use crate::format::history::KeptSegment;
use crate::format::map::MapNumber;
use crate::format::repository::{REPOSITORY_FILE, session_dir, volume_dir};
use crate::format::segment::SegmentNumber;
use crate::format::session::SESSION_FILE;
use crate::format::sessions::{ENTRY_LEN, KnownSession, KnownSessions, SESSIONS_FILE, known_file};
use crate::format::state::Checkpoint;
use crate::point::keep;
use crate::reader::claims::{Claims, read_claim};
use crate::reader::{IndexReader, SegmentReader, SessionReader};
use crate::repository::{Presence, Repository};
use crate::shown_name::ShownName;
use crate::stop::StopFlag;
use crate::stream::StreamState;

/// Bytes read ahead.
const BUFFER_BYTES: usize = 1 << 20;

/// The result of a verification.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// Sessions that were read.
    pub sessions: u64,
    /// Entries whose checksum is right.
    pub entries: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// The repository is encrypted and its key was not given: only the checksums of what is stored
    /// were checked. The key may not open it, and streams may break their rules.
    pub without_key: bool,
    /// All damage.
    pub damage: Vec<Finding>,
    /// Sessions with blocks that the volume's disk could not read. That is no damage of what is
    /// stored, but images have zeros there.
    pub holes: Vec<Holes>,
    /// Sessions whose volume was read again to verify the copy, and what came of comparing both.
    pub checks: Vec<Checks>,
}

impl Report {
    /// True if a copy is not what its volume had, though what is stored may be sound.
    pub fn differs(&self) -> bool {
        self.checks.iter().any(Checks::differ)
    }
}

/// Blocks of a session that the volume's disk could not read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Holes {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// Blocks with unread bytes at the last instant. A block counts until it is written as a whole.
    pub blocks: u64,
    /// The same of the t0 image.
    pub blocks_at_t0: u64,
}

/// One damaged place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The volume; `None` for a file of the whole repository.
    pub volume: Option<String>,
    /// The session; `None` for a file of the whole repository.
    pub session: Option<String>,
    /// The file.
    #[serde(flatten)]
    pub file: ShownName,
    /// The byte in it, where it is known.
    pub offset: Option<u64>,
    /// What is wrong.
    pub error: String,
}

/// How far a verification has come, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Read so far.
    pub done: u64,
    /// To read in all.
    pub total: u64,
}

/// What is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// This volume; without it, all, and the files of the whole repository.
    pub volume: Option<VolumeGuid>,
    /// This session; without it, all of the volumes that are verified.
    pub session: Option<SessionId>,
}

/// Verifies a whole repository. Damage is in the report; only a stop, or a directory that cannot be
/// listed, is an error.
pub fn verify(
    repository: &Repository,
    stop: &StopFlag,
    progress: impl FnMut(Progress),
) -> Result<Report> {
    verify_selected(repository, &Selection::default(), stop, progress)
}

/// [`verify`] for a volume, or a session.
///
/// # Errors
/// As for [`verify`]; [`Error::NoVolume`] and [`Error::NoSession`] for what the repository neither
/// has nor must have.
pub fn verify_selected(
    repository: &Repository,
    selection: &Selection,
    stop: &StopFlag,
    progress: impl FnMut(Progress),
) -> Result<Report> {
    let sessions = selection.sessions(repository)?;
    let mut found = Vec::new();
    if selection.session.is_none() {
        found.extend(bookmarks(repository, selection.volume)?);
        found.extend(volumes(repository, selection.volume)?);
    }
    let mut readers = Vec::new();
    for (volume, session) in sessions {
        match open(repository, volume, session) {
            Ok(reader) => readers.extend(reader),
            Err(error) => found.push(finding(repository, volume, session, &error)),
        }
    }
    if selection.volume.is_none() && selection.session.is_none() {
        found.extend(list_damage(repository, &readers)?);
        let header = || repository.store().locate(Path::new(REPOSITORY_FILE));
        found.extend(repository.header_damage()?.map(|error| Finding::of(&error, header)));
        let mark = || repository.store().locate(Path::new(EXPORT_FILE));
        found.extend(export::damage(repository).map(|error| Finding::of(&error, mark)));
    }
    // A segment that cannot be sized is found again, and reported, when it is read.
    let total = readers.iter().map(|reader| reader.stored_bytes().unwrap_or(0)).sum();
    let mut verifier = Verifier {
        report: Report {
            damage: found,
            without_key: repository.store().seal().is_locked(),
            ..Report::default()
        },
        total,
        progress,
        stop,
        repository,
    };
    for reader in &readers {
        verifier.session(reader)?;
    }
    Ok(verifier.report)
}

impl Selection {
    /// The sessions that are selected, and must be there or are.
    pub(crate) fn sessions(&self, repository: &Repository) -> Result<Vec<(VolumeGuid, SessionId)>> {
        let known = repository.volumes()?;
        if let Some(volume) = self.volume.filter(|volume| !known.contains(volume)) {
            return Err(Error::NoVolume { volume, known });
        }
        let mut sessions = Vec::new();
        for &volume in known.iter().filter(|known| self.volume.is_none_or(|it| it == **known)) {
            let of_volume = repository.session_ids(volume)?.into_iter();
            let selected = of_volume.filter(|id| self.session.is_none_or(|session| session == *id));
            sessions.extend(selected.map(|session| (volume, session)));
        }
        match (self.volume, self.session) {
            (Some(volume), Some(session)) if sessions.is_empty() => {
                Err(Error::NoSession { volume, session })
            }
            (None, Some(session)) if sessions.is_empty() => Err(Error::NoSuchSession(session)),
            _ => Ok(sessions),
        }
    }
}

/// The damage of the list of sessions.
fn list_damage(repository: &Repository, readers: &[SessionReader]) -> Result<Vec<Finding>> {
    if repository.store().objects().is_some() {
        return known_objects_damage(repository);
    }
    let known = repository.known()?;
    // A session is in the list before anything of it is acknowledged: what looks like a torn entry
    // was one that is missed now.
    let is_missed = readers.iter().any(|reader| {
        let header = reader.header();
        reader.acknowledged().epoch.get() > 0 && !known.has(header.volume, header.session)
    });
    let torn = known.torn.filter(|_| is_missed);
    let found = known.damage.or(torn).map(|(offset, why)| Finding {
        volume: None,
        session: None,
        file: repository.store().locate(Path::new(SESSIONS_FILE)).into(),
        offset: Some(offset),
        error: why.to_string(),
    });
    Ok(found.into_iter().collect())
}

/// The damage of the objects that say which sessions must be there. Their names say that; what is
/// in them is read here alone.
fn known_objects_damage(repository: &Repository) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for KnownSession { volume, session, .. } in repository.known()?.sessions {
        let path = known_file(volume, session);
        let bytes = match repository.store().read_head(&path, ENTRY_LEN) {
            Ok(bytes) => bytes,
            // It was removed meanwhile.
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        let entry = KnownSessions::read(&bytes);
        if !entry.has(volume, session) {
            let why =
                entry.damage.or(entry.torn).map_or(FormatError::Content("identity"), |it| it.1);
            let error = Error::damaged(&repository.store().locate(&path), 0, why);
            found.push(finding(repository, volume, session, &error));
        }
    }
    Ok(found)
}

/// The damage of bookmarks.
fn bookmarks(repository: &Repository, volume: Option<VolumeGuid>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for bookmark in repository.bookmarks(volume)? {
        if let Err(error) = bookmark.bookmark {
            let file = || repository.store().locate(&bookmark.name.file(bookmark.volume));
            let volume = Some(bookmark.volume.to_string());
            found.push(Finding { volume, offset: None, ..Finding::of(&error, file) });
        }
    }
    Ok(found)
}

/// What stands in the place of volumes' directories.
fn volumes(repository: &Repository, selected: Option<VolumeGuid>) -> Result<Vec<Finding>> {
    let known = repository.volumes()?.into_iter();
    let wanted = known.filter(|volume| selected.is_none_or(|selected| selected == *volume));
    let found = wanted.filter_map(|volume| {
        let error = repository.volume_damage(volume)?;
        let file = || repository.store().locate(&volume_dir(volume));
        Some(Finding { volume: Some(volume.to_string()), ..Finding::of(&error, file) })
    });
    Ok(found.collect())
}

/// Opens a session; `None` for a directory whose session was never finished. A session that the
/// repository must have and has not is damage.
fn open(
    repository: &Repository,
    volume: VolumeGuid,
    session: SessionId,
) -> Result<Option<SessionReader>> {
    match repository.session(volume, session)? {
        Presence::Header(header) => repository.open_session(header).map(Some),
        Presence::Nothing => Ok(None),
    }
}

fn finding(
    repository: &Repository,
    volume: VolumeGuid,
    session: SessionId,
    error: &Error,
) -> Finding {
    let [id, of] = [volume.to_string(), session.to_string()].map(Some);
    let file = || repository.store().locate(&session_dir(volume, session).join(SESSION_FILE));
    Finding { volume: id, session: of, ..Finding::of(error, file) }
}

impl Finding {
    /// What an error says, in a file of the whole repository; in `other` if it names none.
    fn of(error: &Error, other: impl FnOnce() -> PathBuf) -> Self {
        let (file, offset) = match error {
            Error::Damaged { path, offset, .. } => (path.clone(), Some(*offset)),
            Error::File { path, .. } => (path.clone(), None),
            _ => (other(), None),
        };
        let error = match error {
            Error::Damaged { why, .. } => why.to_string(),
            other => other.to_string(),
        };
        Self { volume: None, session: None, file: file.into(), offset, error }
    }
}

struct Verifier<'a, P> {
    report: Report,
    total: u64,
    progress: P,
    stop: &'a StopFlag,
    repository: &'a Repository,
}

/// Whether the stream's rules can still be checked.
enum Rules {
    Checked(Box<StreamState>),
    /// The stream begins later, with this state: after a fold.
    Before(Box<StreamState>),
    /// Damage hid records: the rules cannot be checked from there on.
    Lost,
}

impl<P: FnMut(Progress)> Verifier<'_, P> {
    fn session(&mut self, reader: &SessionReader) -> Result<()> {
        self.report.sessions += 1;
        if self.report.without_key {
            return self.stored_session(reader);
        }
        let verified = reader.verified().map(|_| ());
        let marks = [
            reader.check_acknowledgement(),
            reader.check_age(),
            reader.check_watermark(),
            verified,
        ];
        for checked in marks {
            if let Err(error) = checked {
                self.found(reader, error)?;
            }
        }
        let kept = match reader.read_state() {
            Ok(kept) => kept,
            Err(error) => {
                self.found(reader, error)?;
                None
            }
        };
        self.kept(reader)?;
        let mut checking = Checking::On(Box::new(Checker::new(reader, self.stop)));
        let mut rules = match reader.begin() {
            Ok(None) => Rules::Checked(Box::new(StreamState::new(reader.header().geometry))),
            Ok(Some((_, state))) => Rules::Before(Box::new(state)),
            // It was found already.
            Err(_) => Rules::Lost,
        };
        for number in reader.segments() {
            let result = match reader.segment(number, BUFFER_BYTES) {
                Ok(segment) => {
                    let kept = kept.as_ref().filter(|(at, _)| at.segment == number);
                    let index = self.index(reader, number)?;
                    let is_open = number == reader.acknowledged().segment;
                    self.segment(
                        reader,
                        segment,
                        (index, is_open),
                        (&mut rules, &mut checking),
                        kept,
                    )
                }
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                self.found(reader, error)?;
                rules = Rules::Lost;
                checking.end("the stream is damaged before them");
            }
            // Later segments are of the stream whatever is in them.
            rules.reach(true);
        }
        for number in reader.claims().into_iter().flat_map(Claims::behind_end) {
            if let Err(error) =
                read_claim(reader.store(), reader.dir(), reader.header().ids(), number)
            {
                self.found(reader, error)?;
            }
        }
        for number in reader.maps()? {
            // The boundary's was checked with what a fold has kept.
            if reader
                .history()
                .is_some_and(|history| MapNumber::of(history.boundary.place.seq) == number)
            {
                continue;
            }
            if let Err(error) = keep::check(reader, number) {
                self.found(reader, error)?;
            }
        }
        self.report.checks.extend(checking.finish()?);
        if let Rules::Checked(state) = rules {
            self.note_holes(reader, &state);
            if let Err(error) = reader.check_end(&state) {
                self.found(reader, error)?;
            }
        }
        Ok(())
    }

    /// Checks what a fold has kept: its maps, and the segments before the begin of the stream.
    fn kept(&mut self, reader: &SessionReader) -> Result<()> {
        let mut found = Vec::new();
        let touched = fold::check(reader, self.stop, |error| {
            found.push(error);
            Ok(())
        })?;
        let segments = reader.history().map_or(&[][..], |history| &history.segments);
        for KeptSegment { number, len } in segments {
            let mut damage = |error: Error, entry| found.push(touched.name(error, *number, entry));
            let mut segment = match reader.segment(*number, BUFFER_BYTES) {
                Ok(segment) => segment,
                Err(error) => {
                    damage(error, None);
                    continue;
                }
            };
            if segment.end() != *len {
                damage(segment.damage(Damage::Truncated(*len)), None);
            }
            match self.kept_segment(&mut segment, &mut damage) {
                Err(Error::Stopped) => return Err(Error::Stopped),
                Err(error) => damage(error, None),
                Ok(()) => {}
            }
        }
        found.into_iter().try_for_each(|error| self.found(reader, error))
    }

    /// Reads a segment before the begin of the stream, whose records follow no rules.
    fn kept_segment(
        &mut self,
        segment: &mut SegmentReader,
        damage: &mut impl FnMut(Error, Option<u64>),
    ) -> Result<()> {
        let mut payload = Vec::new();
        while segment.next_entry()? {
            if self.stop.is_set() {
                return Err(Error::Stopped);
            }
            let checked = match segment.load(&mut payload) {
                Ok(frame) => segment.index_of(frame, &payload).map(|_| ()),
                Err(error) => Err(error),
            };
            match checked {
                Ok(()) => self.report.entries += 1,
                Err(error) if is_truncated(&error) => return Err(error),
                Err(error) => {
                    damage(error, Some(segment.entry_start()));
                    segment.skip_damaged()?;
                }
            }
            self.tell_progress(segment);
        }
        Ok(())
    }

    /// Checks what can be checked without the key.
    fn stored_session(&mut self, reader: &SessionReader) -> Result<()> {
        let verified = reader.verified().map(|_| ());
        for checked in [reader.check_acknowledgement(), reader.check_stored_state(), verified] {
            if let Err(error) = checked {
                self.found(reader, error)?;
            }
        }
        let kept = reader.history().map_or(&[][..], |history| &history.segments);
        let kept: Vec<_> = kept.iter().map(|segment| segment.number).collect();
        for number in kept.into_iter().chain(reader.segments()) {
            if let Err(error) = self.stored_segment(reader, number) {
                self.found(reader, error)?;
            }
            let is_log = !number.is_compacted() && number >= reader.begin_place().0;
            let is_finished = is_log && number < reader.acknowledged().segment;
            if is_finished && let Err(error) = check_stored_index(reader, number) {
                self.found(reader, error)?;
            }
        }
        for (index, point) in reader.history().iter().flat_map(|it| it.points.iter().enumerate()) {
            if let Err(error) = reader.stored_retained_root(index, point) {
                self.found(reader, error)?;
            }
        }
        for number in reader.maps()? {
            if let Err(error) = reader.stored_root(number) {
                self.found(reader, error)?;
            }
        }
        Ok(())
    }

    fn stored_segment(&mut self, reader: &SessionReader, number: SegmentNumber) -> Result<()> {
        let mut segment = reader.stored_segment(number, BUFFER_BYTES)?;
        let mut stored = Vec::new();
        while segment.next_entry()? {
            if self.stop.is_set() {
                return Err(Error::Stopped);
            }
            match segment.check_stored(&mut stored) {
                Ok(()) => self.report.entries += 1,
                Err(error) => {
                    self.damaged_entry(reader, &mut segment, error)?;
                }
            }
            self.tell_progress(&segment);
        }
        // A fold has noted how long those are that it has kept.
        match reader.kept_len(number) {
            Some(len) => segment.check_end(len),
            None => reader.check_whole(&segment),
        }
    }

    /// Adds damage inside an entry to the report and goes on behind it. Damage that hides where the
    /// next entry begins stays an error.
    fn damaged_entry(
        &mut self,
        reader: &SessionReader,
        segment: &mut SegmentReader,
        error: Error,
    ) -> Result<()> {
        if is_truncated(&error) {
            return Err(error);
        }
        self.found(reader, error)?;
        segment.skip_damaged()
    }

    fn tell_progress(&mut self, segment: &SegmentReader) {
        self.report.bytes += segment.entry_end() - segment.entry_start();
        let (done, total) = (self.report.bytes, self.total);
        (self.progress)(Progress { done, total });
    }

    fn note_holes(&mut self, reader: &SessionReader, state: &StreamState) {
        let (blocks, blocks_at_t0) = (state.blocks_with_holes(), state.blocks_with_holes_at_t0());
        if blocks == 0 && blocks_at_t0 == 0 {
            return;
        }
        let header = reader.header();
        let [volume, session] = [header.volume.to_string(), header.session.to_string()];
        self.report.holes.push(Holes { volume, session, blocks, blocks_at_t0 });
    }

    /// The index of a segment. That of the last one is not durable yet, and a server may be writing
    /// it: it is no damage if it ends early, wherever that is.
    fn index(
        &mut self,
        reader: &SessionReader,
        number: SegmentNumber,
    ) -> Result<Option<IndexReader>> {
        match reader.open_index(number) {
            Err(error) if number == reader.acknowledged().segment && error.is_damage() => Ok(None),
            Err(error) => self.found(reader, error).map(|()| None),
            opened => opened,
        }
    }

    /// Reads a segment; `kept` is the state that was kept in it. Damage inside an entry is
    /// reported, and the next entry is read. Damage that hides where the next entry begins is an
    /// error and ends the segment.
    fn segment(
        &mut self,
        reader: &SessionReader,
        mut segment: SegmentReader,
        (mut index, is_open): (Option<IndexReader>, bool),
        (rules, checking): (&mut Rules, &mut Checking<'_>),
        kept: Option<&(Checkpoint, StreamState)>,
    ) -> Result<()> {
        let mut payload = Vec::new();
        let begin = reader.begin_place().1;
        while segment.next_entry()? {
            if self.stop.is_set() {
                return Err(Error::Stopped);
            }
            rules.reach(segment.entry_start() >= begin);
            let checked = segment.load(&mut payload).and_then(|frame| {
                self.report.entries += 1;
                rules.check(frame.kind(), &payload).map_err(|why| segment.damage(why))?;
                if matches!(rules, Rules::Checked(_)) && frame.kind() == FrameKind::Records {
                    checking.take(&payload)?;
                }
                segment.index_of(frame, &payload)
            });
            let said = match (&checked, &mut index) {
                (Ok(entry), Some(index)) => index.expect(Some(entry)),
                _ => Ok(()),
            };
            if let Err(error) = said {
                // What it says of the stream must be right all the same.
                if !is_open || error.is_of_index() {
                    self.found(reader, error)?;
                }
                index = None;
            }
            if let Err(error) = checked {
                self.damaged_entry(reader, &mut segment, error)?;
                if !matches!(rules, Rules::Before(_)) {
                    checking.end("the stream is damaged before them");
                    *rules = Rules::Lost;
                }
                index = None;
            }
            if let (Rules::Checked(state), Some((_, kept))) =
                (&*rules, kept.filter(|(at, _)| at.offset == segment.entry_end()))
                && !state.is_same(kept)
            {
                self.found(reader, reader.state_damage(Damage::State))?;
            }
            self.tell_progress(&segment);
        }
        match index {
            // That of the last segment may go on behind the acknowledged end.
            Some(mut index) if !is_open => index.expect(None),
            _ => reader.check_whole(&segment),
        }
    }

    /// Adds damage to the report; a stop stays an error.
    fn found(&mut self, reader: &SessionReader, error: Error) -> Result<()> {
        if matches!(error, Error::Stopped) {
            return Err(error);
        }
        let header = reader.header();
        let finding = finding(self.repository, header.volume, header.session, &error);
        self.report.damage.push(finding);
        Ok(())
    }
}

/// True for damage that hides where the next entry begins.
fn is_truncated(error: &Error) -> bool {
    matches!(error, Error::Damaged { why: Damage::Truncated(_), .. })
}

/// Checks the stored checksums of an index, without the key.
fn check_stored_index(reader: &SessionReader, number: SegmentNumber) -> Result<()> {
    let Some(mut index) = reader.stored_index(number)? else { return Ok(()) };
    while index.next_chunk()? {}
    Ok(())
}

/// Whether the checks of a stream can still be compared.
enum Checking<'a> {
    On(Box<Checker<'a>>),
    /// They cannot any more; what came of the others.
    Over(Box<Checks>),
}

impl Checking<'_> {
    /// Takes the records of an entry that are sound. Only a stop is an error.
    fn take(&mut self, payload: &[u8]) -> Result<()> {
        let Self::On(checker) = self else { return Ok(()) };
        let taken = Records::new(payload).map_while(std::result::Result::ok);
        let taken = taken.map(|record| checker.take(&record)).find(Result::is_err);
        self.note(taken.unwrap_or(Ok(())))
    }

    fn note(&mut self, taken: Result<()>) -> Result<()> {
        match taken {
            Err(Error::Stopped) => Err(Error::Stopped),
            Err(error) => {
                self.end(&error.to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The checks that follow cannot be compared.
    fn end(&mut self, why: &str) {
        let Self::On(checker) = self else { return };
        let mut found = checker.found().clone();
        found.not_compared = Some(why.to_owned());
        *self = Self::Over(Box::new(found));
    }

    /// What came of it; `None` for a stream without a check.
    fn finish(mut self) -> Result<Option<Checks>> {
        if let Self::On(checker) = &mut self {
            let finished = checker.finish();
            self.note(finished)?;
        }
        let found = match self {
            Self::On(checker) => checker.found().clone(),
            Self::Over(found) => *found,
        };
        Ok((found.checks > 0).then_some(found))
    }
}

impl Rules {
    /// The stream has begun, if `is_reached`.
    fn reach(&mut self, is_reached: bool) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Before(state) if is_reached => Self::Checked(state),
            same => same,
        };
    }

    fn check(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), Damage> {
        if kind == FrameKind::Watermark {
            let watermark = Watermark::read(payload)?;
            if let Self::Checked(state) = self {
                state.mark(&watermark)?;
            }
            return Ok(());
        }
        for record in Records::new(payload) {
            let record = record?;
            if let Self::Checked(state) = self {
                state.accept(&record.header)?;
            }
        }
        Ok(())
    }
}
