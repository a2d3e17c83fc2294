import { mkdirSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { ensureBinaries } from "../cluster/binaries.ts";
import { onPath } from "../cluster/command.ts";
import { stateHome } from "../cluster/layout.ts";
import type { Progress } from "./target.ts";

/** kubectl and helm for clusters that bring none of their own. */
export function toolsDir(): string {
  return join(stateHome(), "bin");
}

/** The user's own programs first, since they have spoken to that cluster before; built only when there are none. */
export async function clientTools(progress: Progress): Promise<void> {
  mkdirSync(toolsDir(), { recursive: true });
  link(
    "kubectl",
    onPath("kubectl", [toolsDir()]) ?? join((await ensureBinaries(["kubernetes"], progress)).kubernetes, "kubectl"),
  );
  link("helm", onPath("helm", [toolsDir()]) ?? (await ensureBinaries(["helm"], progress)).helm);
}

function link(name: string, target: string): void {
  const draft = join(toolsDir(), `.${name}.${process.pid}`);
  symlinkSync(target, draft);
  renameSync(draft, join(toolsDir(), name));
}
