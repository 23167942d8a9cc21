# Downloads the MSI, compares its digest, and installs it; 3010 asks for a restart.
$ErrorActionPreference = 'Stop'

$packageArgs = @{
  packageName    = $env:ChocolateyPackageName
  softwareName   = 'Snapless'
  fileType       = 'msi'
  url64bit       = '{{url}}/{{file}}'
  checksum64     = '{{sha256}}'
  checksumType64 = 'sha256'
  silentArgs     = "/qn /norestart /l*v `"$($env:TEMP)\snapless-$($env:ChocolateyPackageVersion).log`""
  validExitCodes = @(0, 3010)
}

Install-ChocolateyPackage @packageArgs
