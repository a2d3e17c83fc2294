import { writeSync } from "node:fs";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { assertNever } from "../../../libs/contract/errors.ts";
import { Health } from "../../../libs/runtime/health.ts";
import { HttpServer } from "../../../libs/runtime/http-server.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import { AskedMetrics } from "./asked-metrics.ts";
import { HeartbeatBroker } from "./heartbeat-broker.ts";
import { killProcess } from "./kill-process.ts";
import { LeaseKeeper, type Overrun } from "./lease-keeper.ts";
import { LoopCheck } from "./loop-check.ts";
import { LoopWatch } from "./loop-pulse.ts";
import type { FromThread, ThreadSetup, ToThread } from "./thread-messages.ts";

/** Leases and overruns are looked at so often, and more often where ack_wait is short. */
const TICK_MS = 250;

/**
 * The second thread of a worker: keeps the leases, answers the probes, and ends the process when a handler does not. Its event loop is never held
 * up by a handler's work.
 */
async function runThread(port: MessagePort, setup: ThreadSetup): Promise<void> {
  const tell = (message: FromThread): void => port.postMessage(message);
  const log = logThrough(tell);
  const watch = new LoopWatch({ memory: setup.pulse, nowMs: performance.now() });
  const broker = new HeartbeatBroker({
    settings: setup.settings,
    worker: setup.worker,
    log,
    onReached: () => keeper.renewAll(performance.now()),
  });
  const keeper = new LeaseKeeper({
    ackWaitMs: setup.ackWaitMs,
    graceMs: setup.graceMs,
    broker: () => broker.leases,
    onLost: (ticket) => tell({ kind: "lost", ticket }),
    onStale: (key) => log.warn("lease.stale", { key }),
    onOverrun: (overrun) => {
      sayLastWords(setup.worker, overrun, watch.blockedMs);
      killProcess();
    },
  });
  const health = new Health();
  const loop = new LoopCheck({ blockedMs: () => watch.blockedMs, hasTime: () => keeper.hasTime(performance.now()) });
  let problem: string | undefined = "starting";
  health.mustLive(broker.link.open);
  health.mustLive(loop);
  health.mustBeReady(broker.link.reached);
  health.mustBeReady({ name: "worker", problem: () => problem });
  health.mention(() => [...loop.notes(), ...leaseNotes(keeper.stale), ...broker.link.denied()]);
  health.serve();
  const metrics = new AskedMetrics({ ask: (request) => tell({ kind: "metrics", request }) });
  const http = new HttpServer({ port: setup.httpPort, health, metrics });
  await http.start();

  const ticking = setInterval(
    () => {
      const nowMs = performance.now();
      watch.look(nowMs);
      keeper.tick(nowMs);
    },
    Math.min(TICK_MS, setup.ackWaitMs / 20),
  );
  const stop = async (): Promise<void> => {
    clearInterval(ticking);
    await broker.stop();
    await http.stop();
    port.close();
  };
  const release = async (ticket: number): Promise<void> =>
    tell({ kind: "released", ticket, revision: await keeper.release(ticket) });
  port.on("message", (message: ToThread) => {
    switch (message.kind) {
      case "hold":
        keeper.hold(message.ticket, message.lease, { nowMs: performance.now(), leftMs: message.leftMs });
        break;
      case "handlerEnded":
        keeper.handlerEnded(message.ticket);
        break;
      case "release":
        void release(message.ticket);
        break;
      case "readiness":
        problem = message.problem;
        break;
      case "metrics":
        metrics.answer(message.request, message.outcome);
        break;
      case "stop":
        void stop();
        break;
      default:
        assertNever(message);
    }
  });
  tell({ kind: "listening", port: http.port });
  await broker.run();
}

/** The main thread has the log; it may be blocked. */
function logThrough(tell: (message: FromThread) => void): Log {
  const at =
    (level: "debug" | "info" | "warn" | "error") =>
    (event: string, fields: Readonly<Record<string, unknown>> = {}): void =>
      tell({ kind: "log", level, event, fields });
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

function leaseNotes(stale: number): string[] {
  return stale === 0 ? [] : [`leases: ${stale} not renewed for so long that others may be given their messages`];
}

/** Written at once, past the log of the thread that hangs. */
function sayLastWords(worker: string, { key, why }: Overrun, blockedMs: number): void {
  const line = {
    level: "error",
    time: new Date().toISOString(),
    service: worker,
    event: "worker.killed-itself",
    key,
    why,
    loopBlockedSeconds: Math.round(blockedMs / 1000),
    message:
      why === "timeout"
        ? "a handler did not end when its time was up, nor in the grace after it; have it heed ctx.signal, or give it a longer timeout"
        : "a handler did not end when its message was given to another worker; have it heed ctx.signal",
  };
  try {
    writeSync(1, `${JSON.stringify(line)}\n`);
  } catch {
    // A full pipe must not keep it alive.
  }
}

if (parentPort !== null) await runThread(parentPort, workerData as ThreadSetup);
