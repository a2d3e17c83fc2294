// Writes the parts of docs/ that are made from code, and from what the fault suite and the benches measured if they ran on this machine.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { benchmarksPage, savedReports, unmeasured } from "./benchmarks.ts";
import { faultsPage, recordedFaults } from "./faults.ts";
import { messageSchema } from "./message-schema.ts";
import { metricsPage } from "./metrics.ts";

const docs = join(import.meta.dirname, "../../docs");

writeFileSync(join(docs, "message.schema.json"), messageSchema());
writeFileSync(join(docs, "metrics.md"), metricsPage());
const faults = recordedFaults();
if (faults.length > 0) writeFileSync(join(docs, "faults.md"), faultsPage(faults));
const reports = savedReports();
const missing = unmeasured(reports);
if (missing.length === 0) writeFileSync(join(docs, "benchmarks.md"), benchmarksPage(reports));
else
  process.stderr.write(`docs/benchmarks.md stays as it is: not measured here: ${missing.join(", ")}; make bench measures all\n`);
