import type { JobRecord } from "./record.ts";

/** What a record may take in its bucket, as JSON. */
export const RECORD_BYTES = 8 * 1024;

const utf8 = new TextEncoder();
/** The longest that JSON makes one UTF-16 unit: `\u0001`. */
const JSON_UNIT_BYTES = 6;

/** By bytes of JSON, which make a control character six times as long as it looks. */
export function cut(text: string, bytes: number): string {
  if (text.length * JSON_UNIT_BYTES <= bytes) return text;
  let used = 0;
  let end = 0;
  for (const character of text) {
    used += jsonBytes(character) - 2;
    if (used > bytes) break;
    end += character.length;
  }
  return text.slice(0, end);
}

/** Without its oldest attempts, should long names and reasons not leave room for all ten. The last one decides and stays. */
export function fitted(record: JobRecord): JobRecord {
  let { attempts } = record;
  while (attempts.length > 1 && jsonBytes({ ...record, attempts }) > RECORD_BYTES) attempts = attempts.slice(1);
  return attempts === record.attempts ? record : { ...record, attempts };
}

function jsonBytes(value: unknown): number {
  return utf8.encode(JSON.stringify(value)).length;
}
