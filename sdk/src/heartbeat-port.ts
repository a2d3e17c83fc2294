import type { Heartbeats } from "./heartbeat/heartbeats.ts";

/** What keeps the leases of held messages: a thread in a process, less in tests. */
export type HeartbeatPort = Pick<Heartbeats, "start" | "hold" | "handlerEnded" | "release" | "setReadiness" | "stop">;
