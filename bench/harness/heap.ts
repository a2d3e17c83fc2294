import { once } from "node:events";
import { z } from "zod";
import type { BenchProcess } from "./processes.ts";

const answer = z.object({ id: z.number().optional(), result: z.object({ usedSize: z.number().optional() }).optional() });

/** For a process whose heap is to be looked into: it listens only once it is asked to, on a port of its own. */
export const INSPECTABLE = ["--inspect-port=0"] as const;

/**
 * The bytes on a Node process' heap that something still refers to: its resident memory also holds what the collector has seen no need to give back.
 */
export async function liveHeapBytes(inspected: BenchProcess): Promise<number> {
  const socket = new WebSocket(await debuggerUrl(inspected));
  await once(socket, "open");
  const call = async (id: number, method: string): Promise<number> => {
    const { promise, resolve } = Promise.withResolvers<number>();
    socket.addEventListener("message", ({ data }) => {
      const message = answer.parse(JSON.parse(String(data)));
      if (message.id === id) resolve(message.result?.usedSize ?? 0);
    });
    socket.send(JSON.stringify({ id, method }));
    return promise;
  };
  await call(1, "HeapProfiler.collectGarbage");
  const bytes = await call(2, "Runtime.getHeapUsage");
  socket.close();
  return bytes;
}

const urls = new WeakMap<BenchProcess, Promise<string>>();

/** Node says it once, when SIGUSR1 makes it listen. */
async function debuggerUrl(inspected: BenchProcess): Promise<string> {
  const known = urls.get(inspected) ?? listening(inspected);
  urls.set(inspected, known);
  return known;
}

async function listening(inspected: BenchProcess): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const off = inspected.onLine((line) => {
    const url = /ws:\/\/\S+/.exec(line)?.[0];
    if (url !== undefined) resolve(url);
  });
  process.kill(inspected.pid, "SIGUSR1");
  return promise.finally(off);
}
