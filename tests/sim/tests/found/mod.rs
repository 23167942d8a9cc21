//! What tests of sabotages and of breaches share: each is found, by a rule that it breaks.

use std::fmt::Debug;

use snapless_sim::{Failure, Rule};

/// Fails unless `failure`, which came of `wrong`, is of one of the rules.
pub fn assert_rule(wrong: impl Debug, failure: &Failure, rules: &[Rule]) {
    println!("{failure}");
    let rule = failure.rule.unwrap_or_else(|| panic!("{wrong:?} is found by a panic: {failure}"));
    assert!(rules.contains(&rule), "{wrong:?} is found by another rule: {failure}");
}

/// A test for each sabotage or breach: `first_failure` of it is of one of the rules.
macro_rules! each_is_found {
    ($(fn $name:ident() { $wrong:ident => $($rule:ident),+ })+) => {$(
        #[test]
        fn $name() {
            let failure = first_failure(Sabotage::$wrong);
            found::assert_rule(Sabotage::$wrong, &failure, &[$(Rule::$rule),+]);
        }
    )+};
}
