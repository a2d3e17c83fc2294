import { documents, template } from "./rendered.ts";

/** A worker of tests, and how the chart is rendered with it. */
export const json = (path: string, value: unknown): string[] => ["--set-json", `${path}=${JSON.stringify(value)}`];

export const resize = { image: "ghcr.io/acme/resize:1.2", subject: "image-downloaded" };
export const RESIZE = "x-millrace-worker-resize";
export const workers = (all: object): string[] => json("workers", all);
/** With this one worker. */
export const withResize = (more: object = {}): string[] => workers({ resize: { ...resize, ...more } });

export const installed = async (...args: string[]) => documents(await template("x", "-n", "home", ...args));

/** A NATS that is not part of the release. */
export const ELSEWHERE = "nats.enabled=false,nats.external.url=nats://nats.example.org:4222";
