//! The cases of the rig's self-test driver: each breaks one rule, and the rig must report that
//! rule.
//!
//! The rule: a check of the rig counts only if a case here shows that it works. A case that breaks
//! a rule ends in a violation of that rule and no other; the control case starts, stops and leaves
//! no log.

/// The service of the self-test driver.
pub const SERVICE: &str = "snapless-rig-selftest";

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

/// The self-test's value of [`crate::names::framework::GIVE_BACK_LIMIT_MS`], in milliseconds.
pub const GIVE_BACK_LIMIT_MS: u32 = 500;

const fn breaks(name: &'static str, rule: &'static str) -> Case {
    Case { name, rule: Some(rule) }
}

/// All cases.
pub const CASES: [Case; 44] = [
    Case { name: "clean", rule: None },
    // Object lifetime.
    breaks("stale-handle", "Handle"),
    breaks("wrong-handle-type", "Handle"),
    breaks("foreign-globals", "Handle"),
    breaks("device-init-after-free", "DeviceInit"),
    breaks("object-reference-left", "Leak"),
    // IRQL, and spin locks held across calls.
    breaks("framework-call-with-spin-lock", "Irql"),
    breaks("wait-with-spin-lock", "Irql"),
    breaks("system-service-with-spin-lock", "Irql"),
    breaks("paged-pool-with-spin-lock", "Irql"),
    breaks("return-raised", "Irql"),
    breaks("work-item-returns-raised", "Irql"),
    breaks("spin-lock-twice", "SpinLock"),
    breaks("spin-lock-not-held", "SpinLock"),
    // Requests and packets.
    breaks("request-completed-twice", "Completion"),
    breaks("request-completed-after-removal", "Completion"),
    breaks("irp-completed-twice", "Completion"),
    breaks("irp-completed-as-pending", "Completion"),
    breaks("irp-completed-with-cancel-routine", "Completion"),
    breaks("own-irp-let-go", "Completion"),
    breaks("too-much-information", "Completion"),
    breaks("pending-without-mark", "Pending"),
    breaks("mark-without-pending", "Pending"),
    breaks("neither-completed-nor-passed", "Pending"),
    breaks("own-irp-without-completion-routine", "State"),
    breaks("irp-completed-with-another-mdl", "State"),
    breaks("own-irp-without-thread", "State"),
    breaks("background-read-without-hint", "State"),
    breaks("urgent-read-with-low-hint", "State"),
    breaks("irp-freed-twice", "State"),
    breaks("mdl-freed-twice", "State"),
    breaks("request-never-completed", "Leak"),
    breaks("irp-held-at-removal", "Leak"),
    breaks("irp-leak", "Leak"),
    breaks("mdl-leak", "Leak"),
    // The pool.
    breaks("pool-freed-twice", "Pool"),
    breaks("pool-written-past-its-end", "Pool"),
    breaks("pool-freed-with-another-tag", "Pool"),
    breaks("pool-without-tag", "Pool"),
    breaks("pool-leak", "Leak"),
    breaks("thread-left-running", "Leak"),
    breaks("thread-without-priority", "State"),
    // Unsupported calls.
    breaks("structure-size", "Parameter"),
    breaks("unimplemented-function", "Unimplemented"),
];
