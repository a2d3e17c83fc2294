import { readFileSync } from "node:fs";
import { command } from "./command.ts";

/** The kernel writes space, tab, newline and backslash of a path as three octal digits. */
function decodeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** Mount points at or below `folder`, the latest first: a mount may lie on top of another. */
export function mountsBelow(folder: string, mountinfo: string): string[] {
  return mountinfo
    .split("\n")
    .flatMap((line) => {
      const path = line.split(" ")[4];
      return path === undefined ? [] : [decodeOctal(path)];
    })
    .filter((path) => path === folder || path.startsWith(`${folder}/`))
    .reverse();
}

export function currentMountsBelow(folder: string): string[] {
  return mountsBelow(folder, readFileSync("/proc/self/mountinfo", "utf8"));
}

/** Lazily where need be: a reader somewhere on the machine must not keep a dead cluster's volumes mounted. */
export async function unmountBelow(folder: string): Promise<void> {
  for (const path of currentMountsBelow(folder)) {
    await command("umount", [path]).catch(() => command("umount", ["--lazy", path]));
  }
}
