//! The PowerShell of steps: each script ends with an error at its first one.

use vm_protocol::message::Command;

use crate::matrix::{Case, FileSystem, Layout};
use crate::measure::SHADOW_COPY_KEPT;

/// Bytes of the data disk; no other disk has this length, which tells it from them.
pub const DATA_BYTES: u64 = 16 << 30;

/// A script as a command that has to succeed.
pub fn powershell(script: &str) -> Command {
    let script = format!("$ErrorActionPreference = 'Stop'; {script}");
    let options = ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-Command"];
    let mut arguments: Vec<&str> = options.to_vec();
    arguments.push(&script);
    Command::new("powershell.exe", &arguments)
}

/// Makes the data volume E: of a case.
pub fn make_volume(case: &Case) -> String {
    let disk = format!("$disk = Get-Disk | Where-Object Size -eq {DATA_BYTES}; ");
    let format = match case.file_system {
        FileSystem::Ntfs => "NTFS",
        FileSystem::Refs => "ReFS",
        FileSystem::Fat => "FAT32",
    };
    let formatted = format!("Format-Volume -DriveLetter E -FileSystem {format} -Confirm:$false");
    let partition = "New-Partition -UseMaximumSize -DriveLetter E";
    match case.layout {
        Layout::Basic => format!(
            "{disk} Initialize-Disk -Number $disk.Number -PartitionStyle GPT; \
             {partition} -DiskNumber $disk.Number; {formatted}"
        ),
        Layout::Dynamic => format!(
            "{disk} @(\"select disk $($disk.Number)\", 'online disk noerr', 'convert gpt', \
             'convert dynamic', \"create volume simple disk=$($disk.Number)\", \
             'format fs=ntfs quick', 'assign letter=E') | \
             Set-Content -Encoding ascii diskpart.txt; diskpart /s diskpart.txt; \
             if ($LASTEXITCODE -ne 0) {{ throw 'diskpart' }}"
        ),
        Layout::StorageSpaces | Layout::ThinStorageSpaces => {
            let provisioning = if case.layout == Layout::StorageSpaces { "Fixed" } else { "Thin" };
            let size = if case.layout == Layout::StorageSpaces {
                "-UseMaximumSize".to_owned()
            } else {
                format!("-Size {}", DATA_BYTES / 2)
            };
            format!(
                "$able = Get-PhysicalDisk -CanPool $true | Where-Object Size -eq {DATA_BYTES}; \
                 New-StoragePool -FriendlyName pool -PhysicalDisks $able \
                 -StorageSubSystemFriendlyName (Get-StorageSubSystem | \
                 Select-Object -First 1).FriendlyName; \
                 $space = New-VirtualDisk -StoragePoolFriendlyName pool -FriendlyName space \
                 -ResiliencySettingName Simple -ProvisioningType {provisioning} {size}; \
                 $disk = $space | Get-Disk; \
                 Initialize-Disk -Number $disk.Number -PartitionStyle GPT; \
                 {partition} -DiskNumber $disk.Number; {formatted}"
            )
        }
    }
}

/// Makes a file of zeros, of which nothing is left in caches.
pub fn fill(letter: &str, name: &str, bytes: u64) -> String {
    format!(
        "$file = [System.IO.File]::Create('{letter}:\\{name}'); $zeros = [byte[]]::new(1MB); \
         for ($done = 0; $done -lt {bytes}; $done += 1MB) {{ $file.Write($zeros, 0, 1MB) }}; \
         $file.Flush($true); $file.Close(); Write-VolumeCache -DriveLetter {letter}"
    )
}

/// Puts `BitLocker` below the volume; the feature needs a restart before.
pub const ENCRYPT: &str = "Enable-BitLocker -MountPoint E: -EncryptionMethod XtsAes128 \
     -UsedSpaceOnly -RecoveryPasswordProtector; \
     while ((Get-BitLockerVolume E:).EncryptionPercentage -lt 100) { Start-Sleep 5 }";

/// Waits until a volume's first sync is complete and nothing is left to read again.
pub fn wait_until_live(volumes: usize) -> String {
    format!(
        "do {{ Start-Sleep 2; $now = (& snapless status --json | ConvertFrom-Json).sessions; \
         $live = @($now | Where-Object {{ $_.phase -eq 'live' -and $_.consistent }}) }} \
         while ($live.Count -lt {volumes})"
    )
}

/// Starts and stops sessions.
pub fn start_and_stop(volume: &str, times: u32) -> String {
    format!(
        "foreach ($time in 1..{times}) {{ \
         & snapless protect {volume}; if ($LASTEXITCODE) {{ throw \"protect, time $time\" }}; \
         & snapless unprotect {volume}; if ($LASTEXITCODE) {{ throw \"unprotect, time $time\" }} }}"
    )
}

/// Gives shadow copies of a volume room on it, or takes that away again.
pub fn shadow_storage(volume: &str, is_there: bool) -> String {
    let (verb, more) = if is_there { ("add", "/maxsize=4GB") } else { ("delete", "/quiet") };
    format!(
        "vssadmin {verb} shadowstorage /for={volume} /on={volume} {more}; \
         if ($LASTEXITCODE) {{ throw 'vssadmin' }}"
    )
}

/// Makes a shadow copy of a volume, and notes which one it is.
pub fn make_shadow_copy(volume: &str) -> String {
    format!(
        "$said = vssadmin create shadow /for={volume} | Out-String; $said; \
         if ($LASTEXITCODE) {{ throw 'vssadmin' }}; \
         if ($said -match '\\{{[-0-9a-f]{{36}}\\}}') {{ Set-Content shadow-copy.txt $Matches[0] }} \
         else {{ throw 'vssadmin names no shadow copy' }}"
    )
}

/// Deletes the shadow copy that was noted, and says if it was still there: Windows deletes one
/// whose storage does not grow in time.
pub fn delete_shadow_copy() -> String {
    format!(
        "$id = Get-Content shadow-copy.txt; \
         if (Get-CimInstance Win32_ShadowCopy | Where-Object ID -eq $id) {{ \
         $said = vssadmin delete shadows /shadow=$id /quiet | Out-String; \
         if ($LASTEXITCODE) {{ throw $said }}; '{SHADOW_COPY_KEPT}' }} else {{ 'lost' }}"
    )
}

/// Takes more memory than there is, for a while.
pub const PAGING_PRESSURE: &str = "$all = (Get-CimInstance Win32_ComputerSystem).TotalPhysicalMemory; \
     $kept = [System.Collections.Generic.List[byte[]]]::new(); \
     for ($taken = 0; $taken -lt $all * 1.2; $taken += 64MB) { \
     $part = [byte[]]::new(64MB); for ($at = 0; $at -lt 64MB; $at += 4096) { $part[$at] = 1 }; \
     $kept.Add($part) }; \
     foreach ($part in $kept) { for ($at = 0; $at -lt 64MB; $at += 4096) { $part[$at]++ } }";

/// Exports the logs that a run is judged by.
pub const EXPORT_LOGS: &str = "New-Item -ItemType Directory -Force logs | Out-Null; \
     foreach ($log in 'System', 'Application', 'Microsoft-Windows-Kernel-PnP/Configuration') { \
     wevtutil epl $log (Join-Path logs (($log -replace '[^A-Za-z0-9-]', '_') + '.evtx')) /ow:true }";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::CASES;

    #[test]
    fn brackets_of_every_script_are_closed() {
        let mut scripts: Vec<String> = CASES.iter().map(make_volume).collect();
        scripts.extend([ENCRYPT, PAGING_PRESSURE, EXPORT_LOGS].map(str::to_owned));
        scripts.extend([fill("E", "x", 1), wait_until_live(1), start_and_stop("E:", 1000)]);
        scripts.extend([shadow_storage("E:", true), shadow_storage("E:", false)]);
        scripts.extend([make_shadow_copy("E:"), delete_shadow_copy()]);
        for script in scripts {
            for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
                let count = |letter| script.chars().filter(|it| *it == letter).count();
                assert_eq!(count(open), count(close), "{script}");
            }
            assert!(script.matches('\'').count() % 2 == 0 && script.matches('"').count() % 2 == 0);
        }
    }
}
