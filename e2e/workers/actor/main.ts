// A worker that does what its messages say, and tells the witness what it does.
import { setTimeout as sleep } from "node:timers/promises";
import { type Context, defineWorker, NonRetryable, RetryLater, run } from "@millrace/worker";
import { z } from "zod";

const WITNESS = process.env["WITNESS"] ?? "";

/** Of one attempt after the other; the last one's are for all that follow. */
const script = z.object({ key: z.string(), attempts: z.array(z.array(z.string())).min(1) });

type Script = z.output<typeof script>;

const worker = defineWorker({
  queue: "actor",
  schema: script,
  async handler(ctx) {
    const { key, attempts } = ctx.data;
    await tell(ctx, "begun");
    const abortTold = tellAbort(ctx);
    try {
      for (const step of attempts[ctx.attempt - 1] ?? attempts.at(-1) ?? []) await act(ctx, key, step);
    } finally {
      // Before the message's own end: who hears of that hears of this, too.
      await abortTold();
    }
    await tell(ctx, "done");
  },
});
// The first request of a process takes the longest, and a handler's time is short.
await fetch(`${WITNESS}/told?from=-1`).then(
  (answer) => answer.text(),
  () => {},
);
await run(worker);

/** Tells of the abort of the handler, also of one that was; what is returned resolves when that is told. */
function tellAbort(ctx: Context<Script>): () => Promise<void> {
  let told = Promise.resolve();
  const tellIt = (): void => {
    told = tell(ctx, "aborted", String(ctx.signal.reason)).catch(() => {});
  };
  if (ctx.signal.aborted) tellIt();
  else ctx.signal.addEventListener("abort", tellIt);
  return () => told;
}

async function act({ signal }: Context<Script>, key: string, step: string): Promise<void> {
  const [what, argument = ""] = step.split(" ");
  switch (what) {
    case "gate":
      await fetch(`${WITNESS}/gates/${argument}`, { signal });
      return;
    case "sleep":
      await sleep(Number(argument), undefined, { signal });
      return;
    case "deaf":
      await sleep(Number(argument));
      return;
    case "block":
      // The event loop stands still, and costs nobody's CPU.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(argument));
      return;
    case "throw":
      throw new Error(`${key} was told to fail`);
    case "dead":
      throw new NonRetryable(`${key} was told to be hopeless`);
    case "later":
      throw new RetryLater(Number(argument));
    case "oom":
      return outOfMemory();
    case "exit":
      process.exit(Number(argument));
      break;
    default:
      throw new Error(`no such step: ${step}`);
  }
}

/** Outside of Node's heap, whose own limit is lower than the container's; written to, as untouched memory is none. */
function outOfMemory(): never {
  const held: Buffer[] = [];
  for (;;) held.push(Buffer.alloc(8 * 2 ** 20, 1));
}

async function tell({ data: { key }, attempt }: Context<Script>, what: string, why?: string): Promise<void> {
  const entry = { what, key, attempt, pod: process.env["POD_NAME"], why };
  await fetch(`${WITNESS}/told`, { method: "POST", body: JSON.stringify(entry) });
}
