export interface SuiteResult {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly seconds: number;
}

const NAME_WIDTH = 14;
const NUMBER_WIDTH = 6;

/**
 * A line per suite with its time, and last, where CI looks, the sum. Nothing passed is not a success. `seconds` is what all took together: suites
 * may run beside each other.
 */
export function closingLines(results: readonly SuiteResult[], seconds: number): { readonly text: string; readonly ok: boolean } {
  const sum = (read: (result: SuiteResult) => number): number => results.reduce((total, result) => total + read(result), 0);
  const number = (value: number): string => String(value).padStart(NUMBER_WIDTH);
  const lines = results.map(
    ({ name, passed, failed, seconds }) =>
      `${name.padEnd(NAME_WIDTH)}${number(passed)} passed ${number(failed)} failed  ${clock(seconds)}`,
  );
  const passed = sum((result) => result.passed);
  const failed = sum((result) => result.failed);
  const total = `${"all".padEnd(NAME_WIDTH)}${number(passed)} passed ${number(failed)} failed  ${clock(seconds)}`;
  return { text: [...lines, total, "", `${passed} passed, ${failed} failed`].join("\n"), ok: failed === 0 && passed > 0 };
}

function clock(seconds: number): string {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}
