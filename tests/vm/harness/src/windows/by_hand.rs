//! Steps of docs/windows-test-plan.md that the program does not carry out, and why.

use std::ops::RangeInclusive;

/// Numbers and reason.
pub const BY_HAND: &[(RangeInclusive<u32>, &str)] = &[
    (1..=1, "InfVerif is a tool of the WDK; Windows CI runs it"),
    (4..=4, "another machine, and a package without its catalog"),
    (5..=5, "a machine on which test signing was never on"),
    (6..=6, "a package of a later version"),
    (7..=7, "a later version whose driver does not load"),
    (9..=9, "User Account Control asks a person"),
    (10..=10, "Windows Server 2016"),
    (11..=11, "winget is no part of Windows Server 2019 and 2022"),
    (12..=12, "Chocolatey is no part of Windows"),
    (13..=13, "figures of two programs are compared over minutes"),
    (14..=14, "a second user, and figures that Explorer shows"),
    (16..=16, "a server that stops until a gap has begun"),
    (17..=17, "Event Viewer is a program with windows"),
    (22..=22, "the counters of two volumes are looked at while one goes"),
    (23..=23, "a program of Windows is denied to SYSTEM"),
    (25..=26, "a second machine with restored disks"),
    (27..=36, "a second volume as long as the first, and programs of other vendors"),
    (37..=38, "PowerShell 7 is no part of Windows; Windows CI runs the tests of the module"),
    (39..=51, "SQL Server, tools of the Windows SDK and traces that a person reads"),
    (52..=52, "two data disks, a second machine, and a program that is not part of the medium"),
    (53..=56, "bytes that were read are compared with what a person knows of the volume's files"),
];
