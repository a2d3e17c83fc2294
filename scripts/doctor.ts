// What this machine, and the local cluster if there is one, lack for `make up`: a line each, with the fix. Changes nothing.
// stdout = data. Exit codes: 0 nothing needed is missing, 1 something is, 2 wrong usage.
import { parseArgs } from "node:util";
import { diagnose } from "./install/doctor-checks.ts";
import { doctorLine, somethingNeededIsMissing } from "./install/finding.ts";
import { localProfile } from "./install/profile.ts";

const { values } = parseArgs({
  options: { name: { type: "string", default: localProfile.cluster }, help: { type: "boolean", short: "h", default: false } },
});
if (values.help) {
  process.stdout.write(
    `Usage: node scripts/doctor.ts [--name NAME]\n\n  --name NAME  which local cluster (default: ${localProfile.cluster})\n`,
  );
  process.exit(0);
}

const findings = await diagnose(values.name);
for (const finding of findings) process.stdout.write(`${doctorLine(finding)}\n`);
process.exitCode = somethingNeededIsMissing(findings) ? 1 : 0;
