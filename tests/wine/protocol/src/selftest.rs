//! The cases of the bench's self-test driver: each breaks one rule, and the bench must say which.
//!
//! The rule: a check of the bench that no case here shows to work is not relied on. The driver's start of a case with a
//! broken rule ends in a violation of that rule and no other; the case without one starts, stops and leaves no log.

/// The service of the self-test driver.
pub const SERVICE: &str = "snapless-bench-selftest";

/// The value of its `Parameters` key that chooses the case (`REG_SZ`).
pub const CASE: &str = "Case";

/// A case and the rule that it breaks; none for the one that breaks none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// The rule as the log names it after [`crate::violations::PREFIX`].
    pub rule: Option<&'static str>,
}

const fn breaks(name: &'static str, rule: &'static str) -> Case {
    Case { name, rule: Some(rule) }
}

/// All cases.
pub const CASES: [Case; 24] = [
    Case { name: "clean", rule: None },
    breaks("stale-handle", "Handle"),
    breaks("wrong-handle-type", "Handle"),
    breaks("foreign-globals", "Handle"),
    breaks("framework-call-with-spin-lock", "Irql"),
    breaks("wait-with-spin-lock", "Irql"),
    breaks("system-service-with-spin-lock", "Irql"),
    breaks("return-raised", "Irql"),
    breaks("device-init-after-free", "DeviceInit"),
    breaks("request-completed-twice", "Completion"),
    breaks("irp-completed-twice", "Completion"),
    breaks("too-much-information", "Completion"),
    breaks("pending-without-mark", "Pending"),
    breaks("neither-completed-nor-passed", "Pending"),
    breaks("structure-size", "Parameter"),
    breaks("spin-lock-twice", "SpinLock"),
    breaks("pool-freed-twice", "Pool"),
    breaks("pool-written-past-its-end", "Pool"),
    breaks("pool-freed-with-another-tag", "Pool"),
    breaks("pool-leak", "Leak"),
    breaks("mdl-leak", "Leak"),
    breaks("thread-left-running", "Leak"),
    breaks("object-reference-left", "Leak"),
    breaks("unimplemented-function", "Unimplemented"),
];
