// Writes the parts of docs/ that are made from code, and from what the fault suite and the benches measured if they ran on this machine.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { benchmarksPage, savedReports } from "./benchmarks.ts";
import { faultsPage, recordedFaults } from "./faults.ts";
import { messageSchema } from "./message-schema.ts";
import { metricsPage } from "./metrics.ts";

const docs = join(import.meta.dirname, "../../docs");

writeFileSync(join(docs, "message.schema.json"), messageSchema());
writeFileSync(join(docs, "metrics.md"), metricsPage());
const faults = recordedFaults();
if (faults.length > 0) writeFileSync(join(docs, "faults.md"), faultsPage(faults));
const reports = savedReports();
if (reports.length > 0) writeFileSync(join(docs, "benchmarks.md"), benchmarksPage(reports));
