import { z } from "zod";
import { rawMessage, templateMessage } from "../../libs/contract/message.ts";

/** The JSON Schema of a message body, for producers. `env` names and a few cross-field rules are checked beyond it. */
export function messageSchema(): string {
  const schema = z.toJSONSchema(z.union([templateMessage, rawMessage]), { io: "input" });
  return `${JSON.stringify({ title: "Millrace message", ...schema }, null, 2)}\n`;
}
