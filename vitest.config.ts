import { defineConfig } from "vitest/config";
import { FileOrder } from "./e2e/file-order.ts";

const include = (pattern: string): string[] =>
  ["libs", "services", "synth", "scripts", "cli", "sdk", "jobs"].map((room) => `${room}/**/${pattern}`);

/** `@millrace/worker` is its sources here, as for the compiler: nobody has to build it first. Otherwise as Node resolves. */
const conditions = ["millrace-source", "node"];
const fromSource = { resolve: { conditions }, ssr: { resolve: { conditions, externalConditions: conditions } } };

const e2e = (name: string, files: string, more: readonly string[] = []) => ({
  test: {
    name,
    include: [`${files}.e2e.test.ts`],
    globalSetup: ["e2e/global-setup.ts", ...more],
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 1_800_000,
  },
});

/** One project per kind of test, by what it needs: nothing, a real nats-server, helm, a running cluster. */
export default defineConfig({
  test: {
    reporters: ["default"],
    sequence: { sequencer: FileOrder },
    projects: [
      {
        ...fromSource,
        test: {
          name: "unit",
          maxWorkers: 2,
          include: include("*.test.ts"),
          exclude: ["**/node_modules/**", "**/*.integration.test.ts", "**/*.chart.test.ts"],
          // Property tests on a machine that does other work, too.
          testTimeout: 60_000,
        },
      },
      {
        ...fromSource,
        test: {
          name: "integration",
          // They wait for servers most of the time.
          maxWorkers: 4,
          include: include("*.integration.test.ts"),
          exclude: ["**/node_modules/**"],
          testTimeout: 60_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: "chart",
          maxWorkers: 2,
          include: ["synth/**/*.chart.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 600_000,
        },
      },
      // By what they touch: the shared installation, releases of their own beside it, one with workers and KEDA, everything at once.
      e2e("e2e", "e2e/*"),
      e2e("e2e-releases", "e2e/releases/*"),
      e2e("e2e-workers", "e2e/workers/*", ["e2e/workers/global-setup.ts"]),
      e2e("e2e-faults", "e2e/faults/*"),
    ],
  },
});
