import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { messageSchema } from "./message-schema.ts";

it("docs/message.schema.json is what the code checks (otherwise: npm run docs)", () => {
  expect(readFileSync(join(import.meta.dirname, "../../docs/message.schema.json"), "utf8")).toBe(messageSchema());
});
