import type { ServerResponse } from "node:http";
import type { Lease } from "../leases-api.ts";
import { json, refuse } from "./fake-api-server.ts";

interface Question {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
}

type Answer =
  | { readonly status: 200 | 201; readonly lease: Lease }
  | { readonly status: 404 | 409; readonly reason: "NotFound" | "Conflict" | "AlreadyExists" };

/** Leases as an API server keeps them: every write makes another resource version, and one that names an old version is refused. */
export class FakeLeases {
  readonly leases = new Map<string, Lease>();
  /** Each holder in turn, "" when the Lease was released. */
  readonly holders: string[] = [];
  #version = 0;

  answer({ method, path, body }: Question): Answer {
    const name = method === "POST" ? (body as Lease).metadata.name : (path.split("/").at(-1) ?? "");
    const stored = this.leases.get(name);
    switch (method) {
      case "POST":
        if (stored !== undefined) return { status: 409, reason: "AlreadyExists" };
        return { status: 201, lease: this.#put(name, body as Lease, `uid-${this.#version}`) };
      case "PUT": {
        const { metadata } = body as Lease;
        // A PUT may make a Lease, but one that names a uid means that one.
        if (metadata.uid !== stored?.metadata.uid) return { status: 409, reason: "Conflict" };
        if (stored === undefined) return { status: 404, reason: "NotFound" };
        if (metadata.resourceVersion !== stored.metadata.resourceVersion) return { status: 409, reason: "Conflict" };
        return { status: 200, lease: this.#put(name, body as Lease, metadata.uid) };
      }
      default:
        return stored === undefined ? { status: 404, reason: "NotFound" } : { status: 200, lease: stored };
    }
  }

  respond(asked: Question & { readonly response: ServerResponse }): void {
    const answer = this.answer(asked);
    if ("lease" in answer) json(asked.response, answer.status, answer.lease);
    else refuse(asked.response, answer.status, answer.reason, "of the fake");
  }

  #put(name: string, lease: Lease, uid: string | undefined): Lease {
    this.#version += 1;
    const stored = structuredClone({ ...lease, metadata: { ...lease.metadata, uid, resourceVersion: String(this.#version) } });
    this.leases.set(name, stored);
    const holder = lease.spec.holderIdentity ?? "";
    if (this.holders.at(-1) !== holder) this.holders.push(holder);
    return stored;
  }
}
