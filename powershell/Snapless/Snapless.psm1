# The cmdlets of Snapless, over the JSON of snapless.exe (docs/schema/).
#
# Rules: a member in lower case is a field of that JSON, and every other one is PowerShell's. What is
# named by a person goes to the program quoted, after '--' or behind '=', so that it is never taken
# for an option. A secret goes over standard input, never over a command line. The file is ASCII:
# Windows PowerShell reads a file without a byte order mark in the system's code page.

Set-StrictMode -Version 3.0

# The program that is run; empty for the one that the setup installed.
$script:Program = ''

# Identities and categories of errors, by the program's exit code.
$script:Kinds = @{
    2 = 'WrongArguments', 'InvalidArgument'
    3 = 'DriverNotRunning', 'ResourceUnavailable'
    4 = 'NoSuchVolume', 'ObjectNotFound'
    5 = 'AccessDenied', 'PermissionDenied'
    6 = 'CopyDiffers', 'InvalidData'
    7 = 'ServiceNotRunning', 'ResourceUnavailable'
    9 = 'NotRestorable', 'InvalidOperation'
    10 = 'PartlyUnreadable', 'ReadError'
    11 = 'NotConsistent', 'InvalidOperation'
}

# Runs the program once, on this machine or on another: it uses nothing of this module.
#
# Not by the call operator: Windows PowerShell loses quotation marks and empty words of arguments, and
# reads what the program says in the console's code page.
$script:Runner = {
    param([string] $Program, [string] $Arguments, [securestring] $Token)

    # Without an exit code: it did not run.
    $report = {
        param([object] $Code, [string] $Answer, [string] $Problem)
        [pscustomobject]@{ ExitCode = $Code; Answer = $Answer; Problem = $Problem }
    }
    if (-not $Program) {
        $folder = $env:ProgramW6432
        if (-not $folder) { $folder = $env:ProgramFiles }
        $Program = [System.IO.Path]::Combine("$folder", 'Snapless', 'snapless.exe')
    }
    if (-not [System.IO.File]::Exists($Program)) {
        return (& $report $null '' "there is no ${Program}: install Snapless on this machine")
    }
    $utf8 = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false
    $start = New-Object -TypeName System.Diagnostics.ProcessStartInfo
    $start.FileName = $Program
    $start.Arguments = $Arguments
    $start.UseShellExecute = $false
    $start.CreateNoWindow = $true
    $start.RedirectStandardInput = $true
    $start.RedirectStandardOutput = $true
    $start.RedirectStandardError = $true
    $start.StandardOutputEncoding = $utf8
    $start.StandardErrorEncoding = $utf8
    $process = New-Object -TypeName System.Diagnostics.Process
    $process.StartInfo = $start
    $isStarted = $false
    try {
        $isStarted = $process.Start()
        # Both at once: a full pipe that is not read would stop the program.
        $answer = $process.StandardOutput.ReadToEndAsync()
        $problem = $process.StandardError.ReadToEndAsync()
        if ($Token) {
            $credential = New-Object -TypeName System.Net.NetworkCredential -ArgumentList '', $Token
            $secret = $utf8.GetBytes($credential.Password)
            # A program that has refused already reads nothing, and says why.
            try { $process.StandardInput.BaseStream.Write($secret, 0, $secret.Length) }
            catch [System.IO.IOException] { }
            [System.Array]::Clear($secret, 0, $secret.Length)
        }
        try { $process.StandardInput.Close() } catch [System.IO.IOException] { }
        # In steps: Ctrl-C ends the pipeline between two statements.
        while (-not $process.WaitForExit(200)) { }
        & $report $process.ExitCode $answer.Result $problem.Result
    }
    catch {
        & $report $null '' "$Program cannot be run: $($_.Exception.Message)"
    }
    finally {
        if ($isStarted -and -not $process.HasExited) { $process.Kill() }
        $process.Dispose()
    }
}

# One word of a command line, quoted as CommandLineToArgvW reads it: backslashes stand for themselves
# unless a quotation mark follows.
function ConvertTo-SnaplessArgument {
    param([AllowEmptyString()] [string] $Word)

    if ($Word -and $Word -notmatch '[\s"]') { return $Word }
    $escaped = $Word -replace '(\\*)"', '$1$1\"'
    $escaped = $escaped -replace '(\\+)$', '$1$1'
    return '"' + $escaped + '"'
}

# A time of the JSON, local; PowerShell 7 has made a date of it already, Windows PowerShell has not.
function ConvertTo-SnaplessTime {
    param([object] $Value)

    if ($null -eq $Value) { return $null }
    if ($Value -is [datetime]) { return $Value.ToLocalTime() }
    $style = [System.Globalization.DateTimeStyles]::RoundtripKind
    $culture = [System.Globalization.CultureInfo]::InvariantCulture
    return [datetime]::Parse([string] $Value, $culture, $style).ToLocalTime()
}

# Seconds as a time span; none of none.
function ConvertTo-SnaplessSpan {
    param([object] $Seconds)

    if ($null -eq $Seconds) { return $null }
    return [timespan]::FromSeconds([double] $Seconds)
}

# The name by which commands take a volume: its GUID, or else its device.
function ConvertTo-SnaplessName {
    param([object] $Guid, [object] $Device)

    if ($Guid) { return '{' + ([string] $Guid).Trim('{', '}') + '}' }
    return [string] $Device
}

# A failure of the program, with the category of its exit code; without a code it did not run.
function New-SnaplessErrorRecord {
    param([object] $ExitCode, [string] $Problem, [object] $Target, [string] $ComputerName)

    $text = $Problem.Trim()
    try { $text = (ConvertFrom-Json -InputObject $text).error.text } catch { }
    if (-not $text) { $text = "snapless.exe ended with exit code $ExitCode and said nothing" }
    $id, $category = 'ProgramNotRun', 'ResourceUnavailable'
    if ($null -ne $ExitCode) {
        $id, $category = 'Failed', 'NotSpecified'
        if ($script:Kinds.ContainsKey([int] $ExitCode)) { $id, $category = $script:Kinds[[int] $ExitCode] }
    }
    if ($ComputerName) { $text = "${ComputerName}: $text" }
    $exception = New-Object -TypeName System.InvalidOperationException -ArgumentList $text
    $list = @($exception, "Snapless$id", [System.Management.Automation.ErrorCategory] $category, $Target)
    return New-Object -TypeName System.Management.Automation.ErrorRecord -ArgumentList $list
}

# Runs a command of the program, here or on other machines; emits each answer with its machine, and
# writes each failure as an error of the calling cmdlet.
function Invoke-SnaplessProgram {
    param(
        [string[]] $Words,
        [System.Management.Automation.PSCmdlet] $Caller,
        [System.Collections.IDictionary] $Bound,
        [object] $Target,
        [securestring] $Token
    )

    $quoted = foreach ($word in $Words) { ConvertTo-SnaplessArgument -Word $word }
    $list = @($script:Program, ($quoted -join ' '), $Token)
    $remote = Get-SnaplessMachine -Bound $Bound
    if ($remote.Count -eq 0) {
        $results = & $script:Runner @list
    }
    else {
        $results = Invoke-Command @remote -ScriptBlock $script:Runner -ArgumentList $list
    }
    foreach ($result in $results) {
        $machine = ''
        if ($remote.Count -gt 0) { $machine = [string] $result.PSComputerName }
        if ($result.Answer) {
            # An answer and an error: a verification that found a difference.
            $document = ConvertFrom-Json -InputObject $result.Answer
            [pscustomobject]@{ Document = $document; ComputerName = $machine }
        }
        if ($result.ExitCode -ne 0) {
            $failure = @{
                ExitCode     = $result.ExitCode
                Problem      = $result.Problem
                Target       = $Target
                ComputerName = $machine
            }
            $Caller.WriteError((New-SnaplessErrorRecord @failure))
        }
    }
}

# Where a command runs, as parameters of Invoke-Command; none for this machine. Objects of this
# machine have an empty ComputerName, and those of a session that of the session.
function Get-SnaplessMachine {
    param([System.Collections.IDictionary] $Bound)

    if ($Bound.ContainsKey('Session')) { return @{ Session = $Bound['Session'] } }
    if ($Bound.ContainsKey('ComputerName')) {
        $names = @($Bound['ComputerName'] | Where-Object -FilterScript { $_ })
        if ($names.Count -gt 0) { return @{ ComputerName = $names } }
    }
    return @{}
}

# What an administrator is asked about: the volume, and on which machines.
function Get-SnaplessTarget {
    param([string] $Name, [System.Collections.IDictionary] $Bound)

    $machine = Get-SnaplessMachine -Bound $Bound
    if ($machine.Count -eq 0) { return $Name }
    $names = if ($machine.ContainsKey('ComputerName')) { $machine['ComputerName'] }
    else { foreach ($open in $machine['Session']) { $open.ComputerName } }
    return "$Name on $($names -join ', ')"
}

function ConvertFrom-SnaplessVolume {
    param([object] $Json, [string] $ComputerName)

    [pscustomobject]@{
        PSTypeName   = 'Snapless.Volume'
        Volume       = ConvertTo-SnaplessName -Guid $Json.volume -Device $Json.device
        Device       = $Json.device
        Length       = $Json.length
        SectorSize   = $Json.sector_size
        Phase        = $Json.phase
        SessionId    = $Json.session
        Protection   = $Json.protection
        SpecialFiles = @($Json.special_files)
        ComputerName = $ComputerName
    }
}

function ConvertFrom-SnaplessStatus {
    param([object] $Json, [string] $ComputerName)

    $server = $activity = $problem = $verification = $null
    if ($Json.service) {
        $server = $Json.service.server
        $activity = $Json.service.activity
        $problem = $Json.service.last_error
        $verification = $Json.service.verification
    }
    [pscustomobject]@{
        PSTypeName     = 'Snapless.Status'
        Volume         = ConvertTo-SnaplessName -Guid $Json.volume -Device $Json.device
        Device         = $Json.device
        SessionId      = $Json.session
        Phase          = $Json.phase
        Progress       = [double] $Json.progress
        BytesPerSecond = $Json.rate_bytes_per_second
        TimeLeft       = ConvertTo-SnaplessSpan -Seconds $Json.seconds_left
        T0             = ConvertTo-SnaplessTime -Value $Json.t0
        Latest         = ConvertTo-SnaplessTime -Value $Json.latest
        Rpo            = ConvertTo-SnaplessSpan -Seconds $Json.rpo_seconds
        Length         = $Json.length
        IsConsistent   = $Json.consistent
        IsPaused       = $Json.paused
        IsVerifying    = $Json.verifying
        Gaps           = $Json.gaps
        GapReason      = $Json.gap_reason
        WritesHeld     = $Json.writes_held
        HoldMedianUs   = $Json.hold_median_us
        HoldLongestUs  = $Json.hold_longest_us
        Server         = $server
        Activity       = $activity
        LastError      = $problem
        Verification   = $verification
        Detail         = $Json
        ComputerName   = $ComputerName
    }
}

function ConvertFrom-SnaplessChange {
    param([object] $Json, [string] $ComputerName)

    [pscustomobject]@{
        PSTypeName   = 'Snapless.Change'
        Volume       = $Json.volume
        Server       = $Json.server
        Changed      = $Json.changed
        IsPaused     = $Json.paused
        ComputerName = $ComputerName
    }
}

# The stretches of one session that can be restored or not, in the order of time, and its t0.
function ConvertFrom-SnaplessSession {
    param([object] $Json, [string] $Volume, [string] $ComputerName)

    $of = @{ Volume = $Volume; SessionId = $Json.session; ComputerName = $ComputerName }
    if ($Json.t0 -and $Json.t0_restorable) {
        New-SnaplessPointObject @of -Kind 'T0' -From $Json.t0 -To $Json.t0
    }
    foreach ($stretch in $Json.points) {
        New-SnaplessPointObject @of -Kind 'Points' -From $stretch.from -To $stretch.to
    }
    foreach ($gap in $Json.gaps) {
        New-SnaplessPointObject @of -Kind 'Gap' -From $gap.from -To $gap.to -Reason $gap.reason
    }
}

function New-SnaplessPointObject {
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute(
        'PSUseShouldProcessForStateChangingFunctions', '', Justification = 'It makes an object.')]
    param(
        [string] $Volume, [string] $SessionId, [string] $ComputerName, [string] $Kind,
        [object] $From, [object] $To, [string] $Name, [string] $Reason, [string] $Consistency,
        [string] $Group
    )

    [pscustomobject]@{
        PSTypeName   = 'Snapless.Point'
        Kind         = $Kind
        Name         = $Name
        From         = ConvertTo-SnaplessTime -Value $From
        To           = ConvertTo-SnaplessTime -Value $To
        Reason       = $Reason
        Consistency  = $Consistency
        Group        = $Group
        Volume       = $Volume
        SessionId    = $SessionId
        ComputerName = $ComputerName
    }
}

# What can be restored of all volumes of a group at once: they are of no volume and no session.
function ConvertFrom-SnaplessGroup {
    param([object] $Json, [string] $ComputerName)

    $of = @{ Group = $Json.group; ComputerName = $ComputerName }
    foreach ($stretch in $Json.points) {
        New-SnaplessPointObject @of -Kind 'Points' -From $stretch.from -To $stretch.to
    }
    foreach ($mark in $Json.bookmarks) {
        New-SnaplessPointObject @of -Kind 'Bookmark' -Name $mark.name -From $mark.time -To $mark.time
    }
    if ($Json.left_out) { Write-Warning -Message "$($Json.left_out) older ones are left out." }
}

# The instant of a group that has got a name, for each of its volumes.
function ConvertFrom-SnaplessGroupBookmark {
    param([object] $Json, [string] $ComputerName)

    $point = @{ Kind = 'Bookmark'; Name = $Json.name; Group = $Json.group }
    foreach ($entry in $Json.volumes) {
        # A group of the server's may have volumes of other machines.
        $of = @{ Volume = $entry.volume; SessionId = $entry.session; ComputerName = $ComputerName }
        if ($entry.machine) { $of.ComputerName = $entry.machine }
        New-SnaplessPointObject @of @point -From $entry.time -To $entry.time
    }
}

function ConvertFrom-SnaplessVerification {
    param([object] $Json, [string] $ComputerName)

    $isSame = $same = $differing = $null
    $extents = @()
    if ($Json.outcome) {
        $same = $Json.outcome.same_bytes
        $differing = $Json.outcome.differing_bytes
        $extents = @($Json.outcome.differing)
        $isSame = $differing -eq 0 -and -not $Json.outcome.damaged
    }
    [pscustomobject]@{
        PSTypeName     = 'Snapless.Verification'
        Volume         = $Json.volume
        SessionId      = $Json.session
        IsVerifying    = $Json.verifying
        IsSame         = $isSame
        SameBytes      = $same
        DifferingBytes = $differing
        RepairedBytes  = $Json.repaired_bytes
        Differing      = $extents
        ComputerName   = $ComputerName
    }
}

function ConvertFrom-SnaplessRestore {
    param([object] $Json, [string] $ComputerName)

    [pscustomobject]@{
        PSTypeName      = 'Snapless.Restore'
        Volume          = $Json.volume
        SessionId       = $Json.session
        Time            = ConvertTo-SnaplessTime -Value $Json.time
        Target          = $Json.target
        Length          = $Json.bytes
        SectorSize      = $Json.sector_size
        SameBytes       = $Json.same_bytes
        FetchedBytes    = $Json.fetched_bytes
        ReceivedBytes   = $Json.received_bytes
        WrittenBytes    = $Json.written_bytes
        UnreadableBytes = $Json.unreadable_bytes
        IsCompared      = $Json.compared
        Reconnects      = $Json.reconnects
        GapSince        = ConvertTo-SnaplessTime -Value $Json.gap_since
        ComputerName    = $ComputerName
    }
}

function ConvertFrom-SnaplessIdentity {
    param([object] $Json, [string] $ComputerName)

    [pscustomobject]@{
        PSTypeName   = 'Snapless.Identity'
        Name         = $Json.name
        Machine      = $Json.machine
        Server       = $Json.server
        ValidUntil   = ConvertTo-SnaplessTime -Value $Json.valid_until
        Renewed      = $Json.renewed
        ComputerName = $ComputerName
    }
}

# Says that a driver of an older release is loaded.
function Write-SnaplessRestart {
    param([object] $Json, [string] $ComputerName)

    if ($Json.restart_needed) {
        $machine = if ($ComputerName) { $ComputerName } else { 'this machine' }
        Write-Warning -Message "The loaded driver is older than the program: restart $machine."
    }
}

function Get-SnaplessVolume {
    <#
    .SYNOPSIS
    Gets the volumes that the driver filters.

    .DESCRIPTION
    Gets each volume that Snapless could protect or does protect, with its size, its session and what
    stands against its protection. Needs an administrator.

    .PARAMETER ComputerName
    Machines on which it is asked, by PowerShell remoting. They need Snapless, not this module.

    .PARAMETER Session
    PowerShell sessions in which it is asked; they go before -ComputerName.

    .EXAMPLE
    Get-SnaplessVolume

    Gets the volumes of this machine.

    .EXAMPLE
    Get-SnaplessVolume -ComputerName web-1, web-2 | Where-Object -Property SessionId -EQ $null

    Gets the volumes of two machines that are not protected.

    .OUTPUTS
    Snapless.Volume

    .LINK
    about_Snapless
    #>
    [CmdletBinding()]
    [OutputType('Snapless.Volume')]
    param(
        [ValidateNotNullOrEmpty()]
        [string[]] $ComputerName,

        [System.Management.Automation.Runspaces.PSSession[]] $Session
    )

    $call = @{ Words = @('volumes', '--json'); Caller = $PSCmdlet; Bound = $PSBoundParameters }
    foreach ($answer in Invoke-SnaplessProgram @call) {
        $machine = $answer.ComputerName
        Write-SnaplessRestart -Json $answer.Document -ComputerName $machine
        foreach ($entry in $answer.Document.volumes) {
            ConvertFrom-SnaplessVolume -Json $entry -ComputerName $machine
        }
    }
}

function Get-SnaplessStatus {
    <#
    .SYNOPSIS
    Gets how it stands with each protected volume: progress, rate, RPO, gaps, held writes.

    .DESCRIPTION
    Gets one object of each session. The property Detail has all that snapless.exe says of it, under
    the names of docs/schema/status.schema.json. Needs an administrator.

    .PARAMETER ComputerName
    Machines on which it is asked, by PowerShell remoting. They need Snapless, not this module.

    .PARAMETER Session
    PowerShell sessions in which it is asked; they go before -ComputerName.

    .EXAMPLE
    Get-SnaplessStatus

    Shows the sessions of this machine.

    .EXAMPLE
    Get-SnaplessStatus -ComputerName web-1, web-2 | Where-Object -Property Rpo -GT (New-TimeSpan -Minutes 5)

    Gets the volumes of two machines whose latest point is older than five minutes.

    .EXAMPLE
    (Get-SnaplessStatus).Detail | Select-Object -Property volume, queue_used, queue_bytes

    Shows how full the queues are.

    .OUTPUTS
    Snapless.Status

    .LINK
    about_Snapless
    #>
    [CmdletBinding()]
    [OutputType('Snapless.Status')]
    param(
        [ValidateNotNullOrEmpty()]
        [string[]] $ComputerName,

        [System.Management.Automation.Runspaces.PSSession[]] $Session
    )

    $call = @{ Words = @('status', '--json'); Caller = $PSCmdlet; Bound = $PSBoundParameters }
    foreach ($answer in Invoke-SnaplessProgram @call) {
        $machine = $answer.ComputerName
        Write-SnaplessRestart -Json $answer.Document -ComputerName $machine
        foreach ($report in $answer.Document.damaged_reports) {
            Write-Warning -Message "The service's report $($report.file) is damaged: $($report.why)"
        }
        foreach ($entry in $answer.Document.sessions) {
            ConvertFrom-SnaplessStatus -Json $entry -ComputerName $machine
        }
    }
}

function Get-SnaplessPoint {
    <#
    .SYNOPSIS
    Gets what can be restored of a volume, or of all volumes of a group at once.

    .DESCRIPTION
    The service asks the server. Each object has a Kind: Points is a stretch of instants that can be
    restored, with both ends; Gap is one that cannot, with its Reason, and without a To if it has not
    ended; T0 is the begin of a session; Bookmark is an instant with a Name. Times are local.

    Of a group it is what all its volumes have in common: Points and Bookmark, without a Volume.

    .PARAMETER Volume
    The volume: a drive letter (D:), a GUID or a device path.

    .PARAMETER Group
    The consistency group.

    .PARAMETER ComputerName
    Machines on which it is asked, by PowerShell remoting. They need Snapless, not this module.

    .PARAMETER Session
    PowerShell sessions in which it is asked; they go before -ComputerName.

    .EXAMPLE
    Get-SnaplessPoint -Volume D:

    Shows what can be restored of D:.

    .EXAMPLE
    Get-SnaplessPoint -Volume D: | Where-Object -Property Kind -EQ Bookmark

    Gets the bookmarks of D:.

    .EXAMPLE
    Get-SnaplessPoint -Group sql

    Shows the instants at which all volumes of the group sql can be restored, and its bookmarks.

    .OUTPUTS
    Snapless.Point

    .LINK
    about_Snapless
    #>
    [CmdletBinding(DefaultParameterSetName = 'Volume')]
    [OutputType('Snapless.Point')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            ParameterSetName = 'Volume')]
        [Alias('Device', 'UniqueId')]
        [ValidateNotNullOrEmpty()]
        [string[]] $Volume,

        [Parameter(Mandatory, ParameterSetName = 'Group')]
        [ValidateNotNullOrEmpty()]
        [string] $Group,

        [Parameter(ValueFromPipelineByPropertyName)]
        [Alias('PSComputerName')]
        [string[]] $ComputerName,

        [System.Management.Automation.Runspaces.PSSession[]] $Session
    )

    process {
        if ($Group) {
            $call = @{ Caller = $PSCmdlet; Bound = $PSBoundParameters; Target = $Group }
            foreach ($answer in Invoke-SnaplessProgram -Words 'points', '--json', "--group=$Group" @call) {
                ConvertFrom-SnaplessGroup -Json $answer.Document -ComputerName $answer.ComputerName
            }
            return
        }
        foreach ($name in $Volume) {
            $call = @{ Caller = $PSCmdlet; Bound = $PSBoundParameters; Target = $name }
            foreach ($answer in Invoke-SnaplessProgram -Words 'points', '--json', '--', $name @call) {
                $told = $answer.Document
                $of = @{ Volume = $told.volume; ComputerName = $answer.ComputerName }
                foreach ($entry in $told.sessions) {
                    if ($entry.error) { Write-Warning -Message "Session $($entry.session): $($entry.error)" }
                    ConvertFrom-SnaplessSession -Json $entry @of
                }
                foreach ($mark in $told.bookmarks) {
                    if ($mark.error) { Write-Warning -Message "Bookmark $($mark.name): $($mark.error)"; continue }
                    $point = @{ Kind = 'Bookmark'; Name = $mark.name; From = $mark.time; To = $mark.time }
                    New-SnaplessPointObject @of @point -SessionId $mark.session -Consistency $mark.consistency
                }
                if ($told.left_out) { Write-Warning -Message "$($told.left_out) older ones are left out." }
            }
        }
    }
}

function New-SnaplessBookmark {
    <#
    .SYNOPSIS
    Gives the present instant of a volume or of a group a name, and waits until the server has it.

    .DESCRIPTION
    What has been written before is in it, as in the image that a power cut now would leave. The name
    stands for the instant wherever the server takes one; its retention policy says how long the
    instant is kept.

    With -Consistency, applications are prepared for the instant first: by the scripts of the
    service's configuration, or by these and VSS, which freezes its writers without making a shadow
    copy. If that fails, no bookmark is made.

    Of a group one instant of all its volumes gets the name, or none; no applications are prepared.
    There is an object of each volume.

    .PARAMETER Volume
    The volume: a drive letter (D:), a GUID or a device path.

    .PARAMETER Group
    The consistency group.

    .PARAMETER Name
    The name: a letter, then letters, digits, '-', '_' and '.', at most 64.

    .PARAMETER Consistency
    How applications are prepared for the instant: Crash (not at all), Scripts or Application.

    .PARAMETER OrCrash
    If that fails: a crash-consistent bookmark all the same, with a warning.

    .PARAMETER ComputerName
    Machines on which it is done, by PowerShell remoting. They need Snapless, not this module.

    .PARAMETER Session
    PowerShell sessions in which it is done; they go before -ComputerName.

    .EXAMPLE
    New-SnaplessBookmark -Volume D: -Name before-upgrade

    Names the present instant of D:.

    .EXAMPLE
    New-SnaplessBookmark -Volume D: -Name nightly -Consistency Application

    Names an instant of D: at which the VSS writers were frozen.

    .EXAMPLE
    New-SnaplessBookmark -Group sql -Name before-upgrade

    Names one instant of all volumes of the group sql.

    .OUTPUTS
    Snapless.Point

    .LINK
    about_Snapless
    #>
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'Low', DefaultParameterSetName = 'Volume')]
    [OutputType('Snapless.Point')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            ParameterSetName = 'Volume')]
        [Alias('Device', 'UniqueId')]
        [ValidateNotNullOrEmpty()]
        [string[]] $Volume,

        [Parameter(Mandatory, ParameterSetName = 'Group')]
        [ValidateNotNullOrEmpty()]
        [string] $Group,

        [Parameter(Mandatory, Position = 1)]
        [ValidateNotNullOrEmpty()]
        [string] $Name,

        [Parameter(ParameterSetName = 'Volume')]
        [ValidateSet('Crash', 'Scripts', 'Application')]
        [string] $Consistency = 'Crash',

        [Parameter(ParameterSetName = 'Volume')]
        [switch] $OrCrash,

        [Parameter(ValueFromPipelineByPropertyName)]
        [Alias('PSComputerName')]
        [string[]] $ComputerName,

        [System.Management.Automation.Runspaces.PSSession[]] $Session
    )

    process {
        $words = @('bookmark', '--json')
        if ($Group) {
            $target = Get-SnaplessTarget -Name "group $Group" -Bound $PSBoundParameters
            if (-not $PSCmdlet.ShouldProcess($target, "Name the present instant $Name")) { return }
            $call = @{ Caller = $PSCmdlet; Bound = $PSBoundParameters; Target = $Group }
            $words += @("--group=$Group", '--', $Name)
            foreach ($answer in Invoke-SnaplessProgram -Words $words @call) {
                ConvertFrom-SnaplessGroupBookmark -Json $answer.Document -ComputerName $answer.ComputerName
            }
            return
        }
        if ($Consistency -ne 'Crash') { $words += '--consistency', $Consistency.ToLowerInvariant() }
        if ($OrCrash) { $words += '--or-crash' }
        foreach ($one in $Volume) {
            $target = Get-SnaplessTarget -Name $one -Bound $PSBoundParameters
            if (-not $PSCmdlet.ShouldProcess($target, "Name the present instant $Name")) { continue }
            $call = @{ Caller = $PSCmdlet; Bound = $PSBoundParameters; Target = $one }
            foreach ($answer in Invoke-SnaplessProgram -Words ($words + @('--', $one, $Name)) @call) {
                $made = $answer.Document
                foreach ($note in $made.notes) { Write-Warning -Message "Bookmark ${Name}: $note" }
                $of = @{ Volume = $made.volume; SessionId = $made.session; ComputerName = $answer.ComputerName }
                $point = @{ Kind = 'Bookmark'; Name = $made.name; From = $made.time; To = $made.time }
                New-SnaplessPointObject @of @point -Consistency $made.consistency
            }
        }
    }
}

function Start-SnaplessProtection {
    <#
    .SYNOPSIS
    Has a volume protected, from now on and after each restart of the machine.

    .DESCRIPTION
    The service adds the volume to its configuration and begins at once: it reads the whole volume
    while that is in use, and follows its writes. A volume that is protected already stays as it is,
    or gets another group: its session goes on.
    The machine must have enrolled: Register-SnaplessServer.

    .PARAMETER Volume
    The volume: a drive letter (D:), a GUID or a device path.

    .PARAMETER Server
    The server, host:port. Without it: that of the configuration, or at which the machine enrolled.

    .PARAMETER Group
    The consistency group: its volumes get common bookmarks.

    .PARAMETER ComputerName
    Machines on which it is done, by PowerShell remoting. They need Snapless, not this module.

    .PARAMETER Session
    PowerShell sessions in which it is done; they go before -ComputerName.

    .EXAMPLE
    Start-SnaplessProtection -Volume D:

    Protects the volume D: of this machine.

    .EXAMPLE
    Get-Volume -DriveLetter D, E | Start-SnaplessProtection -Server backup.example.com:4850

    Protects two volumes at a server.

    .EXAMPLE
    'D:', 'E:' | Start-SnaplessProtection -Group sql

    Protects two volumes that get common bookmarks.

    .OUTPUTS
    Snapless.Change

    .LINK
    about_Snapless
    #>
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'Medium')]
    [OutputType('Snapless.Change')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [Alias('Device', 'UniqueId')]
        [ValidateNotNullOrEmpty()]
        [string[]] $Volume,

        [ValidateNotNullOrEmpty()]
        [string] $Server,

        [ValidateNotNullOrEmpty()]
        [string] $Group,

        [Parameter(ValueFromPipelineByPropertyName)]
        [Alias('PSComputerName')]
        [string[]] $ComputerName,

        [System.Management.Automation.Runspaces.PSSession[]] $Session
    )

    process {
        $words = @('protect', '--json')
        if ($Server) { $words += "--to=$Server" }
        if ($Group) { $words += "--group=$Group" }
        foreach ($name in $Volume) {
            $target = Get-SnaplessTarget -Name $name -Bound $PSBoundParameters
            if (-not $PSCmdlet.ShouldProcess($target, 'Protect')) { continue }
            $call = @{ Caller = $PSCmdlet; Bound = $PSBoundParameters; Target = $name }
            foreach ($answer in Invoke-SnaplessProgram -Words ($words + '--', $name) @call) {
                ConvertFrom-SnaplessChange -Json $answer.Document -ComputerName $answer.ComputerName
            }
        }
    }
}

function Stop-SnaplessProtection {
    <#
    .SYNOPSIS
    Has a volume protected no longer: its session ends, and it leaves the configuration.

    .DESCRIPTION
    The server keeps what it has. If the volume is protected again, a first sync begins, which sends
    only what the server does not have. To interrupt the sending only, use
    Suspend-SnaplessProtection.

    .PARAMETER Volume
    The volume: a drive letter (D:), a GUID or a device path.

    .PARAMETER ComputerName
    Machines on which it is done, by PowerShell remoting. They need Snapless, not this module.

    .PARAMETER Session
    PowerShell sessions in which it is done; they go before -ComputerName.

    .EXAMPLE
    Stop-SnaplessProtection -Volume D:

    Asks, and ends the protection of D:.

    .EXAMPLE
    Get-SnaplessVolume | Where-Object -Property Length -LT 1GB | Stop-SnaplessProtection -WhatIf

    Shows which volumes would be protected no longer.

    .OUTPUTS
    Snapless.Change

    .LINK
    about_Snapless
    #>
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High')]
    [OutputType('Snapless.Change')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [Alias('Device', 'UniqueId')]
        [ValidateNotNullOrEmpty()]
        [string[]] $Volume,

        [Parameter(ValueFromPipelineByPropertyName)]
        [Alias('PSComputerName')]
        [string[]] $ComputerName,

        [System.Management.Automation.Runspaces.PSSession[]] $Session
    )

    process {
        foreach ($name in $Volume) {
            $target = Get-SnaplessTarget -Name $name -Bound $PSBoundParameters
            if (-not $PSCmdlet.ShouldProcess($target, 'End the protection')) { continue }
            $call = @{ Caller = $PSCmdlet; Bound = $PSBoundParameters; Target = $name }
            foreach ($answer in Invoke-SnaplessProgram -Words 'unprotect', '--json', '--', $name @call) {
                ConvertFrom-SnaplessChange -Json $answer.Document -ComputerName $answer.ComputerName
            }
        }
    }
}

function Suspend-SnaplessProtection {
    <#
    .SYNOPSIS
    Has nothing of a volume sent until Resume-SnaplessProtection.

    .DESCRIPTION
    The driver goes on capturing. Once its queue is full a gap begins: instants from then on cannot be
    restored until the volume is resumed and what was written meanwhile has been read. It holds after
    a restart of the service, too.

    .PARAMETER Volume
    The volume: a drive letter (D:), a GUID or a device path.

    .PARAMETER ComputerName
    Machines on which it is done, by PowerShell remoting. They need Snapless, not this module.

    .PARAMETER Session
    PowerShell sessions in which it is done; they go before -ComputerName.

    .EXAMPLE
    Suspend-SnaplessProtection -Volume D:

    Pauses D:.

    .OUTPUTS
    Snapless.Change

    .LINK
    about_Snapless
    #>
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'Medium')]
    [OutputType('Snapless.Change')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [Alias('Device', 'UniqueId')]
        [ValidateNotNullOrEmpty()]
        [string[]] $Volume,

        [Parameter(ValueFromPipelineByPropertyName)]
        [Alias('PSComputerName')]
        [string[]] $ComputerName,

        [System.Management.Automation.Runspaces.PSSession[]] $Session
    )

    process {
        foreach ($name in $Volume) {
            $target = Get-SnaplessTarget -Name $name -Bound $PSBoundParameters
            if (-not $PSCmdlet.ShouldProcess($target, 'Pause')) { continue }
            $call = @{ Caller = $PSCmdlet; Bound = $PSBoundParameters; Target = $name }
            foreach ($answer in Invoke-SnaplessProgram -Words 'pause', '--json', '--', $name @call) {
                ConvertFrom-SnaplessChange -Json $answer.Document -ComputerName $answer.ComputerName
            }
        }
    }
}

function Resume-SnaplessProtection {
    <#
    .SYNOPSIS
    Has a paused volume sent again.

    .DESCRIPTION
    Ends what Suspend-SnaplessProtection began. A gap that began meanwhile is read again.

    .PARAMETER Volume
    The volume: a drive letter (D:), a GUID or a device path.

    .PARAMETER ComputerName
    Machines on which it is done, by PowerShell remoting. They need Snapless, not this module.

    .PARAMETER Session
    PowerShell sessions in which it is done; they go before -ComputerName.

    .EXAMPLE
    Resume-SnaplessProtection -Volume D:

    Sends D: again.

    .OUTPUTS
    Snapless.Change

    .LINK
    about_Snapless
    #>
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'Low')]
    [OutputType('Snapless.Change')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [Alias('Device', 'UniqueId')]
        [ValidateNotNullOrEmpty()]
        [string[]] $Volume,

        [Parameter(ValueFromPipelineByPropertyName)]
        [Alias('PSComputerName')]
        [string[]] $ComputerName,

        [System.Management.Automation.Runspaces.PSSession[]] $Session
    )

    process {
        foreach ($name in $Volume) {
            $target = Get-SnaplessTarget -Name $name -Bound $PSBoundParameters
            if (-not $PSCmdlet.ShouldProcess($target, 'Resume')) { continue }
            $call = @{ Caller = $PSCmdlet; Bound = $PSBoundParameters; Target = $name }
            foreach ($answer in Invoke-SnaplessProgram -Words 'resume', '--json', '--', $name @call) {
                ConvertFrom-SnaplessChange -Json $answer.Document -ComputerName $answer.ComputerName
            }
        }
    }
}

function Restore-SnaplessPoint {
    <#
    .SYNOPSIS
    Restores a point of a volume from the server: to another volume, in place, or to a file.

    .DESCRIPTION
    The target is read, and only what differs is sent. A volume is taken offline, and begins as half
    restored until all of it is there; at the end it is compared with the point. A restore that was
    ended goes on when it is run again. The server's administrator must have allowed it
    (snapless-server allow-restore).

    .PARAMETER Volume
    The volume that was protected: a drive letter (D:), a GUID or a device path.

    .PARAMETER Point
    The point: t0, latest, a time, how long ago (2h ago), or the name of a bookmark.

    .PARAMETER To
    The target: a volume (E:, a GUID), or a file, which becomes a raw image.

    .PARAMETER SessionId
    The session, if not the newest one that has the point.

    .PARAMETER Force
    Overwrite a volume, or a file that is there.

    .PARAMETER Whole
    Have all sent, and do not read what the target has.

    .PARAMETER NoCompare
    Do not compare the target with the point at the end.

    .PARAMETER ComputerName
    Machines on which it is done, by PowerShell remoting. They need Snapless, not this module.

    .PARAMETER Session
    PowerShell sessions in which it is done; they go before -ComputerName.

    .EXAMPLE
    Restore-SnaplessPoint -Volume D: -Point before-upgrade -To E: -Force

    Restores the bookmark before-upgrade of D: to the volume E:.

    .EXAMPLE
    Restore-SnaplessPoint -Volume D: -Point '2h ago' -To F:\volume.img

    Makes an image of D: as it was two hours ago.

    .OUTPUTS
    Snapless.Restore

    .LINK
    about_Snapless
    #>
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High')]
    [OutputType('Snapless.Restore')]
    param(
        [Parameter(Mandatory, Position = 0)]
        [ValidateNotNullOrEmpty()]
        [string] $Volume,

        [Parameter(Mandatory, Position = 1)]
        [ValidateNotNullOrEmpty()]
        [string] $Point,

        [Parameter(Mandatory, Position = 2)]
        [ValidateNotNullOrEmpty()]
        [string] $To,

        [ValidateNotNullOrEmpty()]
        [string] $SessionId,

        [switch] $Force,

        [switch] $Whole,

        [switch] $NoCompare,

        [Alias('PSComputerName')]
        [string[]] $ComputerName,

        [System.Management.Automation.Runspaces.PSSession[]] $Session
    )

    process {
        $words = @('restore', '--json', "--at=$Point", "--to=$To")
        if ($SessionId) { $words += "--session=$SessionId" }
        if ($Force) { $words += '--force' }
        if ($Whole) { $words += '--whole' }
        if ($NoCompare) { $words += '--no-compare' }
        $target = Get-SnaplessTarget -Name $To -Bound $PSBoundParameters
        if (-not $PSCmdlet.ShouldProcess($target, "Restore $Volume as of $Point")) { return }
        $call = @{ Caller = $PSCmdlet; Bound = $PSBoundParameters; Target = $Volume }
        foreach ($answer in Invoke-SnaplessProgram -Words ($words + '--', $Volume) @call) {
            ConvertFrom-SnaplessRestore -Json $answer.Document -ComputerName $answer.ComputerName
        }
    }
}

function Test-SnaplessVolume {
    <#
    .SYNOPSIS
    Verifies the copy of a volume at the server, while the volume is in use.

    .DESCRIPTION
    The driver reads the whole volume once more, when it has nothing else to read, and the server
    compares. No write waits, and there is no gap. Without -Wait or -Repair it begins, and
    Get-SnaplessStatus shows how far it is. If the copy differs, the error has the category
    InvalidData, beside the object that says where.

    .PARAMETER Volume
    The volume: a drive letter (D:), a GUID or a device path.

    .PARAMETER Rate
    Read so many bytes per second at most, such as 50MiB.

    .PARAMETER Wait
    Wait until all of it is compared.

    .PARAMETER Repair
    Wait, and have what differs read again and sent: instants cannot be restored meanwhile.

    .PARAMETER Stop
    End the verification that is under way.

    .PARAMETER ComputerName
    Machines on which it is done, by PowerShell remoting. They need Snapless, not this module.

    .PARAMETER Session
    PowerShell sessions in which it is done; they go before -ComputerName.

    .EXAMPLE
    Test-SnaplessVolume -Volume D: -Wait

    Verifies D: and waits for what comes of it.

    .EXAMPLE
    Get-SnaplessStatus | Test-SnaplessVolume -Rate 50MiB

    Begins a verification of each protected volume.

    .OUTPUTS
    Snapless.Verification

    .LINK
    about_Snapless
    #>
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'Low', DefaultParameterSetName = 'Begin')]
    [OutputType('Snapless.Verification')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [Alias('Device', 'UniqueId')]
        [ValidateNotNullOrEmpty()]
        [string[]] $Volume,

        [Parameter(ParameterSetName = 'Begin')]
        [ValidateNotNullOrEmpty()]
        [string] $Rate,

        [Parameter(ParameterSetName = 'Begin')]
        [switch] $Wait,

        [Parameter(ParameterSetName = 'Begin')]
        [switch] $Repair,

        [Parameter(Mandatory, ParameterSetName = 'Stop')]
        [switch] $Stop,

        [Parameter(ValueFromPipelineByPropertyName)]
        [Alias('PSComputerName')]
        [string[]] $ComputerName,

        [System.Management.Automation.Runspaces.PSSession[]] $Session
    )

    process {
        $words = @('verify', '--json')
        if ($Rate) { $words += "--rate=$Rate" }
        if ($Wait) { $words += '--wait' }
        if ($Repair) { $words += '--repair' }
        if ($Stop) { $words += '--stop' }
        $action = if ($Stop) { 'End the verification' } elseif ($Repair) { 'Verify and repair' } else { 'Verify' }
        foreach ($name in $Volume) {
            $target = Get-SnaplessTarget -Name $name -Bound $PSBoundParameters
            if (-not $PSCmdlet.ShouldProcess($target, $action)) { continue }
            $call = @{ Caller = $PSCmdlet; Bound = $PSBoundParameters; Target = $name }
            foreach ($answer in Invoke-SnaplessProgram -Words ($words + '--', $name) @call) {
                ConvertFrom-SnaplessVerification -Json $answer.Document -ComputerName $answer.ComputerName
            }
        }
    }
}

function Register-SnaplessServer {
    <#
    .SYNOPSIS
    Enrols a machine at a server, or renews its certificate.

    .DESCRIPTION
    The machine gets a certificate, which the service renews by itself. The token is that of the
    server's administrator: snapless-server token create. It goes to the program over standard input,
    on another machine encrypted by PowerShell remoting, and is on no command line. Without -Token it
    is asked for.

    .PARAMETER Server
    The server, host:port; with -Renew, the one at which the machine enrolled.

    .PARAMETER Token
    The token, as a secure string.

    .PARAMETER Name
    The machine's name, for people. Without it: the computer's name.

    .PARAMETER Force
    Replace the identity that the machine has; unless the token is for that machine, its volumes begin
    anew.

    .PARAMETER Renew
    Renew the certificate that the machine has.

    .PARAMETER ComputerName
    Machines on which it is done, by PowerShell remoting. They need Snapless, not this module. A
    token is for one machine.

    .PARAMETER Session
    PowerShell sessions in which it is done; they go before -ComputerName.

    .EXAMPLE
    Register-SnaplessServer -Server backup.example.com:4850

    Asks for the token, and enrols this machine.

    .EXAMPLE
    $token = Get-Content -Path token.txt -TotalCount 1 | ConvertTo-SecureString -AsPlainText -Force
    Register-SnaplessServer -Server backup.example.com:4850 -Token $token -ComputerName web-1

    Enrols another machine, with a token from a file.

    .EXAMPLE
    Register-SnaplessServer -Renew

    Renews the certificate of this machine.

    .OUTPUTS
    Snapless.Identity

    .LINK
    about_Snapless
    #>
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'Medium', DefaultParameterSetName = 'Enroll')]
    [OutputType('Snapless.Identity')]
    param(
        [Parameter(Mandatory, Position = 0, ParameterSetName = 'Enroll')]
        [Parameter(Position = 0, ParameterSetName = 'Renew')]
        [ValidateNotNullOrEmpty()]
        [string] $Server,

        [Parameter(Mandatory, ParameterSetName = 'Enroll')]
        [securestring] $Token,

        [Parameter(ParameterSetName = 'Enroll')]
        [ValidateNotNullOrEmpty()]
        [string] $Name,

        [Parameter(ParameterSetName = 'Enroll')]
        [switch] $Force,

        [Parameter(Mandatory, ParameterSetName = 'Renew')]
        [switch] $Renew,

        [ValidateNotNullOrEmpty()]
        [string[]] $ComputerName,

        [System.Management.Automation.Runspaces.PSSession[]] $Session
    )

    $words = @('enroll', '--json')
    if ($Renew) { $words += '--renew' } else { $words += '--token=-' }
    if ($Name) { $words += "--name=$Name" }
    if ($Force) { $words += '--force' }
    if ($Server) { $words += '--', $Server }
    $what = if ($Server) { $Server } else { 'the server at which it enrolled' }
    $target = Get-SnaplessTarget -Name $what -Bound $PSBoundParameters
    $action = if ($Renew) { 'Renew the certificate' } else { 'Enrol' }
    if (-not $PSCmdlet.ShouldProcess($target, $action)) { return }
    $call = @{ Words = $words; Caller = $PSCmdlet; Bound = $PSBoundParameters; Target = $Server; Token = $Token }
    foreach ($answer in Invoke-SnaplessProgram @call) {
        ConvertFrom-SnaplessIdentity -Json $answer.Document -ComputerName $answer.ComputerName
    }
}
