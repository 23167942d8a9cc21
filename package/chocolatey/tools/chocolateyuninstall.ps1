# Removes this version by its product code; configuration, state and logs stay.
$ErrorActionPreference = 'Stop'

$packageArgs = @{
  packageName    = $env:ChocolateyPackageName
  softwareName   = 'Snapless'
  fileType       = 'msi'
  file           = ''
  silentArgs     = '{{product_code}} /qn /norestart'
  validExitCodes = @(0, 3010, 1605)
}

Uninstall-ChocolateyPackage @packageArgs
