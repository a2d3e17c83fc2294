import { z } from "zod";
import { errorText } from "../contract/errors.ts";
import { apiStatus, KubeApiError } from "./errors.ts";

const version = z.string().min(1);
/** As much of an object as a watch must know; all else is passed through to the projection. */
const object = z.looseObject({
  metadata: z.looseObject({
    namespace: z.string().optional(),
    name: z.string().optional(),
    uid: z.string().min(1),
    resourceVersion: version.optional(),
  }),
});
/** Go writes a list without items as null. */
const page = z.object({
  metadata: z.object({ resourceVersion: version, continue: z.string().optional() }),
  items: z.array(object).nullable(),
});
const event = z.discriminatedUnion("type", [
  z.object({ type: z.enum(["ADDED", "MODIFIED", "DELETED"]), object }),
  z.object({ type: z.literal("BOOKMARK"), object: z.object({ metadata: z.object({ resourceVersion: version }) }) }),
  z.object({ type: z.literal("ERROR"), object: apiStatus }),
]);

export type KubeObject = z.output<typeof object>;
export type WatchEvent = z.output<typeof event>;

/** The largest object that etcd takes has 1.5 MiB; as JSON it is a few times that. */
const LONGEST_LINE = 16 * 2 ** 20;

/** Somebody answered who is no API server, or in a language that is not ours. */
export const UNREADABLE = "Unreadable";

function unreadable(what: string, why: string): KubeApiError {
  return new KubeApiError({ status: 0, reason: UNREADABLE, message: `${what} cannot be read: ${why}` });
}

/** @throws KubeApiError `Unreadable` */
export function readPage(answer: unknown): {
  readonly resourceVersion: string;
  readonly token: string;
  readonly items: KubeObject[];
} {
  const { metadata, items } = parse("a list", page, answer);
  return { resourceVersion: metadata.resourceVersion, token: metadata.continue ?? "", items: items ?? [] };
}

/** @throws KubeApiError `Unreadable` */
export function readEvent(line: string): WatchEvent {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw unreadable("an event", error instanceof SyntaxError ? "it is no JSON" : errorText(error));
  }
  return parse("an event", event, json);
}

function parse<Schema extends z.ZodType>(what: string, schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw unreadable(what, `${issue?.path.join(".")}: ${issue?.message}`);
}

/**
 * A watch is one JSON object per line, cut anywhere by the network.
 * @throws KubeApiError `Unreadable` when a line does not end; `NoAnswer` when the answer ends within a line
 */
export async function* lines(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let line = "";
  for await (const chunk of body) {
    const [head = "", ...others] = decoder.decode(chunk, { stream: true }).split("\n");
    line += head;
    for (const next of others) {
      if (line !== "") yield line;
      line = next;
    }
    if (line.length > LONGEST_LINE) throw unreadable("an event", `its line has more than ${LONGEST_LINE} characters`);
  }
  if (line !== "") throw new KubeApiError({ status: 0, reason: "NoAnswer", message: "the watch ended within a line" });
}
