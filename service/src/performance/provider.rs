//! Windows' side of the performance counters: a provider of version 2 (docs: "Providing Counter
//! Data Using Version 2.0"). A thread that Windows starts in this process reads the values.
//!
//! Rule: the values of an instance stay where they are until the instance is deleted.

use std::io;
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use snapless_wire::id::VolumeGuid;
use windows_strings::HSTRING;
use windows_sys::Win32::Foundation::{ERROR_SUCCESS, HANDLE};
use windows_sys::Win32::System::Performance::{
    PERF_ATTRIB_BY_REFERENCE, PERF_COUNTER_INFO, PERF_COUNTERSET_INFO, PERF_COUNTERSET_INSTANCE,
    PERF_COUNTERSET_MULTI_INSTANCES, PERF_COUNTERSET_SINGLE_INSTANCE, PERF_DETAIL_NOVICE,
    PERF_PROVIDER_CONTEXT, PerfCreateInstance, PerfDeleteInstance, PerfSetCounterRefValue,
    PerfSetCounterSetInfo, PerfStartProviderEx, PerfStopProvider,
};
use windows_sys::core::GUID;

use super::Snapshot;
use super::sets::{COUNTERS_MAX, CounterSet, Kind, PROVIDER, SERVICE, SETS, VOLUME};

/// `PERF_COUNTER_LARGE_RAWCOUNT` (winperf.h)
const LARGE_RAWCOUNT: u32 = 0x0001_0100;
/// `PERF_COUNTER_BULK_COUNT` (winperf.h)
const BULK_COUNT: u32 = 0x1041_0500;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {source}")]
pub(super) struct ProviderError {
    call: &'static str,
    source: io::Error,
}

/// The registered provider, with its instances.
pub(super) struct Provider {
    // Instances are deleted before the provider stops: fields are dropped in this order.
    volumes: Vec<(VolumeGuid, Instance)>,
    /// The id of the next volume's instance; each has its own.
    next: u32,
    service: Option<Instance>,
    handle: Handle,
    /// What Windows was given a pointer to.
    _templates: Box<[Template]>,
}

impl Provider {
    /// Registers the provider and its sets.
    pub(super) fn start() -> Result<Self, ProviderError> {
        let handle = Handle::start()?;
        let mut templates: Box<[Template]> = SETS.iter().map(Template::of).collect();
        templates.iter_mut().try_for_each(|template| handle.add(template))?;
        Ok(Self { volumes: Vec::new(), next: 0, service: None, handle, _templates: templates })
    }

    /// Shows these values; volumes that are configured no longer disappear.
    pub(super) fn show(&mut self, snapshot: &Snapshot) -> Result<(), ProviderError> {
        self.volumes.retain(|(guid, _)| snapshot.volumes.iter().any(|(other, _)| other == guid));
        let outcomes = snapshot.volumes.iter().map(|(guid, values)| {
            self.volume(*guid)?.set(&values.in_order());
            Ok(())
        });
        // One that fails keeps no other from being shown.
        let failed: Vec<_> = outcomes.filter_map(Result::err).collect();
        self.service()?.set(&snapshot.service.in_order());
        failed.into_iter().next().map_or(Ok(()), Err)
    }

    /// The instance of a volume, which is made if there is none.
    fn volume(&mut self, guid: VolumeGuid) -> Result<&Instance, ProviderError> {
        let found = self.volumes.iter().position(|(other, _)| *other == guid);
        let place = found.unwrap_or(self.volumes.len());
        if found.is_none() {
            let instance = self.handle.instance(&VOLUME, &format!("{{{guid}}}"), self.next)?;
            self.next = self.next.wrapping_add(1);
            self.volumes.push((guid, instance));
        }
        Ok(&self.volumes[place].1)
    }

    fn service(&mut self) -> Result<&Instance, ProviderError> {
        Ok(match &mut self.service {
            Some(service) => service,
            none => none.insert(self.handle.instance(&SERVICE, "Snapless", 0)?),
        })
    }
}

/// A set, as Windows takes it.
#[repr(C)]
struct Template {
    set: PERF_COUNTERSET_INFO,
    counters: [PERF_COUNTER_INFO; COUNTERS_MAX],
}

impl Template {
    #[allow(clippy::cast_possible_truncation, reason = "a few counters of eight bytes")]
    fn of(set: &CounterSet) -> Self {
        let mut counters = [PERF_COUNTER_INFO::default(); COUNTERS_MAX];
        for (info, counter) in counters.iter_mut().zip(set.counters) {
            *info = PERF_COUNTER_INFO {
                CounterId: counter.id.into(),
                Type: match counter.kind {
                    Kind::Level => LARGE_RAWCOUNT,
                    Kind::PerSecond => BULK_COUNT,
                },
                Attrib: PERF_ATTRIB_BY_REFERENCE,
                Size: size_of::<u64>() as u32,
                DetailLevel: PERF_DETAIL_NOVICE,
                Scale: 0,
                Offset: 0,
            };
        }
        let set = PERF_COUNTERSET_INFO {
            CounterSetGuid: GUID::from_u128(set.guid),
            ProviderGuid: GUID::from_u128(PROVIDER),
            NumCounters: set.counters.len() as u32,
            InstanceType: if set.is_per_volume {
                PERF_COUNTERSET_MULTI_INSTANCES
            } else {
                PERF_COUNTERSET_SINGLE_INSTANCE
            },
        };
        Self { set, counters }
    }

    /// Its bytes: those of its counters, not of room for more.
    #[allow(clippy::cast_possible_truncation, reason = "two small structures")]
    fn len(&self) -> u32 {
        let of_set = offset_of!(Self, counters) as u32;
        of_set + self.set.NumCounters * size_of::<PERF_COUNTER_INFO>() as u32
    }
}

/// An open provider.
struct Handle(HANDLE);

impl Handle {
    #[allow(clippy::cast_possible_truncation, reason = "a small structure")]
    fn start() -> Result<Self, ProviderError> {
        let mut handle = ptr::null_mut();
        let guid = GUID::from_u128(PROVIDER);
        let context = PERF_PROVIDER_CONTEXT {
            ContextSize: size_of::<PERF_PROVIDER_CONTEXT>() as u32,
            ..PERF_PROVIDER_CONTEXT::default()
        };
        // SAFETY: GUID and context, which has no callbacks, live until the call ends.
        let status =
            unsafe { PerfStartProviderEx(&raw const guid, &raw const context, &raw mut handle) };
        check("PerfStartProviderEx", status)?;
        Ok(Self(handle))
    }

    fn add(&self, template: &mut Template) -> Result<(), ProviderError> {
        let len = template.len();
        let place = ptr::from_mut(template).cast::<PERF_COUNTERSET_INFO>();
        // SAFETY: the provider is open; the place has the set and behind it its counters, as the
        // length says, and stays until the provider is stopped.
        check("PerfSetCounterSetInfo", unsafe { PerfSetCounterSetInfo(self.0, place, len) })
    }

    /// A new instance of a set, whose values are 0.
    fn instance(&self, set: &CounterSet, name: &str, id: u32) -> Result<Instance, ProviderError> {
        let guid = GUID::from_u128(set.guid);
        let name = HSTRING::from(name);
        // SAFETY: the provider is open and has the set; GUID and name live until the call ends, and
        // the name is NUL-terminated.
        let block = unsafe { PerfCreateInstance(self.0, &raw const guid, name.as_ptr(), id) };
        if block.is_null() {
            let source = io::Error::last_os_error();
            return Err(ProviderError { call: "PerfCreateInstance", source });
        }
        let values = set.counters.iter().map(|_| AtomicU64::new(0)).collect();
        let instance = Instance { provider: self.0, block, values };
        for (counter, value) in set.counters.iter().zip(&instance.values) {
            let place = value.as_ptr().cast_const().cast();
            let id = counter.id.into();
            // SAFETY: the instance exists; the value has the counter's size, stays where it is
            // until the instance is deleted, and is written to atomically.
            let status = unsafe { PerfSetCounterRefValue(self.0, block, id, place) };
            check("PerfSetCounterRefValue", status)?;
        }
        Ok(instance)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the provider is open and is stopped only here; its instances are deleted.
        unsafe { PerfStopProvider(self.0) };
    }
}

/// An instance of a set. It is dropped before its provider.
struct Instance {
    provider: HANDLE,
    block: *mut PERF_COUNTERSET_INSTANCE,
    /// What Windows reads.
    values: Box<[AtomicU64]>,
}

impl Instance {
    fn set(&self, values: &[u64]) {
        for (place, value) in self.values.iter().zip(values) {
            // No reader derives one value from another.
            place.store(*value, Ordering::Relaxed);
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the provider is open, and the instance is deleted only here. After the call
        // Windows reads its values no more.
        unsafe { PerfDeleteInstance(self.provider, self.block) };
    }
}

fn check(call: &'static str, status: u32) -> Result<(), ProviderError> {
    match status {
        ERROR_SUCCESS => Ok(()),
        code => {
            let source = io::Error::from_raw_os_error(code.cast_signed());
            Err(ProviderError { call, source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sets::{ServiceValues, VolumeValues};
    use super::*;

    #[test]
    fn volumes_come_and_go() {
        let mut provider = Provider::start().unwrap();
        let volume = |guid| (VolumeGuid([guid; 16]), VolumeValues::default());
        for volumes in [vec![], vec![volume(1), volume(2)], vec![volume(2)], vec![volume(1)]] {
            let service = ServiceValues { volumes: volumes.len() as u64, ..Default::default() };
            provider.show(&Snapshot { volumes: volumes.clone(), service }).unwrap();
            assert_eq!(provider.volumes.len(), volumes.len());
        }
    }
}
