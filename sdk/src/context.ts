import type { Published, PublishOptions } from "./published.ts";

/** A log whose lines say which message they are about. An event name (`image.stored`), and fields; no bodies and no secrets belong there. */
export interface ContextLog {
  debug(event: string, fields?: Readonly<Record<string, unknown>>): void;
  info(event: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void;
  error(event: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** What a handler is given: one attempt at one message. */
export interface Context<Data = unknown> {
  /** The same for all attempts: the message's `Nats-Msg-Id`, else one made of where it was stored. What is named after it is overwritten and never doubled. */
  readonly id: string;
  /** From 1. */
  readonly attempt: number;
  readonly data: Data;
  /** The subject that it was published to. */
  readonly subject: string;
  /** Its headers as published, names as written. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
  /** Aborted when the time is up (`HandlerTimeout`), the message is somebody else's (`LeaseLost`) or the process must end (`ShuttingDown`). Pass it on. */
  readonly signal: AbortSignal;
  readonly log: ContextLog;
  /**
   * Renews the lease of the message at once. That is never needed: a thread of its own renews it as long as the handler has time, and `timeout` is
   * not made longer by it.
   */
  progress(): void;
  /**
   * Publishes to JetStream, and resolves when it is stored. The same publish of another attempt is the same message (within the stream's duplicate
   * window), because its `Nats-Msg-Id` is made of this message's id: `<worker>.<ctx.id>.<subject>.<id>`, or without an `id`
   * `<worker>.<ctx.id>.<subject>#<n>`, n = 1, 2, … in the order of calls. Objects become JSON; strings and bytes stay as they are.
   * @throws MillraceError `PUBLISH_FAILED`; `LEASE_LOST` and `SHUTTING_DOWN` when the message is not this handler's any more
   */
  publish(subject: string, data: unknown, options?: PublishOptions): Promise<Published>;
}
