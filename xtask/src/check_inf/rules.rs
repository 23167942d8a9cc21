//! What each rule of [`super::RULES`] finds: a line for each violation.

use crate::layout::KMDF_VERSION;

use super::grammar::{Entry, Inf, Section, same};

/// `SPSVCINST_ASSOCSERVICE`, `SPSVCINST_STARTSERVICE`: for a device's own driver, and for services
/// that the service manager runs.
const NOT_FOR_FILTERS: u32 = 0x0002 | 0x0800;
/// `FLG_ADDREG_APPEND`
const APPEND: u32 = 0x0008;
/// The setup classes that a volume filter may name, with their GUIDs.
const CLASSES: [(&str, &str); 1] = [("Volume", "{71A27CDD-812A-11D0-BEC7-08002BE2092F}")];
/// Directives whose values name sections, unless they begin with `@`.
const LISTS: [&str; 4] = ["CopyFiles", "AddReg", "DelFiles", "RenFiles"];
/// Directives with a section at one place.
const PLACES: [(&str, usize); 3] = [("AddService", 2), ("AddService", 3), ("KmdfService", 1)];
/// Sections that Windows looks for by their names.
const ENTRANCES: [&str; 7] = [
    "Version",
    "Strings",
    "SourceDisksNames",
    "SourceDisksFiles",
    "DestinationDirs",
    "DefaultInstall",
    "DefaultUninstall",
];
/// Directives and parts of section names that a universal INF must not have.
const LEGACY: [&str; 17] = [
    "BitReg",
    "CoInstallers",
    "ClassInstall32",
    "DelFiles",
    "DelProperty",
    "DelReg",
    "DelService",
    "FactDef",
    "Ini2Reg",
    "LogConfig",
    "LogConfigOverride",
    "ProfileItems",
    "RegisterDlls",
    "RenFiles",
    "UnregisterDlls",
    "UpdateIniFields",
    "UpdateInis",
];
/// The longest name of a section, and the longest field with its end.
const NAME_MAX: usize = 255;
const FIELD_MAX: usize = 4096;

pub(super) fn incomplete_version(inf: &Inf) -> Vec<String> {
    let missing = |key: &&&str| inf.value("Version", key).is_none_or(|value| value.is_empty());
    let keys = ["Signature", "Class", "ClassGuid", "Provider", "DriverVer"];
    let mut found: Vec<String> =
        keys.iter().filter(missing).map(|key| format!("[Version] has no {key}")).collect();
    let signature = inf.value("Version", "Signature").unwrap_or_default();
    if !signature.is_empty() && !["$Windows NT$", "$Chicago$"].iter().any(|s| same(s, &signature)) {
        found.push(format!("the signature is {signature}"));
    }
    found
}

pub(super) fn provider_is_microsoft(inf: &Inf) -> Vec<String> {
    let provider = inf.value("Version", "Provider").unwrap_or_default();
    if same(&provider, "Microsoft") { vec![format!("Provider is {provider}")] } else { vec![] }
}

pub(super) fn no_catalog(inf: &Inf) -> Vec<String> {
    let catalog = inf.value("Version", "CatalogFile").unwrap_or_default();
    let named = catalog.strip_suffix(".cat").is_some_and(|stem| !stem.is_empty());
    if named { vec![] } else { vec!["[Version] names no CatalogFile".to_owned()] }
}

pub(super) fn bad_driver_version(inf: &Inf) -> Vec<String> {
    // A missing one is another rule's.
    let Some(values) = inf.values("Version", "DriverVer") else { return vec![] };
    let sound = match values {
        [date, version] => is_date(date) && is_version(version),
        _ => false,
    };
    if sound { vec![] } else { vec![format!("DriverVer is {}", values.join(","))] }
}

/// Two digits, two digits, four digits.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['/', '-']).collect();
    let number = |part: &str, digits: usize| {
        part.parse::<u16>().ok().filter(|_| part.len() == digits && !part.starts_with('+'))
    };
    let [month, day, year] = parts[..] else { return false };
    number(month, 2).is_some_and(|month| (1..=12).contains(&month))
        && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
        && number(year, 4).is_some()
}

/// Four numbers below 65535.
fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 4
        && parts.iter().all(|part| part.parse::<u16>().is_ok_and(|number| number < u16::MAX))
}

pub(super) fn not_locked_down(inf: &Inf) -> Vec<String> {
    let locked = inf.value("Version", "PnpLockdown").is_some_and(|value| value == "1");
    if locked { vec![] } else { vec!["[Version] lacks PnpLockdown = 1".to_owned()] }
}

pub(super) fn other_class(inf: &Inf) -> Vec<String> {
    let (Some(class), Some(guid)) =
        (inf.value("Version", "Class"), inf.value("Version", "ClassGuid"))
    else {
        return vec![];
    };
    let fits = |(name, id): &(&str, &str)| same(name, &class) && same(id, &guid);
    if CLASSES.iter().any(fits) { vec![] } else { vec![format!("{class} is not {guid}")] }
}

pub(super) fn undecorated_install(inf: &Inf) -> Vec<String> {
    let entrances =
        || inf.sections.iter().filter(|section| section.is_or_extends("DefaultInstall"));
    let mut found: Vec<String> = entrances()
        .filter(|section| architecture(section).is_none())
        .map(|section| said(section, "has no architecture"))
        .collect();
    if entrances().next().is_none() {
        found.push("there is no [DefaultInstall]".to_owned());
    }
    found
}

/// The part of the name that says for which processor it is.
fn architecture(section: &Section) -> Option<&str> {
    let part = section.name.split('.').nth(1)?;
    let part = part.strip_prefix("NT").or_else(|| part.strip_prefix("nt")).unwrap_or(part);
    ["amd64", "arm64", "x86", "arm"].into_iter().find(|known| same(known, part))
}

pub(super) fn manufacturer(inf: &Inf) -> Vec<String> {
    inf.named("Manufacturer")
        .map(|section| said(section, "is not for a primitive driver"))
        .collect()
}

pub(super) fn uninstall_not_legacy(inf: &Inf) -> Vec<String> {
    let sections = inf.sections.iter().filter(|section| section.is_or_extends("DefaultUninstall"));
    // `.Services` and the like follow the section itself.
    let own = sections.filter(|section| section.name.split('.').count() <= 2);
    let legacy = |section: &Section| {
        architecture(section).is_some()
            && section.entries.iter().any(|e| e.is("LegacyUninstall") && e.at(0) == Some("1"))
    };
    own.filter(|section| !legacy(section))
        .map(|section| said(section, "lacks an architecture or LegacyUninstall = 1"))
        .collect()
}

pub(super) fn missing_section(inf: &Inf) -> Vec<String> {
    let missing = references(inf).into_iter().filter(|one| inf.named(one.to).next().is_none());
    missing.map(|one| format!("line {}: {} names [{}]", one.line, one.directive, one.to)).collect()
}

pub(super) fn section_of_two_directives(inf: &Inf) -> Vec<String> {
    let all = references(inf);
    let mut found = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let others = all[..index].iter().filter(|other| same(other.to, one.to));
        for other in others.filter(|other| !same(other.directive, one.directive)) {
            let (by, first) = (one.directive, other.directive);
            found.push(format!("line {}: {by} names [{}], as {first} does", one.line, one.to));
        }
    }
    found
}

pub(super) fn unused_section(inf: &Inf) -> Vec<String> {
    let named = references(inf);
    let used = |section: &&Section| {
        ENTRANCES.iter().any(|name| section.is_or_extends(name))
            || named.iter().any(|one| same(one.to, &section.name))
            || inf.entries("DestinationDirs").any(|entry| entry.is(&section.name))
    };
    // What no primitive driver may have is another rule's.
    let known = |section: &&Section| used(section) || same(&section.name, "Manufacturer");
    let unused = inf.sections.iter().filter(|section| !known(section) && !is_legacy(&section.name));
    unused.map(|section| said(section, "is named by nothing")).collect()
}

/// A directive that names a section.
struct Reference<'a> {
    directive: &'a str,
    to: &'a str,
    line: usize,
}

fn references(inf: &Inf) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    for entry in inf.sections.iter().flat_map(|section| &section.entries) {
        let Some(directive) = entry.key.as_deref() else { continue };
        let mut add = |to| found.push(Reference { directive, to, line: entry.line });
        if LISTS.iter().any(|list| same(list, directive)) {
            entry.values.iter().filter(|value| !value.starts_with('@')).for_each(|to| add(to));
        }
        for (_, place) in PLACES.iter().filter(|(name, _)| same(name, directive)) {
            entry.at(*place).into_iter().for_each(&mut add);
        }
    }
    found
}

pub(super) fn file_without_source(inf: &Inf) -> Vec<String> {
    let mut found = Vec::new();
    for (line, file, _) in copied_files(inf) {
        let source = inf.entries("SourceDisksFiles").find(|entry| entry.is(file));
        match source.map(|entry| entry.at(0).unwrap_or_default()) {
            None => found.push(format!("line {line}: {file} is not in [SourceDisksFiles]")),
            Some(disk) if !inf.entries("SourceDisksNames").any(|entry| entry.is(disk)) => {
                found.push(format!("line {line}: {file} is on disk {disk}, which has no name"));
            }
            Some(_) => {}
        }
    }
    found
}

/// The files that are copied: line, source's name, section.
fn copied_files(inf: &Inf) -> Vec<(usize, &str, &str)> {
    let mut files = Vec::new();
    let directives = inf.sections.iter().flat_map(|section| &section.entries);
    for entry in directives.filter(|entry| entry.is("CopyFiles")) {
        for value in &entry.values {
            if let Some(file) = value.strip_prefix('@') {
                files.push((entry.line, file, ""));
                continue;
            }
            for file in inf.entries(value) {
                let name = file.at(1).or_else(|| file.at(0));
                files.extend(name.map(|name| (file.line, name, value.as_str())));
            }
        }
    }
    files
}

pub(super) fn unknown_string(inf: &Inf) -> Vec<String> {
    let mut found = Vec::new();
    for entry in inf.sections.iter().flat_map(|section| &section.entries) {
        let texts = entry.key.iter().chain(&entry.values);
        let tokens = texts.flat_map(|text| tokens_of(text));
        // A number is a directory.
        for token in tokens.filter(|token| token.parse::<u32>().is_err()) {
            if inf.values("Strings", token).is_none() {
                found.push(format!("line {}: %{token}% is not in [Strings]", entry.line));
            }
        }
    }
    found
}

fn tokens_of(text: &str) -> Vec<&str> {
    // Between two percent signs; an empty one is an escaped percent sign.
    text.split('%').skip(1).step_by(2).filter(|token| !token.is_empty()).collect()
}

pub(super) fn absolute_registry(inf: &Inf) -> Vec<String> {
    let absolute = |entry: &&Entry| entry.at(0).is_none_or(|root| !same(root, "HKR"));
    registry(inf)
        .filter(absolute)
        .map(|e| format!("line {}: {} instead of HKR", e.line, e.at(0).unwrap_or("no root")))
        .collect()
}

pub(super) fn appended_value(inf: &Inf) -> Vec<String> {
    let flags = |entry: &Entry| entry.at(3).and_then(number).unwrap_or(0);
    registry(inf)
        .filter(|entry| flags(entry) & APPEND != 0)
        .map(|entry| format!("line {}: a value is appended to a list", entry.line))
        .collect()
}

/// The lines of add-registry sections.
fn registry(inf: &Inf) -> impl Iterator<Item = &Entry> {
    let directives = inf.sections.iter().flat_map(|section| &section.entries);
    let sections = directives.filter(|entry| entry.is("AddReg")).flat_map(|entry| &entry.values);
    sections.flat_map(|section| inf.entries(section))
}

pub(super) fn legacy_operation(inf: &Inf) -> Vec<String> {
    let mut found = Vec::new();
    for section in &inf.sections {
        if is_legacy(&section.name) {
            found.push(said(section, "is not for a universal INF"));
        }
        // Windows that knows primitive drivers does not read it.
        let exempt = section.is_or_extends("DefaultUninstall");
        for entry in section.entries.iter().filter(|_| !exempt) {
            if let Some(name) = LEGACY.iter().find(|legacy| entry.is(legacy)) {
                found.push(format!("line {}: {name}", entry.line));
            }
        }
    }
    found
}

fn is_legacy(section: &str) -> bool {
    section.split('.').any(|part| LEGACY.iter().any(|legacy| same(legacy, part)))
}

pub(super) fn outside_system(inf: &Inf) -> Vec<String> {
    targets(inf, |folder| matches!(folder, "11" | "12" | "13"))
}

pub(super) fn outside_driver_store(inf: &Inf) -> Vec<String> {
    // A directory that is not Windows' at all is another rule's.
    targets(inf, |folder| !matches!(folder, "11" | "12"))
}

/// The copied files whose directory identifier is not as it must be.
fn targets(inf: &Inf, is_right: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (line, file, section) in copied_files(inf) {
        let folder = inf.values("DestinationDirs", section);
        let folder = folder.or_else(|| inf.values("DestinationDirs", "DefaultDestDir"));
        let folder = folder.and_then(|values| values.first()).map_or("none", String::as_str);
        if !is_right(folder) {
            found.push(format!("line {line}: {file} goes to directory {folder}"));
        }
    }
    found
}

pub(super) fn incomplete_service(inf: &Inf) -> Vec<String> {
    let keys = ["ServiceType", "StartType", "ErrorControl", "ServiceBinary"];
    let mut found = Vec::new();
    for (entry, section) in services(inf) {
        let lacks = |key: &&&str| inf.value(section, key).is_none_or(|value| value.is_empty());
        let missing = keys.iter().filter(lacks);
        found.extend(missing.map(|key| format!("line {}: [{section}] has no {key}", entry.line)));
    }
    found
}

pub(super) fn binary_not_copied(inf: &Inf) -> Vec<String> {
    let mut found = Vec::new();
    for (entry, section) in services(inf) {
        // A missing one is another rule's.
        let Some(binary) = inf.value(section, "ServiceBinary") else { continue };
        let copied = copied_files(inf).iter().any(|(_, file, files)| {
            let folder = inf.values("DestinationDirs", files);
            let folder = folder.or_else(|| inf.values("DestinationDirs", "DefaultDestDir"));
            let folder = folder.and_then(|values| values.first());
            folder.is_some_and(|folder| same(&binary, &format!("%{folder}%\\{file}")))
        });
        if !copied {
            found.push(format!("line {}: {binary} is copied by nothing", entry.line));
        }
    }
    found
}

pub(super) fn flags_of_a_function_driver(inf: &Inf) -> Vec<String> {
    let flags = |entry: &Entry| entry.at(1).and_then(number).unwrap_or(0);
    services(inf)
        .filter(|(entry, _)| flags(entry) & NOT_FOR_FILTERS != 0)
        .map(|(entry, _)| format!("line {}: flags {:#x}", entry.line, flags(entry)))
        .collect()
}

/// The directives that install a service, with the sections that describe it.
fn services(inf: &Inf) -> impl Iterator<Item = (&Entry, &str)> {
    let directives = inf.sections.iter().flat_map(|section| &section.entries);
    let added = directives.filter(|entry| entry.is("AddService"));
    added.filter_map(|entry| Some((entry, entry.at(2)?)))
}

pub(super) fn framework_not_named(inf: &Inf) -> Vec<String> {
    let mut found = Vec::new();
    for (entry, _) in services(inf) {
        let service = entry.at(0).unwrap_or_default();
        let named = inf.sections.iter().flat_map(|section| &section.entries);
        let named = named.filter(|one| one.is("KmdfService") && one.at(0) == Some(service));
        let versions = named.filter_map(|one| inf.value(one.at(1)?, "KmdfLibraryVersion"));
        if !versions.into_iter().any(|version| version == KMDF_VERSION) {
            found.push(format!("line {}: {service} names no KMDF {KMDF_VERSION}", entry.line));
        }
    }
    found
}

pub(super) fn too_long(inf: &Inf) -> Vec<String> {
    let mut found = Vec::new();
    for section in &inf.sections {
        if section.name.chars().count() > NAME_MAX {
            found.push(format!("line {}: a name of over {NAME_MAX} characters", section.line));
        }
        for entry in &section.entries {
            let texts = entry.key.iter().chain(&entry.values);
            if texts.into_iter().any(|text| text.chars().count() >= FIELD_MAX) {
                found.push(format!("line {}: a field of {FIELD_MAX} characters", entry.line));
            }
        }
    }
    found
}

fn said(section: &Section, what: &str) -> String {
    format!("line {}: [{}] {what}", section.line, section.name)
}

/// A number as INF files write it.
fn number(text: &str) -> Option<u32> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    hexadecimal.map_or_else(|| text.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok())
}
