# What the module does, with a program that stands in for snapless.exe. For Pester 5, on Windows, in
# Windows PowerShell 5.1 and in PowerShell 7:
#
#     Invoke-Pester -Path powershell/tests
#
# Not run by `cargo xtask test`, which has no PowerShell: cli/tests/powershell/ checks what can be
# checked without one.

BeforeAll {
    $module = Join-Path -Path $PSScriptRoot -ChildPath '..\Snapless\Snapless.psd1'
    Import-Module -Name $module -Force

    # Has the module's runner give an answer, and keep the command line that it got.
    function Set-Answer {
        param([object] $ExitCode = 0, [string] $Answer = '', [string] $Problem = '')

        $script:Result = [pscustomobject]@{ ExitCode = $ExitCode; Answer = $Answer; Problem = $Problem }
        $runner = {
            param([string] $Program, [string] $Arguments, [securestring] $Token)
            $global:SnaplessSaid += , $Arguments
            $global:SnaplessToken = $Token
            $global:SnaplessResult
        }
        $global:SnaplessSaid = @()
        $global:SnaplessToken = $null
        $global:SnaplessResult = $script:Result
        & (Get-Module -Name Snapless) { param($Runner) $script:Runner = $Runner } $runner
    }

    $guid = '71a27cdd-812a-11d0-bec7-08002be2092f'
    $volumes = @{
        restart_needed = $false
        volumes        = @(
            @{
                device = '\Device\HarddiskVolume3'; volume = $guid; length = 104857600
                sector_size = 512; phase = 'none'; session = $null; protection = 'possible'
                special_files = @('paging')
            }
            @{
                device = '\Device\HarddiskVolume4'; volume = $null; length = $null
                sector_size = $null; phase = 'none'; session = $null; protection = 'silent'
                special_files = @()
            }
        )
    } | ConvertTo-Json -Depth 5
    $change = '{"volume":"{' + $guid + '}","server":"backup:4850","changed":true,"paused":false}'
}

AfterAll {
    Remove-Module -Name Snapless
    $names = 'SnaplessSaid', 'SnaplessToken', 'SnaplessResult'
    Remove-Variable -Scope Global -Name $names -ErrorAction Ignore
}

Describe 'Get-SnaplessVolume' {
    It 'gives an object of each volume, with a name that the other cmdlets take' {
        Set-Answer -Answer $volumes
        $found = @(Get-SnaplessVolume)
        $found.Count | Should -Be 2
        $found[0].PSObject.TypeNames[0] | Should -Be 'Snapless.Volume'
        $found[0].Volume | Should -Be "{$guid}"
        $found[1].Volume | Should -Be '\Device\HarddiskVolume4'
        $found[0].Length | Should -Be 104857600
        ($found | Format-Table | Out-String) | Should -Match '0[.,]1 GiB'
    }

    It 'warns of a driver that is older' {
        Set-Answer -Answer '{"restart_needed":true,"volumes":[]}'
        Get-SnaplessVolume -WarningVariable warned -WarningAction SilentlyContinue
        "$warned" | Should -Match 'restart this machine'
    }
}

Describe 'Get-SnaplessPoint and New-SnaplessBookmark' {
    It 'gives an object of each stretch, gap and bookmark, with local times' {
        $at = '2026-11-23T14:00:00Z'
        $entry = @{
            session = $guid; state = 'gap'; t0 = $at; t0_restorable = $true
            points = @(@{ from = $at; to = $at }); whole_from = $null; error = $null
            gaps = @(@{ from = $at; to = $null; reason = 'the machine was restarted' })
        }
        $mark = @{ name = 'before'; session = $guid; time = $at; error = $null }
        $told = @{ volume = $guid; latest = $at; sessions = @($entry); bookmarks = @($mark); left_out = 0 }
        Set-Answer -Answer ($told | ConvertTo-Json -Depth 6)
        $found = @(Get-SnaplessPoint -Volume D:)
        $found.Kind | Should -Be @('T0', 'Points', 'Gap', 'Bookmark')
        $found[2].To | Should -BeNullOrEmpty
        $found[3].Name | Should -Be 'before'
        $found[0].From.ToUniversalTime().Hour | Should -Be 14
        $global:SnaplessSaid | Should -Be @('points --json -- D:')
    }

    It 'names an instant, and says which' {
        $made = @{ volume = $guid; session = $guid; name = 'before'; time = '2026-11-23T14:00:00Z' }
        Set-Answer -Answer ($made | ConvertTo-Json)
        (New-SnaplessBookmark -Volume D: -Name before).Name | Should -Be 'before'
        $global:SnaplessSaid | Should -Be @('bookmark --json -- D: before')
        $made += @{ consistency = 'application'; writers = @('SqlServerWriter'); notes = @() }
        Set-Answer -Answer ($made | ConvertTo-Json)
        $frozen = New-SnaplessBookmark -Volume D: -Name before -Consistency Application -OrCrash
        $frozen.Consistency | Should -Be 'application'
        $global:SnaplessSaid[-1] | Should -Be 'bookmark --json --consistency application --or-crash -- D: before'
    }
}

Describe 'A group' {
    BeforeAll {
        $at = '2026-11-23T14:00:00Z'
        $other = '82b38dee-812a-11d0-bec7-08002be2092f'
        $named = @{
            group = 'sql'; name = 'before'; time = $at
            volumes = @(
                @{ machine = $null; name = 'D:'; volume = $guid; session = $guid; time = $at }
                @{ machine = 'db2'; name = 'E:'; volume = $other; session = $other; time = $at }
            )
        }
        $common = @{
            group = 'sql'; first = $at; latest = $at; left_out = 0
            volumes = @(@{ name = 'D:'; volume = $guid; latest = $at })
            points = @(@{ from = $at; to = $at })
            bookmarks = @(@{ name = 'before'; time = $at })
        }
    }

    It 'has stretches and bookmarks in common' {
        Set-Answer -Answer ($common | ConvertTo-Json -Depth 5)
        $found = @(Get-SnaplessPoint -Group sql)
        $found.Kind | Should -Be @('Points', 'Bookmark')
        $found.Group | Should -Be @('sql', 'sql')
        $found[1].Name | Should -Be 'before'
        $found[1].Volume | Should -BeNullOrEmpty
        $global:SnaplessSaid | Should -Be @('points --json --group=sql')
    }

    It 'gets one name for an instant of all its volumes' {
        Set-Answer -Answer ($named | ConvertTo-Json -Depth 5)
        $made = @(New-SnaplessBookmark -Group sql -Name before)
        $made.Volume | Should -Be @($guid, $other)
        $made.Group | Should -Be @('sql', 'sql')
        $made[1].ComputerName | Should -Be 'db2'
        $made[0].From.ToUniversalTime().Hour | Should -Be 14
        $global:SnaplessSaid | Should -Be @('bookmark --json --group=sql -- before')
        New-SnaplessBookmark -Group sql -Name before -WhatIf
        $global:SnaplessSaid.Count | Should -Be 1
    }

    It 'is no volume, and prepares no applications' {
        { Get-SnaplessPoint -Volume D: -Group sql } | Should -Throw
        { New-SnaplessBookmark -Group sql -Name before -Consistency Scripts } | Should -Throw
    }

    It 'gets its volumes when they are protected' {
        Set-Answer -Answer $change
        'D:', 'E:' | Start-SnaplessProtection -Group sql -Confirm:$false
        $global:SnaplessSaid[0] | Should -Be 'protect --json --group=sql -- D:'
        $global:SnaplessSaid.Count | Should -Be 2
    }
}

Describe 'Restore-SnaplessPoint' {
    BeforeAll {
        $done = @{
            volume = $guid; session = $guid; time = '2026-11-23T14:00:00Z'; target = 'E:'; bytes = 1048576
            sector_size = 512; same_bytes = 983040; fetched_bytes = 65536; received_bytes = 4096
            written_bytes = 65536; unreadable_bytes = 0; compared = $true; reconnects = 0; gap_since = $null
        }
    }

    It 'names the point and the target, and says what differed' {
        Set-Answer -Answer ($done | ConvertTo-Json)
        $restored = Restore-SnaplessPoint -Volume D: -Point before -To E: -Force -Confirm:$false
        $restored.FetchedBytes | Should -Be 65536
        $restored.Time.ToUniversalTime().Hour | Should -Be 14
        $global:SnaplessSaid | Should -Be @('restore --json --at=before --to=E: --force -- D:')
    }

    It 'does nothing with -WhatIf' {
        Set-Answer -Answer ($done | ConvertTo-Json)
        Restore-SnaplessPoint -Volume D: -Point latest -To E: -WhatIf
        $global:SnaplessSaid.Count | Should -Be 0
    }
}

Describe 'Start-SnaplessProtection' {
    It 'takes volumes from the pipeline' {
        Set-Answer -Answer $change
        $objects = [pscustomobject]@{ Volume = 'D:' }, [pscustomobject]@{ UniqueId = '\\?\Volume{x}\' }
        $done = $objects | Start-SnaplessProtection -Server 'backup:4850' -Confirm:$false
        $done.Count | Should -Be 2
        $done[0].Changed | Should -BeTrue
        $global:SnaplessSaid[0] | Should -Be 'protect --json --to=backup:4850 -- D:'
        $global:SnaplessSaid[1] | Should -Be 'protect --json --to=backup:4850 -- \\?\Volume{x}\'
    }

    It 'takes strings from the pipeline' {
        Set-Answer -Answer $change
        'D:', 'E:' | Start-SnaplessProtection -Confirm:$false
        $global:SnaplessSaid | Should -Be 'protect --json -- D:', 'protect --json -- E:'
    }

    It 'never gives a name as an option' {
        Set-Answer -Answer $change
        Start-SnaplessProtection -Volume '--help' -Confirm:$false
        $global:SnaplessSaid | Should -Be 'protect --json -- --help'
    }
}

Describe 'Stop-SnaplessProtection' {
    It 'does nothing with -WhatIf' {
        Set-Answer -Answer $change
        Stop-SnaplessProtection -Volume D: -WhatIf
        $global:SnaplessSaid.Count | Should -Be 0
    }

    It 'runs <Command> for <Cmdlet>' -TestCases @(
        @{ Cmdlet = 'Stop-SnaplessProtection'; Command = 'unprotect' }
        @{ Cmdlet = 'Suspend-SnaplessProtection'; Command = 'pause' }
        @{ Cmdlet = 'Resume-SnaplessProtection'; Command = 'resume' }
    ) {
        param($Cmdlet, $Command)
        Set-Answer -Answer $change
        & $Cmdlet -Volume D: -Confirm:$false
        $global:SnaplessSaid | Should -Be "$Command --json -- D:"
    }
}

Describe 'An error' {
    It 'of exit code <Code> has the category <Category>' -TestCases @(
        @{ Code = 1; Category = 'NotSpecified' }
        @{ Code = 2; Category = 'InvalidArgument' }
        @{ Code = 3; Category = 'ResourceUnavailable' }
        @{ Code = 4; Category = 'ObjectNotFound' }
        @{ Code = 5; Category = 'PermissionDenied' }
        @{ Code = 7; Category = 'ResourceUnavailable' }
        @{ Code = 11; Category = 'InvalidOperation' }
        @{ Code = $null; Category = 'ResourceUnavailable' }
    ) {
        param($Code, $Category)
        Set-Answer -ExitCode $Code -Problem '{"error":{"code":1,"text":"it is so"}}'
        Suspend-SnaplessProtection -Volume D: -ErrorVariable failed -ErrorAction SilentlyContinue
        "$($failed[0].CategoryInfo.Category)" | Should -Be $Category
        "$($failed[0])" | Should -Be 'it is so'
        $failed[0].TargetObject | Should -Be 'D:'
    }

    It 'does not stop the volumes after it' {
        Set-Answer -ExitCode 4 -Problem '{"error":{"code":4,"text":"no such volume"}}'
        'D:', 'E:' | Resume-SnaplessProtection -ErrorAction SilentlyContinue
        $global:SnaplessSaid.Count | Should -Be 2
    }

    It 'that is no JSON is said as it is' {
        Set-Answer -ExitCode 101 -Problem 'it ended'
        { Get-SnaplessStatus -ErrorAction Stop } | Should -Throw '*it ended*'
    }
}

Describe 'Test-SnaplessVolume' {
    It 'gives what differs, and an error beside it' {
        $found = @{
            volume = 'D:'; session = $guid; verifying = $false; rate_bytes_per_second = $null
            repaired_bytes = $null
            outcome = @{
                compared_seq = 9; read_unix_ms = $null; same_bytes = 1024; differing_bytes = 512
                unclear_bytes = 0; overtaken_bytes = 0; left_out_bytes = 0; damaged = $false
                differing = @(@{ offset = 65536; len = 512 })
            }
        } | ConvertTo-Json -Depth 5
        Set-Answer -ExitCode 6 -Answer $found -Problem '{"error":{"code":6,"text":"differs"}}'
        $said = Test-SnaplessVolume -Volume D: -Wait -ErrorVariable failed -ErrorAction SilentlyContinue
        $said.IsSame | Should -BeFalse
        $said.Differing[0].offset | Should -Be 65536
        "$($failed[0].CategoryInfo.Category)" | Should -Be 'InvalidData'
        $global:SnaplessSaid | Should -Be 'verify --json --wait -- D:'
    }
}

Describe 'Register-SnaplessServer' {
    It 'has the token on no command line' {
        $identity = '{"machine":"00","name":"web-1","server":"backup:4850",' +
        '"valid_until":"2027-01-01T00:00:00Z","renewed":false}'
        Set-Answer -Answer $identity
        $token = ConvertTo-SecureString -String 'snapless-secret' -AsPlainText -Force
        $done = Register-SnaplessServer -Server 'backup:4850' -Token $token -Confirm:$false
        $global:SnaplessSaid | Should -Be 'enroll --json --token=- -- backup:4850'
        $global:SnaplessToken | Should -Be $token
        $done.ValidUntil | Should -BeOfType ([datetime])
        $done.ValidUntil.ToUniversalTime().Year | Should -Be 2027
    }
}

Describe 'The runner' {
    BeforeAll {
        Import-Module -Name $module -Force
        $echo = Join-Path -Path $TestDrive -ChildPath 'echo.ps1'
        # The first line of standard input, and the words.
        Set-Content -Path $echo -Encoding UTF8 -Value @(
            '[Console]::OutputEncoding = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false'
            'ConvertTo-Json -Compress -InputObject (@([Console]::In.ReadLine()) + $args)'
            '[Console]::Error.Write("on standard error")'
            'exit 7'
        )
    }

    It 'hands over every word as it is, and a token over standard input' {
        $shell = (Get-Process -Id $PID).Path
        $words = 'plain', '', 'with space', 'a"quote', 'ends in \', 'with space\', '\"', 'C:\a b\"c'
        $token = ConvertTo-SecureString -String 'snapless-secret' -AsPlainText -Force
        $result = & (Get-Module -Name Snapless) {
            param($Shell, $Echo, $Words, $Token)
            $quoted = foreach ($word in @('-NoProfile', '-File', $Echo) + $Words) {
                ConvertTo-SnaplessArgument -Word $word
            }
            & $script:Runner $Shell ($quoted -join ' ') $Token
        } $shell $echo $words $token
        $result.ExitCode | Should -Be 7
        $result.Problem | Should -Be 'on standard error'
        $said = ConvertFrom-Json -InputObject $result.Answer
        # A code page of UTF-8 puts a byte order mark before what is written to a program.
        $said[0].TrimStart([char] 0xfeff) | Should -Be 'snapless-secret'
        $said[1..($said.Count - 1)] | Should -Be $words
    }

    It 'says which program is missing' {
        $result = & (Get-Module -Name Snapless) { & $script:Runner 'C:\none\snapless.exe' 'volumes' $null }
        $result.ExitCode | Should -BeNullOrEmpty
        $result.Problem | Should -Match 'install Snapless'
    }
}
