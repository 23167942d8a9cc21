@echo off
rem Makes a machine boot that does not because of Snapless: takes the driver's name out of every list
rem of filters (of classes and of devices) in every control set of a Windows that is not running.
rem
rem   snapless-rescue.cmd [FOLDER]    FOLDER is that Windows' folder, such as D:\Windows
rem
rem In the recovery environment: Troubleshoot, Advanced options, Command Prompt. Drive letters differ
rem there: without FOLDER, the first drive with a Windows folder is taken.
setlocal enableextensions enabledelayedexpansion
set "hive=HKEY_LOCAL_MACHINE\SnaplessRescue"
set "windows=%~1"
if not defined windows for %%d in (C D E F G H I J K L M N O P Q R S T U V W Y Z) do (
    if not defined windows if exist "%%d:\Windows\System32\config\SYSTEM" set "windows=%%d:\Windows"
)
if not defined windows (
    echo No Windows was found. Name its folder: snapless-rescue.cmd D:\Windows
    exit /b 2
)
echo Windows: %windows%
reg load "%hive%" "%windows%\System32\config\SYSTEM"
if errorlevel 1 (
    echo The registry of %windows% cannot be loaded. Is that Windows running, or its disk locked?
    exit /b 1
)
set changed=0
set failed=0
set "key="
for /f "delims=" %%l in ('reg query "%hive%" /s /f snapless /d /t REG_MULTI_SZ') do (
    set "line=%%l"
    call :look
)
reg unload "%hive%"
echo %changed% list(s) changed, %failed% failed. Restart the machine.
if %failed% gtr 0 exit /b 1
exit /b 0

rem A line of reg: a key, or a value of it with its kind and its names, which have \0 between them.
:look
set "kind="
for /f "tokens=1,2,*" %%a in ("%line%") do (
    set "value=%%a"
    set "kind=%%b"
    set "list=%%c"
)
if /i not "%kind%"=="REG_MULTI_SZ" (
    set "key=%line%"
    exit /b 0
)
if /i "%value%"=="UpperFilters" goto take_out
if /i "%value%"=="LowerFilters" goto take_out
exit /b 0

:take_out
set "kept="
set "found="
for %%n in (%list:\0= %) do (
    if /i "%%n"=="snapless" (set "found=1") else (set "kept=!kept!\0%%n")
)
if not defined found exit /b 0
rem The first separator goes.
if defined kept set "kept=%kept:~2%"
if defined kept (
    reg add "%key%" /v %value% /t REG_MULTI_SZ /d "%kept%" /f
) else (
    reg delete "%key%" /v %value% /f
)
if errorlevel 1 (set /a failed+=1) else (set /a changed+=1)
echo   "%key%" %value%
exit /b 0
