import type { Msg, NatsConnection, Subscription } from "@nats-io/transport-node";
import { MillraceError } from "../../../libs/contract/errors.ts";
import { parseStrictJson } from "../../../libs/contract/json.ts";
import { pathText } from "../../../libs/contract/message.ts";
import {
  type AnswerOf,
  REQUEST_BYTES_MAX,
  REQUEST_GROUP,
  REQUEST_OPS,
  REQUEST_TIMEOUT_MS,
  REQUESTS,
  type ReceivedRequest,
  type Refusal,
  type RefusalCode,
  type RequestOp,
  requestSubject,
} from "../../../libs/contract/requests.ts";
import { pause } from "../../../libs/runtime/backoff.ts";
import type { Service } from "../../../libs/runtime/lifecycle.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import { RequestRefused } from "./refused.ts";

/** One function per operation. It throws `RequestRefused` for an expected no; the signal ends its work. */
export type RequestHandlers = {
  readonly [Op in RequestOp]: (request: ReceivedRequest<Op>, signal: AbortSignal) => Promise<AnswerOf<Op>>;
};

/** Requests that wait behind those in work; more are told to come again. */
const BACKLOG = 256;
/** A handler that is told to end still has time to answer with what it has. */
const WORK_SHARE = 0.8;
const ANSWER_MARGIN_BYTES = 4 * 1024;

/**
 * Answers people's requests, one of all monitors each.
 *
 *   new → serving → draining (what was taken is answered, nothing is taken) → stopped
 *
 * A request comes from outside: it is bounded in size, its fields are checked, and its answer never holds more of an internal failure than that
 * there was one.
 */
export class RequestServer implements Service {
  readonly name = "requests";
  readonly #connection: NatsConnection;
  readonly #handlers: RequestHandlers;
  readonly #log: Log;
  readonly #concurrency: number;
  readonly #timeoutMs: number;
  readonly #subscriptions: Subscription[] = [];
  readonly #backlog: (() => Promise<void>)[] = [];
  readonly #working = new Set<Promise<void>>();

  constructor(options: {
    readonly connection: NatsConnection;
    readonly handlers: RequestHandlers;
    readonly log: Log;
    readonly concurrency?: number;
    readonly timeoutMs?: number;
  }) {
    this.#connection = options.connection;
    this.#handlers = options.handlers;
    this.#log = options.log;
    this.#concurrency = options.concurrency ?? 8;
    this.#timeoutMs = options.timeoutMs ?? REQUEST_TIMEOUT_MS;
  }

  async start(): Promise<void> {
    for (const op of REQUEST_OPS) {
      const callback = (error: Error | null, message: Msg): void => {
        if (error === null) this.#take(op, message);
        else this.#log.error("request.not-served", { op, error });
      };
      this.#subscriptions.push(this.#connection.subscribe(requestSubject(op), { queue: REQUEST_GROUP, callback }));
    }
    // The broker has the subscriptions when it has answered.
    await this.#connection.flush();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#subscriptions.splice(0).map((subscription) => subscription.drain()));
    while (this.#working.size > 0) await Promise.all(this.#working);
  }

  #take(op: RequestOp, message: Msg): void {
    // Nobody would hear what became of it.
    if (message.reply === undefined || message.reply === "") return;
    if (this.#backlog.length >= BACKLOG) {
      message.respond(encode(refused("BUSY", "too many requests at once; ask again in a moment")));
      return;
    }
    this.#backlog.push(() => this.#answer(op, message));
    if (this.#working.size < this.#concurrency) this.#spawnWorker();
  }

  #spawnWorker(): void {
    const worker = this.#work().finally(() => this.#working.delete(worker));
    this.#working.add(worker);
  }

  async #work(): Promise<void> {
    for (let next = this.#backlog.shift(); next !== undefined; next = this.#backlog.shift()) await next();
  }

  async #answer(op: RequestOp, message: Msg): Promise<void> {
    const signal = AbortSignal.timeout(Math.floor(this.#timeoutMs * WORK_SHARE));
    const answered = new AbortController();
    const late = pause(this.#timeoutMs, answered.signal).then(() =>
      refused("TIMEOUT", "it was not done in time and may still be done; ask again, then see the monitor's log"),
    );
    const answer = encode(await Promise.race([this.#handle(op, message.data, signal), late]));
    answered.abort();
    const limit = (this.#connection.info?.max_payload ?? 1024 * 1024) - ANSWER_MARGIN_BYTES;
    const fits = answer.length <= limit;
    if (!this.#connection.isClosed()) {
      message.respond(fits ? answer : encode(refused("ANSWER_TOO_LARGE", "the answer does not fit; ask for less (--limit)")));
    }
  }

  async #handle<Op extends RequestOp>(op: Op, body: Uint8Array, signal: AbortSignal): Promise<AnswerOf<Op> | Refusal> {
    try {
      const request = receive(op, body);
      return await this.#handlers[op](request, signal);
    } catch (error) {
      if (error instanceof RequestRefused) return refused(error.code, error.message);
      this.#log.error("request.failed", { op, error });
      return refused("INTERNAL", "the monitor failed to do it; its log (request.failed) has the reason");
    }
  }
}

function receive<Op extends RequestOp>(op: Op, body: Uint8Array): ReceivedRequest<Op> {
  if (body.length > REQUEST_BYTES_MAX) {
    throw new RequestRefused("REQUEST_INVALID", `the request has ${body.length} bytes; at most ${REQUEST_BYTES_MAX} are allowed`);
  }
  const json = body.length === 0 ? ({ kind: "ok", value: {} } as const) : parseStrictJson(body, 4);
  if (json.kind === "invalid") throw new RequestRefused("REQUEST_INVALID", json.problem);
  const parsed = REQUESTS[op].request.safeParse(json.value);
  if (parsed.success) return parsed.data as ReceivedRequest<Op>;
  const [issue] = parsed.error.issues;
  if (issue === undefined) throw new MillraceError("INTERNAL", "a schema refused a request without an issue");
  const unknown = issue.code === "unrecognized_keys";
  const path = pathText(unknown ? [...issue.path, issue.keys[0] ?? ""] : issue.path);
  const problem = unknown ? "unknown field" : issue.message;
  throw new RequestRefused("REQUEST_INVALID", path === "" ? problem : `${path}: ${problem}`);
}

function refused(code: RefusalCode, message: string): Refusal {
  return { ok: false, code, message };
}

function encode(answer: object): Uint8Array {
  return Buffer.from(JSON.stringify(answer));
}
