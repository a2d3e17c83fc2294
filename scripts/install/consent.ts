import { existsSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { ClusterError } from "../cluster/cluster-error.ts";
import { ClusterLayout, stateHome } from "../cluster/layout.ts";

/** Names that tools give to clusters on the user's own machine. */
const localContexts = [/^kind-/, /^minikube$/, /^docker-desktop$/];

export function isLocalContext(context: string, isOurs: (context: string) => boolean): boolean {
  return localContexts.some((pattern) => pattern.test(context)) || isOurs(context);
}

/** Our own clusters' contexts bear their names; a name that no cluster of ours can have is somebody else's. */
export function isOurCluster(context: string): boolean {
  try {
    return existsSync(new ClusterLayout({ name: context, stateHome: stateHome() }).readyFile);
  } catch {
    return false;
  }
}

export interface ConsentOptions {
  readonly context: string;
  /** `--yes`. */
  readonly given: boolean;
  /** undefined where nobody can be asked. */
  readonly ask: ((question: string) => Promise<string>) | undefined;
  readonly isOurs?: (context: string) => boolean;
}

/** Before a cluster is touched that may be in use by others: an explicit yes, by a person or by a script's author. */
export async function requireConsent({ context, given, ask, isOurs = isOurCluster }: ConsentOptions): Promise<void> {
  if (given || isLocalContext(context, isOurs)) return;
  if (ask === undefined) {
    throw new ClusterError(
      "CONTEXT_REFUSED",
      `The context ${context} is not a cluster of this machine, and nobody is here to be asked. Say --yes if it is meant.`,
    );
  }
  const answer = await ask(
    `The context ${context} is not a cluster of this machine. Install Millrace there? Type its name to go on: `,
  );
  if (answer.trim() !== context) throw new ClusterError("CONTEXT_REFUSED", "Nothing was done.");
}

/** On stderr: stdout is for data. */
export function terminalQuestion(): ((question: string) => Promise<string>) | undefined {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
  return async (question) => {
    const prompt = createInterface({ input: process.stdin, output: process.stderr });
    try {
      return await prompt.question(question);
    } finally {
      prompt.close();
    }
  };
}
