// Writes a new worker into jobs/, with a test and its entry in jobs/values.yaml.
// stdout = data, a line per file. stderr = what comes next. Exit codes: 0 done, 1 failed, 2 wrong usage.
import { failureText } from "../install/failure.ts";
import { readOptions } from "../install/options.ts";
import { checkout } from "./job-folders.ts";
import { scaffoldJob } from "./scaffold.ts";

const usage = `Usage: node scripts/jobs/new-job.ts --job NAME      (make new-job NAME=my-job)

  --job NAME  of the worker: lower-case letters, digits and dashes, at most 40
`;

const { job } = readOptions(usage, { job: { type: "string", default: "" } });
if (job === "") {
  process.stderr.write(usage);
  process.exit(2);
}

try {
  for (const file of scaffoldJob(job, checkout)) process.stdout.write(`${file}\n`);
  process.stderr.write(`
Its body and its work are in jobs/${job}/${job}.ts. Try it:  npx vitest run --project unit jobs/${job}
What comes next: docs/adding-a-worker.md
`);
} catch (error) {
  process.stderr.write(`${failureText(error)}\n`);
  process.exitCode = 1;
}
