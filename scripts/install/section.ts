/** A part of a report for people: whether all is well, and the lines that say so or why not. */
export interface Section {
  readonly well: boolean;
  readonly lines: readonly string[];
}
