/** As much of a `core/v1` container as is needed to know its secrets. */
export interface ContainerEnv {
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
}

export interface Secret {
  readonly name: string;
  readonly value: string;
}

const SECRET_NAME = /TOKEN|PASSWORD|PASSWD|KEY|SECRET|CREDENTIAL/i;

/** Shorter values are words and numbers that any log is full of. */
const SECRET_LENGTH = 4;
/** Of one line of several. */
const SECRET_LINE_LENGTH = 16;

/** The literal values of variables whose names say that they are secret. What comes from a Secret object is not readable, and not known here. */
export function secretsOf(containers: readonly ContainerEnv[]): readonly Secret[] {
  const found = containers.flatMap(({ env }) =>
    (env ?? []).flatMap(({ name, value }) =>
      // The kubelet gives the container one `$` for each `$$` (see `literal`).
      value !== undefined && SECRET_NAME.test(name) ? withLines({ name, value: value.replaceAll("$$", "$") }) : [],
    ),
  );
  return found.filter(({ value }) => value.length >= SECRET_LENGTH).sort((a, b) => b.value.length - a.value.length);
}

/** A key of many lines is a secret in each of them: a log that is followed is redacted line by line. */
function withLines({ name, value }: Secret): readonly Secret[] {
  const lines = value.split(/\r?\n/).filter((line) => line.length >= SECRET_LINE_LENGTH);
  return value.includes("\n") ? [{ name, value }, ...lines.map((line) => ({ name, value: line }))] : [{ name, value }];
}

/**
 * Every secret replaced by `[redacted NAME]`, the longest first where several fit. The text may be the end of a longer one: then the end of
 * a value at its very start is a secret cut in two.
 */
export function redact(text: string, secrets: readonly Secret[]): string {
  if (secrets.length === 0) return text;
  const names = new Map(secrets.toReversed().map(({ name, value }) => [value, name]));
  const whole = new RegExp(secrets.map(({ value }) => escapeRegExp(value)).join("|"), "g");
  const { name, length } = cutSecret(text, secrets);
  const rest = text.slice(length).replace(whole, (value) => `[redacted ${names.get(value)}]`);
  return length === 0 ? rest : `[redacted ${name}]${rest}`;
}

function cutSecret(text: string, secrets: readonly Secret[]): { readonly name: string; readonly length: number } {
  let cut = { name: "", length: 0 };
  if (secrets.some(({ value }) => text.startsWith(value))) return cut;
  for (const { name, value } of secrets) {
    for (let length = value.length - 1; length >= SECRET_LENGTH && length > cut.length; length--) {
      if (text.startsWith(value.slice(-length))) cut = { name, length };
    }
  }
  return cut;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}

/** The last `maxBytes` of a text or less: whole characters, and whole lines unless one line alone is longer. */
export function tail(bytes: Uint8Array, maxBytes: number): string {
  if (bytes.length <= maxBytes) return decode(bytes);
  let start = bytes.length - maxBytes;
  // A character has at most three of them; more are no text.
  for (let skipped = 0; skipped < 3 && isContinuation(bytes[start]); skipped++) start++;
  const line = bytes[start - 1] === NEWLINE ? start : bytes.indexOf(NEWLINE, start) + 1;
  return decode(bytes.subarray(line > 0 && line < bytes.length ? line : start));
}

export function redactedTail(text: string, secrets: readonly Secret[], maxBytes: number): string {
  return tail(new TextEncoder().encode(redact(text, secrets)), maxBytes);
}

const NEWLINE = 0x0a;

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
