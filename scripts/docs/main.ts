// Writes the parts of docs/ that are made from code.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageSchema } from "./message-schema.ts";

writeFileSync(join(import.meta.dirname, "../../docs/message.schema.json"), messageSchema());
