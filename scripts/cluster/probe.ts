import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { Agent, request } from "undici";
import { z } from "zod";
import { command } from "./command.ts";
import type { Probe } from "./component.ts";

const probeSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("http"), url: z.string() }),
  z.object({ kind: z.literal("socket"), path: z.string() }),
]);
const requestSchema = z.object({ waitMs: z.number(), probes: z.record(z.string(), probeSchema) });
const answerSchema = z.record(z.string(), z.string());

const PROBE_TIMEOUT_MS = 2_000;
const PROBE_INTERVAL_MS = 100;

/** "ok", or what is wrong in words. */
export type ProbeAnswers = Readonly<Record<string, string>>;

/**
 * Asks every component from inside the namespace, through a short-lived copy of this file: most of them listen only there.
 * With `waitMs` it keeps asking until all answer "ok" or the time is over.
 */
export async function askInside(
  netnsFile: string,
  probes: Readonly<Record<string, Probe>>,
  waitMs: number,
): Promise<ProbeAnswers> {
  const question = JSON.stringify({ waitMs, probes });
  const answer = await command("nsenter", [`--net=${netnsFile}`, process.execPath, import.meta.filename, question], {
    env: { NODE_OPTIONS: "" },
  });
  return answerSchema.parse(JSON.parse(answer));
}

/** Certificates go unchecked: nothing but our own processes listens in the namespace, and some of these are self-signed in memory. */
async function ask(probe: Probe, agent: Agent): Promise<string> {
  try {
    switch (probe.kind) {
      case "http": {
        const response = await request(probe.url, { dispatcher: agent });
        const body = await response.body.text();
        return response.statusCode === 200 ? "ok" : `${probe.url} says ${response.statusCode}: ${body.trim().slice(-300)}`;
      }
      case "socket":
        return await askSocket(probe.path);
    }
  } catch (error) {
    return `${probe.kind === "http" ? probe.url : probe.path}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function askSocket(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (answer: string): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => end(`${path}: no answer in ${PROBE_TIMEOUT_MS / 1000} s`));
    socket.on("connect", () => end("ok"));
    socket.on("error", (error) => end(`${path}: ${error.message}`));
  });
}

async function answer(question: string): Promise<ProbeAnswers> {
  const { waitMs, probes } = requestSchema.parse(JSON.parse(question));
  const agent = new Agent({
    connect: { rejectUnauthorized: false, timeout: PROBE_TIMEOUT_MS },
    headersTimeout: PROBE_TIMEOUT_MS,
    bodyTimeout: PROBE_TIMEOUT_MS,
  });
  const deadline = performance.now() + waitMs;
  try {
    for (;;) {
      const pairs = await Promise.all(
        Object.entries(probes).map(async ([name, probe]) => [name, await ask(probe, agent)] as const),
      );
      if (pairs.every(([, text]) => text === "ok") || performance.now() >= deadline) return Object.fromEntries(pairs);
      await delay(PROBE_INTERVAL_MS);
    }
  } finally {
    await agent.destroy();
  }
}

if (import.meta.main) process.stdout.write(JSON.stringify(await answer(process.argv[2] ?? "")));
