// What this machine, and the local cluster if there is one, lack for `make up`: a line each, with the fix. Changes nothing.
// stdout = data. Exit codes: 0 nothing needed is missing, 1 something is, 2 wrong usage.
import { diagnose } from "./install/doctor-checks.ts";
import { doctorLine, somethingNeededIsMissing } from "./install/finding.ts";
import { readOptions } from "./install/options.ts";
import { localProfile } from "./install/profile.ts";

const usage = `Usage: node scripts/doctor.ts [--name NAME]

  --name NAME  which local cluster (default: ${localProfile.cluster})
`;

const values = readOptions(usage, { name: { type: "string", default: localProfile.cluster } });

const findings = await diagnose(values.name);
for (const finding of findings) process.stdout.write(`${doctorLine(finding)}\n`);
process.exitCode = somethingNeededIsMissing(findings) ? 1 : 0;
