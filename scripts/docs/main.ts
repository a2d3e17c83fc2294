// Writes the parts of docs/ that are made from code, and from what the fault suite measured if it ran on this machine.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { faultsPage, recordedFaults } from "./faults.ts";
import { messageSchema } from "./message-schema.ts";
import { metricsPage } from "./metrics.ts";

const docs = join(import.meta.dirname, "../../docs");

writeFileSync(join(docs, "message.schema.json"), messageSchema());
writeFileSync(join(docs, "metrics.md"), metricsPage());
const faults = recordedFaults();
if (faults.length > 0) writeFileSync(join(docs, "faults.md"), faultsPage(faults));
