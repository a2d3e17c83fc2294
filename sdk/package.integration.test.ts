import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { STREAM, workConsumerName } from "../libs/contract/streams.ts";
import { NatsTestServer } from "../libs/streams/testing/nats-server.ts";
import { Workbench } from "../libs/streams/testing/workbench.ts";
import rootPackage from "../package.json" with { type: "json" };
import about from "./package.json" with { type: "json" };

const root = join(import.meta.dirname, "..");
/** `npm` runs on the first `node` of the PATH. */
const env = { ...process.env, PATH: [dirname(process.execPath), process.env["PATH"]].join(delimiter) };

async function run(cwd: string, command: string, ...args: string[]): Promise<string> {
  try {
    return (await promisify(execFile)(command, args, { cwd, env })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${command} ${args.join(" ")} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

const WITH_ZOD = `
  import { defineWorker, run } from "@millrace/worker";
  import { z } from "zod";

  defineWorker({
    queue: "with-zod",
    schema: z.object({ name: z.string(), times: z.coerce.number().default(1) }),
    timeout: "1m",
    handler: async (ctx) => {
      const greeting: string = \`hello \${ctx.data.name}\`.repeat(ctx.data.times);
      // @ts-expect-error: the schema knows no such field
      ctx.data.surname;
      await fetch("data:text/plain,", { signal: ctx.signal });
      console.log(greeting);
    },
  });
  await run();
`;

const BY_HAND = `
  import { defineWorker, run } from "@millrace/worker";

  interface Greeting { readonly name: string }
  const isGreeting = (value: unknown): value is Greeting =>
    typeof value === "object" && value !== null && "name" in value && typeof value.name === "string";
  const greeting = {
    "~standard": {
      version: 1,
      vendor: "by-hand",
      validate: (value: unknown) => (isGreeting(value) ? { value } : { issues: [{ message: "wants a name" }] }),
      types: undefined as { input: unknown; output: Greeting } | undefined,
    },
  } as const;

  defineWorker({
    queue: "by-hand",
    schema: greeting,
    handler: (ctx) => {
      const { name } = ctx.data;
      console.log(\`hello \${name.toUpperCase()}\`);
    },
  });
  await run();
`;

const TESTED = `
  import { NonRetryable, RetryLater } from "@millrace/worker";
  import { createTestContext } from "@millrace/worker/testing";

  const ctx = createTestContext({ data: { name: "Ada" } });
  const name: string = ctx.data.name;
  console.log([name, new NonRetryable("never").code, new RetryLater(5).delayMs].join(" "));
`;

const COMPILER_OPTIONS = {
  target: "es2023",
  module: "nodenext",
  strict: true,
  exactOptionalPropertyTypes: true,
  verbatimModuleSyntax: true,
  // What the package declares is checked, too.
  skipLibCheck: false,
  types: ["node"],
  outDir: "out",
  rootDir: "src",
};

describe("the package @millrace/worker, packed and installed in an empty project", () => {
  let folder = "";
  let project = "";
  let server: NatsTestServer;
  let bench: Workbench;
  const children = new Set<ChildProcess>();

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "millrace-sdk-"));
    project = join(folder, "project");
    await mkdir(join(project, "src"), { recursive: true });
    const serving = NatsTestServer.start();
    await run(import.meta.dirname, "npm", "pack", "--pack-destination", project);
    const [tarball = ""] = (await readdir(project)).filter((file) => file.endsWith(".tgz"));
    await writeFile(join(project, "package.json"), JSON.stringify({ name: "empty", private: true, type: "module" }));
    const versions = [`zod@${rootPackage.dependencies.zod}`, `@types/node@${rootPackage.devDependencies["@types/node"]}`];
    await run(project, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund", `./${tarball}`, ...versions);
    await writeFile(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions: COMPILER_OPTIONS, include: ["src"] }));
    const sources = { "with-zod": WITH_ZOD, "by-hand": BY_HAND, tested: TESTED };
    for (const [name, text] of Object.entries(sources)) await writeFile(join(project, "src", `${name}.ts`), text);
    await run(project, join(root, "node_modules", ".bin", "tsc"), "-p", ".");
    server = await serving;
    bench = await Workbench.open(server, {
      queues: [],
      workers: { "with-zod": { subject: "with-zod" }, "by-hand": { subject: "by-hand" } },
    });
  });
  afterAll(async () => {
    for (const child of children) child.kill("SIGKILL");
    await server?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  /** Runs a program of the project as a worker: it says what is expected of one message, and ends well when it is told to. */
  async function works(worker: string, program: string, says: string): Promise<void> {
    const child = spawn(process.execPath, [program], {
      cwd: folder,
      env: { PATH: "", NATS_URL: server.url, HTTP_SERVER_PORT: "0", LOG_LEVEL: "warn" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.add(child);
    const exited = once(child, "exit");
    await bench.client.publish(worker, JSON.stringify({ name: "Ada" }));
    const heard: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      heard.push(line);
      if (line === says) break;
    }
    expect(heard).toEqual([says]);
    const unacknowledged = async () =>
      (await bench.manager.consumers.info(STREAM.work, workConsumerName(worker))).num_ack_pending;
    await expect.poll(unacknowledged, { timeout: 10_000 }).toBe(0);
    child.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
  }

  it("type-checks, and runs a worker whose schema is zod's: a message is done, and SIGTERM ends it with 0", async () => {
    await works("with-zod", join(project, "out", "with-zod.js"), "hello Ada");
  });

  it("runs bundled as its README says, with a schema that was written by hand", async () => {
    const readme = await readFile(join(import.meta.dirname, "README.md"), "utf8");
    const [, banner = ""] = /--banner:js="([^"]+)"/.exec(readme) ?? [];
    // Where no package is to be found.
    const outdir = join(folder, "bundle");
    await build({
      absWorkingDir: project,
      entryPoints: { main: "./src/by-hand.ts", "heartbeat-thread": "@millrace/worker/heartbeat-thread" },
      ...{ bundle: true, platform: "node", format: "esm", outdir, banner: { js: banner }, logLevel: "error" },
    });
    await works("by-hand", join(outdir, "main.js"), "hello ADA");
  });

  it("has a context for tests of handlers", async () => {
    expect(await run(project, process.execPath, join("out", "tested.js"))).toBe("Ada NON_RETRYABLE 5\n");
  });

  it("holds what is named in package.json and nothing of this checkout", async () => {
    const installed = join(project, "node_modules", about.name);
    const files = (await readdir(installed, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name).slice(installed.length + 1));
    expect(files).toEqual(
      expect.arrayContaining(["README.md", "package.json", "dist/index.js", "dist/index.d.ts", "dist/heartbeat-thread.js"]),
    );
    expect(
      files.filter((file) => !/^(?:README\.md|package\.json|dist\/.+\.js|dist\/.+\.d\.ts|dist\/LICENSE.*)$/.test(file)),
    ).toEqual([]);
    for (const file of files) {
      const text = await readFile(join(installed, file), "utf8");
      expect(text, file).not.toContain(root);
      expect(text, file).not.toMatch(/\.\.\/libs\/|millrace-source(?!": ")/);
    }
  });

  it("needs at most five packages, and each of them", async () => {
    const dist = join(project, "node_modules", about.name, "dist");
    const programs = (await readdir(dist, { recursive: true })).filter((file) => file.endsWith(".js"));
    const texts = await Promise.all(programs.map((file) => readFile(join(dist, file), "utf8")));
    const imported = texts.flatMap((text) =>
      [...text.matchAll(/^(?:import|export)\b[^;]*?from "([^".][^"]*)";/gm)].map(([, name]) => name),
    );
    const outside = new Set(imported.filter((name) => name !== undefined && !name.startsWith("node:")));
    expect([...outside].toSorted()).toEqual(Object.keys(about.dependencies).toSorted());
    expect(outside.size).toBeLessThanOrEqual(5);
  });
});
