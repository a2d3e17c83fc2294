export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
}

const GAP = "   ";

/** Columns as kubectl prints them: as wide as their widest cell, the last one as long as it is. No control character of a cell reaches the terminal. */
export function tableText<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const lines = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ cell }) => printable(cell(row))))];
  const widths = columns.map((_column, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)));
  const texts = lines.map((line) => line.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join(GAP));
  return texts.map((text) => text.trimEnd()).join("\n");
}

/** What a terminal obeys instead of showing it: control characters, and those that change the direction of a line or break it. */
const OBEYED = /[\p{Cc}\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069]/gu;

/** Ids and reasons come from producers, results from whatever ran, often with the line end of an `echo`. */
export function printable(text: string): string {
  return text.trimEnd().replace(OBEYED, "?");
}
