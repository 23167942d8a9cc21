//! Machines: tokens with which they enrol, revocation, the audit log.

use std::time::{Duration, SystemTime};

use snapless_console::estate::Act;
use snapless_console::fault::{Fault, Result};
use snapless_console::model::{
    AuditEntry, Enrolment, EnrolmentRole, MachineId, MachineLine, NewEnrolment,
};
use snapless_trust::audit::Noted;
use snapless_trust::identity::{MachineId as TrustedId, Role};
use snapless_trust::revocation::Subject;
use snapless_trust::token::Grant;

use super::estate::Stored;
use super::fault::{machine_id, of_trust};
use super::lines::{ms_before, now_ms};

impl Stored {
    pub(super) fn enrol(&self, new: &NewEnrolment) -> Result<Enrolment> {
        let role = match new.role {
            EnrolmentRole::Client => Role::Client,
            EnrolmentRole::Operator => Role::Operator,
        };
        let name = new.name.as_ref().map(ToString::to_string);
        let machine = new.machine.as_ref().map(ToString::to_string);
        let valid = Duration::from_mins(new.valid_minutes.into());
        let grant = Grant { role, name, machine };
        let token = self.trust.make_token(&grant, valid, SystemTime::now()).map_err(of_trust)?;
        let valid_until_ms = now_ms() + 60_000 * u64::from(new.valid_minutes);
        let token = token.text();
        let command = format!("snapless enroll SERVER --token {token}");
        Ok(Enrolment { token, valid_until_ms, command })
    }

    pub(super) fn refuse(&self, machine: &MachineId) -> Result<()> {
        let subject = Subject::Machine(trusted(machine)?);
        self.trust.revoke(&subject, SystemTime::now()).map(drop).map_err(of_trust)
    }

    pub(super) fn machines(&self) -> Vec<MachineLine> {
        let connected = self.connected.machines();
        let seen = self.watcher.seen();
        let mut owned = std::collections::HashMap::<TrustedId, u64>::new();
        for owner in seen.owners.values() {
            *owned.entry(*owner).or_default() += 1;
        }
        let lines = seen.machines.iter().filter_map(|(machine, revoked)| {
            let id: TrustedId = machine.machine.parse().ok()?;
            Some(MachineLine {
                machine: machine_id(id).ok()?,
                name: machine.name.clone(),
                role: machine.role.to_string(),
                connected: connected.contains(&id),
                enrolled_ms: Some(machine.enrolled.saturating_mul(1000)),
                expires_ms: Some(machine.expires.saturating_mul(1000)),
                revoked: *revoked,
                volumes: owned.get(&id).copied().unwrap_or_default(),
            })
        });
        lines.collect()
    }

    pub(super) fn audit_end(&self, limit: usize) -> Result<Vec<AuditEntry>> {
        let entry = |Noted { time, act, who, peer, machine, about }| AuditEntry {
            time_ms: ms_before(&time),
            act,
            who,
            peer,
            machine,
            about,
        };
        let end = self.trust.audit().end(limit).map_err(Fault::internal)?;
        Ok(end.into_iter().map(entry).collect())
    }

    pub(super) fn note_act(&self, act: &Act<'_>) -> Result<()> {
        let machine = act.machine.map(trusted).transpose()?;
        let about = match act.about {
            "" => act.act.to_owned(),
            about => format!("{}: {about}", act.act),
        };
        self.trust.note_console((act.who, act.peer), machine, &about).map_err(of_trust)
    }
}

fn trusted(machine: &MachineId) -> Result<TrustedId> {
    let parsed = machine.as_str().parse::<TrustedId>();
    parsed.map_err(|_| Fault::not_found("there is no such machine"))
}
