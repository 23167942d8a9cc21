@{
    RootModule           = 'Snapless.psm1'
    ModuleVersion        = '0.1.0'
    GUID                 = '5d3c9b1e-6a0f-4d0c-9f57-2b8f3a4c7e61'
    Author               = 'The authors of Snapless'
    Description          = 'Protects live Windows volumes with Snapless: over snapless.exe, here or on other machines.'
    PowerShellVersion    = '5.1'
    CompatiblePSEditions = @('Desktop', 'Core')
    FormatsToProcess     = @('Snapless.Format.ps1xml')
    FunctionsToExport    = @(
        'Get-SnaplessPoint'
        'Get-SnaplessStatus'
        'Get-SnaplessVolume'
        'New-SnaplessBookmark'
        'Register-SnaplessServer'
        'Restore-SnaplessPoint'
        'Resume-SnaplessProtection'
        'Start-SnaplessProtection'
        'Stop-SnaplessProtection'
        'Suspend-SnaplessProtection'
        'Test-SnaplessVolume'
    )
    CmdletsToExport      = @()
    VariablesToExport    = @()
    AliasesToExport      = @()
    PrivateData          = @{
        PSData = @{
            Tags = @('Backup', 'Replication', 'Volume', 'Windows')
        }
    }
}
