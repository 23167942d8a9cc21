//! The lint of `inf/snapless.inx` as the build stamps it: the rules of `InfVerif /w` for a
//! primitive driver that is a filter, where the tool itself runs on Windows only.
//!
//! The rule: each has the name of the public page of Microsoft that states it, and a broken sample
//! that it alone finds. Where the INF departs from a rule, the reason stands here, and the
//! departure has to be there.

mod grammar;
mod rules;

use crate::build::inf;
use crate::console::Outcome;
use crate::error::{Error, Result};
use crate::layout::Layout;

use grammar::Inf;

/// What must hold.
struct Rule {
    name: &'static str,
    /// The title of its page; with `InfVerif`'s number, if the page of those has it.
    page: &'static str,
    /// Why this INF departs from it.
    departure: Option<&'static str>,
    violations: fn(&Inf) -> Vec<String>,
}

/// The page that numbers what `InfVerif` finds.
macro_rules! error {
    ($number:literal) => {
        concat!("INF Validation Errors and Warnings, ", $number)
    };
}

const PRIMITIVE: &str = "Creating a new primitive driver";
const VERSION: &str = "INF Version Section";
const SERVICE: &str = "INF AddService directive";
const UNIVERSAL: &str = "Using a Universal INF File";

const RULES: [Rule; 24] = [
    rule("names and fields fit", "General Syntax Rules for INF Files", rules::too_long),
    rule("the Version section is complete", PRIMITIVE, rules::incomplete_version),
    rule("the provider is not Microsoft", error!("1204"), rules::provider_is_microsoft),
    rule("a catalog is named", error!("1233"), rules::no_catalog),
    rule("date and version have their form", "INF DriverVer Directive", rules::bad_driver_version),
    rule("the files are locked down", VERSION, rules::not_locked_down),
    rule(
        "class and GUID fit",
        "System-Defined Device Setup Classes Available to Vendors",
        rules::other_class,
    ),
    rule("each DefaultInstall has an architecture", PRIMITIVE, rules::undecorated_install),
    rule("there is no Manufacturer section", error!("1212"), rules::manufacturer),
    rule("DefaultUninstall is for old versions only", PRIMITIVE, rules::uninstall_not_legacy),
    rule("named sections exist", error!("1203"), rules::missing_section),
    rule("a section serves one directive", error!("1205"), rules::section_of_two_directives),
    rule("each section is used", error!("2083"), rules::unused_section),
    rule("each copied file has a source", error!("1230"), rules::file_without_source),
    rule("each token has a string", error!("1235"), rules::unknown_string),
    rule("the registry is written below HKR only", error!("1304"), rules::absolute_registry),
    rule("no list in the registry is appended to", error!("1305"), rules::appended_value),
    rule("an installation only adds", UNIVERSAL, rules::legacy_operation),
    rule("files go to the system's folders", error!("1306"), rules::outside_system),
    Rule {
        name: "files stay in the driver store",
        page: "Driver package isolation",
        departure: Some(
            "versions before Windows 10 1903, Windows Server 2019 among them, carry the INF out \
             themselves and know directory 13 for devices only",
        ),
        violations: rules::outside_driver_store,
    },
    rule("each service is complete", SERVICE, rules::incomplete_service),
    rule("a service's program is copied", SERVICE, rules::binary_not_copied),
    rule("a filter is no function driver", SERVICE, rules::flags_of_a_function_driver),
    rule("the service names its KMDF", "INF DDInstall.WDF Section", rules::framework_not_named),
];

const fn rule(name: &'static str, page: &'static str, violations: fn(&Inf) -> Vec<String>) -> Rule {
    Rule { name, page, departure: None, violations }
}

/// Checks the INF of this repository as the build stamps it.
pub fn check(layout: &Layout) -> Result<Outcome> {
    let violations = violations(&inf::text(layout)?);
    if violations.is_empty() {
        return Ok(Outcome::Done);
    }
    Err(Error::Tree { check: "INF", violations })
}

/// A line for each violation in a stamped INF: the rule, its page, what was found.
fn violations(text: &str) -> Vec<String> {
    let inf = match Inf::parse(text) {
        Ok(inf) => inf,
        Err(problem) => return vec![format!("it cannot be read: {problem}")],
    };
    RULES.iter().flat_map(|rule| rule.broken(&inf)).collect()
}

impl Rule {
    fn broken(&self, inf: &Inf) -> Vec<String> {
        let found = (self.violations)(inf);
        let found = match (self.departure, found.is_empty()) {
            (None, _) => found,
            (Some(_), false) => vec![],
            (Some(why), true) => vec![format!("it holds: remove the departure from it ({why})")],
        };
        let Self { name, page, .. } = self;
        found.iter().map(|one| format!("{name} (\"{page}\"): {one}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule, and what is replaced in the INF by what to break it.
    const BROKEN: [(&str, &str, &str); 33] = [
        ("names and fields fit", "[Driver.Wdf]", "LONG"),
        ("the Version section is complete", "Class       = Volume", ""),
        ("the Version section is complete", "= %Provider%", "="),
        ("the Version section is complete", "$WINDOWS NT$", "$Windows 95$"),
        ("the Version section is complete", "DriverVer   = DATE", ""),
        ("the provider is not Microsoft", "= \"Snapless\"", "= \"Microsoft\""),
        ("a catalog is named", "CatalogFile = snapless.cat", ""),
        ("date and version have their form", "DATE,", "2030/01/02,"),
        ("date and version have their form", "DATE,", "DATE,1."),
        ("the files are locked down", "PnpLockdown = 1", "PnpLockdown = 0"),
        ("class and GUID fit", "71A27CDD", "71A27CDE"),
        ("each DefaultInstall has an architecture", "[DefaultInstall.NTamd64]", "[DefaultInstall]"),
        ("there is no Manufacturer section", "[Strings]", "[Manufacturer]\n[Strings]"),
        ("DefaultUninstall is for old versions only", "LegacyUninstall = 1", ""),
        ("named sections exist", "CopyFiles = Driver.Files", "CopyFiles = Driver.Files, More"),
        ("named sections exist", "KmdfService = snapless, Driver.Wdf", "KmdfService = snapless, X"),
        ("a section serves one directive", "= Driver.OldFiles", "= Driver.Files"),
        ("each section is used", "[Strings]", "[Forgotten]\n[Strings]"),
        ("each copied file has a source", "snapless.sys = 1", "other.sys = 1"),
        ("each copied file has a source", "1 = %Disk%", "2 = %Disk%"),
        ("each token has a string", "= %Service%", "= %Servise%"),
        ("the registry is written below HKR only", "[Strings]", "REGISTRY\nHKLM,Software,X,,1"),
        ("no list in the registry is appended to", "[Strings]", "REGISTRY\nHKR,,X,0x00010008,1"),
        (
            "an installation only adds",
            "[Strings]",
            "[DefaultInstall.NTamd64.CoInstallers]\n[Strings]",
        ),
        ("an installation only adds", "AddService = ", "DelService = other\nAddService = "),
        ("files go to the system's folders", "DefaultDestDir = 12", "DefaultDestDir = 24"),
        ("files stay in the driver store", "12", "13"),
        ("each service is complete", "ErrorControl   = 1", ""),
        ("a service's program is copied", "%12%\\snapless.sys", "%12%\\other.sys"),
        ("a filter is no function driver", "snapless, , Driver", "snapless, 2, Driver"),
        ("a filter is no function driver", "snapless, , Driver", "snapless, 0x800, Driver"),
        ("the service names its KMDF", "KmdfLibraryVersion = ", "KmdfLibraryVersion = 1."),
        ("the service names its KMDF", "KmdfService = snapless", "KmdfService = other"),
    ];

    fn own_text() -> String {
        inf::text(&Layout::of_this_repository()).expect("it can be stamped")
    }

    /// The INF with one place changed, and a date that is the same every day.
    fn sample(from: &str, to: &str) -> String {
        let own = own_text();
        let stamped = own.lines().find(|line| line.starts_with("DriverVer")).expect("stamped");
        let date = stamped.split(['=', ',']).nth(1).expect("a date").trim();
        let text = own.replace(date, "DATE");
        let (from, to) = (from.replace("REGISTRY", ""), to.replace("REGISTRY", REGISTRY));
        let to = if to == "LONG" { format!("[{}]", "x".repeat(256)) } else { to };
        assert!(text.contains(&from), "the INF has no {from}");
        text.replace(&from, &to).replace("DATE", "01/02/2030")
    }

    const REGISTRY: &str =
        "[DefaultInstall.NTamd64]\nAddReg = Driver.Registry\n[Strings]\n[Driver.Registry]";

    #[test]
    fn the_inf_of_this_repository_breaks_no_rule() {
        assert_eq!(violations(&own_text()), Vec::<String>::new());
    }

    #[test]
    fn each_broken_sample_is_found_by_its_rule() {
        for (rule, from, to) in BROKEN {
            let found = violations(&sample(from, to));
            assert!(!found.is_empty(), "{rule}: {to} was not found");
            let names = |line: &String| line.starts_with(rule) && line.contains("(\"");
            assert!(found.iter().any(names), "{rule} does not find {to}: {found:?}");
        }
    }

    #[test]
    fn each_rule_has_a_broken_sample_and_a_page() {
        for rule in &RULES {
            assert!(BROKEN.iter().any(|(name, ..)| *name == rule.name), "{}", rule.name);
            assert!(!rule.page.is_empty());
        }
    }

    #[test]
    fn a_file_that_is_no_inf_is_a_violation() {
        assert!(violations("[Version\n")[0].contains("line 1"));
        assert!(!violations("").is_empty());
    }
}
