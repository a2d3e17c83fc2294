/** One thing that was looked at. `note`: missing, and only some of what one may want needs it. */
export interface Finding {
  readonly what: string;
  readonly state: "ok" | "missing" | "note";
  readonly detail: string;
  /** What to do; there for everything that is not ok. */
  readonly fix?: string;
}

const STATE_WIDTH = 8;
const WHAT_WIDTH = 28;

export function doctorLine({ what, state, detail, fix }: Finding): string {
  const line = `${state.padEnd(STATE_WIDTH)} ${what.padEnd(WHAT_WIDTH)} ${detail}`.trimEnd();
  return fix === undefined ? line : `${line}\n${" ".repeat(STATE_WIDTH + 1)}fix: ${fix}`;
}

export function somethingNeededIsMissing(findings: readonly Finding[]): boolean {
  return findings.some(({ state }) => state === "missing");
}
