import type { WorkClaim } from "../../../libs/contract/work-claim.ts";
import type { NatsSettings } from "../../../libs/streams/connection.ts";

/** A message that a handler of this process works on, as its claim says. */
export interface Lease {
  /** Of its claim. */
  readonly key: string;
  /** The reply subject of its delivery. */
  readonly ack: string;
  readonly claim: WorkClaim;
  /** The claim's, as this process last wrote it. */
  readonly revision: number;
}

/** What the thread is started with. */
export interface ThreadSetup {
  readonly settings: NatsSettings;
  readonly worker: string;
  readonly ackWaitMs: number;
  readonly graceMs: number;
  readonly httpPort: number;
  /** Memory that both threads see: the beats of the main thread's event loop. */
  readonly pulse: SharedArrayBuffer;
}

/** `ticket`: one holding of a message; its key may be held again later. */
export type ToThread =
  /** `leftMs`: until its handler must have ended. Left, because clocks may be set. */
  | { readonly kind: "hold"; readonly ticket: number; readonly lease: Lease; readonly leftMs: number }
  | { readonly kind: "handlerEnded"; readonly ticket: number }
  | { readonly kind: "release"; readonly ticket: number }
  | { readonly kind: "readiness"; readonly problem: string | undefined }
  | { readonly kind: "metrics"; readonly request: number; readonly outcome: MetricsOutcome }
  | { readonly kind: "stop" };

export type MetricsOutcome = { readonly kind: "text"; readonly text: string } | { readonly kind: "failed"; readonly why: string };

export type FromThread =
  | { readonly kind: "listening"; readonly port: number }
  /** Without a revision: the claim is somebody else's. */
  | { readonly kind: "released"; readonly ticket: number; readonly revision: number | undefined }
  | { readonly kind: "lost"; readonly ticket: number }
  | { readonly kind: "metrics"; readonly request: number }
  | {
      readonly kind: "log";
      readonly level: "debug" | "info" | "warn" | "error";
      readonly event: string;
      readonly fields: Readonly<Record<string, unknown>>;
    };
