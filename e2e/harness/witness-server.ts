// Runs in a pod of the tests' cluster, as it stands here: what workers do there tells it, and waits for it.
// Node's own modules only.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { extname, join } from "node:path";
import { text } from "node:stream/consumers";

const PICTURES_DIR = process.argv[2] ?? "/witness";
const PORT = 8080;
/** Shorter than any client's patience. */
const LONG_POLL_MS = 15_000;

const TYPES: Readonly<Record<string, string>> = {
  ".jpg": "image/jpeg",
  ".png": "image/png",
  ".gif": "image/gif",
  ".webp": "image/webp",
};

const told: object[] = [];
const gates = new Map<string, PromiseWithResolvers<void>>();
let news = Promise.withResolvers<void>();

function tell(entry: object): void {
  told.push({ ...entry, atMs: Date.now() });
  news.resolve();
  news = Promise.withResolvers<void>();
}

function gate(name: string): PromiseWithResolvers<void> {
  const found = gates.get(name) ?? Promise.withResolvers<void>();
  gates.set(name, found);
  return found;
}

/**
 * GET /<any path>.<format>         a picture; that it was asked for is told
 * GET /held/<gate>/<name>.<format> as soon as the gate is open
 * GET /gates/<gate>                answers as soon as it is open
 * POST /gates/<gate>               opens it, for ever
 * POST /told                       tells a JSON object
 * GET /told?from=N                 what was told from the Nth on, as soon as there is any
 */
async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://witness");
  const [, room = "", name = ""] = url.pathname.split("/");
  if (url.pathname === "/told" && request.method === "POST") {
    tell(JSON.parse(await text(request)));
    response.writeHead(204).end();
  } else if (url.pathname === "/told") {
    const from = Number(url.searchParams.get("from"));
    const patience = AbortSignal.timeout(LONG_POLL_MS);
    const isOver = once(patience, "abort");
    while (told.length <= from && !patience.aborted) await Promise.race([news.promise, isOver]);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(told.slice(from)));
  } else if (room === "gates" && request.method === "POST") {
    gate(name).resolve();
    response.writeHead(204).end();
  } else if (room === "gates") {
    await gate(name).promise;
    response.writeHead(204).end();
  } else {
    await picture(url.pathname, room === "held" ? name : undefined, response);
  }
}

async function picture(path: string, held: string | undefined, response: ServerResponse): Promise<void> {
  const type = TYPES[extname(path)];
  if (type === undefined) {
    response.writeHead(404).end();
    return;
  }
  tell({ what: "fetched", key: path });
  if (held !== undefined) await gate(held).promise;
  response.writeHead(200, { "content-type": type }).end(readFileSync(join(PICTURES_DIR, `2000x1000${extname(path)}`)));
}

createServer((request, response) => {
  serve(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
}).listen(PORT);
process.on("SIGTERM", () => process.exit());
