//! What is said to be wrong, and that a repair puts it right.

use std::path::Path;

use crate::names::{COMMAND_LINE, DRIVER, SERVICE, SERVICE_PROGRAM};
use crate::service_settings::Setting;
use crate::test_system::{State, TestSystem, UNSUPPORTED};
use crate::{install, repair, status};

fn print(json: bool, system: &TestSystem) -> String {
    let mut out = Vec::new();
    status::run(json, system, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(system: &TestSystem) -> serde_json::Value {
    serde_json::from_str(&print(true, system)).unwrap()
}

fn installed() -> TestSystem {
    let system = TestSystem::new(&["volsnap"]);
    install::run(&TestSystem::package(1), &system, &mut Vec::new()).unwrap();
    system.restart();
    system
}

/// Something that is wrong: how it comes about, and what the status calls it.
type Damage = (fn(&mut State), &'static str);

const DAMAGES: [Damage; 14] = [
    (
        |it| drop(it.files.remove(Path::new("/windows/drivers/snapless.sys"))),
        "snapless.sys is missing",
    ),
    (|it| drop(it.services.remove(DRIVER)), "the service snapless is missing"),
    (
        |it| it.services.get_mut(DRIVER).unwrap().boot = false,
        "the service snapless does not start with the boot loader",
    ),
    (
        |it| it.services.get_mut(DRIVER).unwrap().file = "/elsewhere".into(),
        "the service snapless has another file",
    ),
    (
        |it| drop(it.files.remove(&Path::new("/programs").join(SERVICE_PROGRAM))),
        "snapless-service.exe is missing",
    ),
    (
        |it| drop(it.files.remove(&Path::new("/programs").join(COMMAND_LINE))),
        "snapless.exe is missing",
    ),
    (|it| drop(it.services.remove(SERVICE)), "SnaplessService is not registered"),
    (|it| it.secured = false, "/data is not there, or open to others"),
    (|it| it.events = None, "the event source is not registered"),
    (
        |it| it.events = Some("/elsewhere".into()),
        "the event source has another message file: /elsewhere",
    ),
    (|it| it.starts_failed = true, "no program reached the driver"),
    (|it| it.filters = vec!["volsnap".into()], "snapless is not on the volume class"),
    (
        |it| it.filters = vec![DRIVER.into(), "volsnap".into()],
        "volsnap (Windows' shadow copies) is above snapless",
    ),
    (|it| it.filters.push(DRIVER.into()), "snapless is in the list twice"),
];

#[test]
fn the_status_before_and_after_an_installation_differs() {
    let system = TestSystem::new(&["volsnap"]);
    assert!(print(false, &system).contains("not registered: volsnap"));
    assert_eq!(json(&system)["installed"], false);
    install::run(&TestSystem::package(1), &system, &mut Vec::new()).unwrap();
    let text = print(false, &system);
    assert!(text.contains("registered: volsnap, snapless"), "{text}");
    assert!(text.contains("A restart of the machine is needed"), "{text}");
    assert!(!text.contains("DANGER") && !text.contains("Wrong"), "{text}");
    system.restart();
    let json = json(&system);
    assert_eq!(json["filter_registered"], true);
    assert_eq!(json["version"], "1.0.0");
    assert_eq!((&json["driver"], &json["service"]), (&"running".into(), &"running".into()));
    assert_eq!((&json["boots"], &json["restart_needed"]), (&true.into(), &false.into()));
    assert_eq!(json["faults"], serde_json::json!([]));
}

#[test]
fn each_damage_is_named_and_a_repair_puts_it_right() {
    for (damage, name) in DAMAGES {
        let system = installed();
        system.change_state(damage);
        assert!(!system.state().is_complete(1), "{name}");
        let faults = json(&system)["faults"].clone();
        assert_eq!(faults.as_array().unwrap().len(), 1, "{faults}");
        assert!(faults[0]["fault"].as_str().unwrap().contains(name), "{faults}");
        let text = print(false, &system);
        assert!(text.contains("put right by `snapless-setup repair`"), "{text}");
        assert_eq!(text.contains("DANGER"), system.state().boots().is_err(), "{text}");
        let mut out = Vec::new();
        repair::run(&TestSystem::package(1), &system, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains(name), "a repair says what it does: {said}");
        assert!(system.state().is_complete(1), "{name}: {:?}", system.state());
        assert_eq!(json(&system)["faults"], serde_json::json!([]));
    }
}

#[test]
fn each_setting_of_the_service_is_looked_at_and_put_right() {
    for setting in Setting::ALL {
        let system = installed();
        system.change_state(|state| state.settings.retain(|other| *other != setting));
        let faults = json(&system)["faults"].clone();
        let text = faults.to_string();
        assert_eq!(text.contains(setting.name()), setting != UNSUPPORTED, "{text}");
        let mut out = Vec::new();
        repair::run(&TestSystem::package(1), &system, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        assert_eq!(said.contains(setting.name()), setting != UNSUPPORTED, "{said}");
        assert!(system.state().is_complete(1));
    }
}

#[test]
fn what_the_system_does_not_have_is_said() {
    let system = TestSystem::new(&["volsnap"]);
    let mut out = Vec::new();
    install::run(&TestSystem::package(1), &system, &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    assert!(said.contains(&format!("{}: this system has none", UNSUPPORTED.name())), "{said}");
    assert!(print(false, &system).contains(&format!("service: {}: unknown", UNSUPPORTED.name())));
}

#[test]
fn a_file_with_other_content_is_replaced() {
    for (file, part) in [
        ("/windows/drivers/snapless.sys", "driver"),
        ("/programs/snapless-service.exe", "program"),
        ("/programs/snapless.exe", "program"),
    ] {
        let system = installed();
        system.change_state(|state| drop(state.files.insert(file.into(), "torn".into())));
        let mut out = Vec::new();
        repair::run(&TestSystem::package(1), &system, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains(&format!("{part:<9} {file} is not the package's")), "{said}");
        assert!(system.state().is_complete(1));
    }
}

#[test]
fn an_order_that_cannot_be_put_right_is_a_warning() {
    let system = TestSystem::new(&["bsrvflt", "volsnap"]);
    let mut out = Vec::new();
    install::run(&TestSystem::package(1), &system, &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    assert!(said.contains("WARNING   volsnap (Windows' shadow copies) is above"), "{said}");
    let status = json(&system);
    assert_eq!(status["class_filters"], serde_json::json!(["snapless", "bsrvflt", "volsnap"]));
    assert!(status["warnings"][0].as_str().unwrap().contains("is above snapless"), "{status}");
    assert_eq!(status["faults"], serde_json::json!([]));
    let text = print(false, &system);
    assert!(text.contains("WARNING") && text.contains("is above snapless"), "{text}");
}

#[test]
fn a_filter_without_its_driver_is_a_danger() {
    let system = TestSystem::new(&["snapless"]);
    assert!(print(false, &system).contains("DANGER"));
    assert_eq!(json(&system)["boots"], false);
}

#[test]
fn counters_that_are_missing_are_a_warning_and_a_repair_registers_them() {
    let system = installed();
    system.change_state(|state| state.counters = false);
    let status = json(&system);
    assert_eq!(status["faults"], serde_json::json!([]));
    let warning = status["warnings"][0].as_str().unwrap();
    assert!(warning.contains("counters of this version are not registered"), "{warning}");
    let printed = print(false, &system);
    assert!(printed.contains("WARNING") && printed.contains("the performance counters"));
    repair::run(&TestSystem::package(1), &system, &mut Vec::new()).unwrap();
    assert!(system.state().is_complete(1));
    assert_eq!(json(&system)["warnings"], serde_json::json!([]));
}
