import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { kubeconfigAccess } from "./access.ts";
import { KubeClient } from "./client.ts";
import { FakeApiServer, json, refuse } from "./testing/fake-api-server.ts";

const run = promisify(execFile);

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "millrace-access-"));
});
afterEach(() => rm(dir, { recursive: true }));

async function access(server: string, cluster: string, user: string) {
  const path = join(dir, "config");
  await writeFile(
    path,
    `
current-context: one
contexts: [{name: one, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "${server}"${cluster}}}]
users: [{name: u, user: ${user}}]
`,
  );
  return kubeconfigAccess(path);
}

describe("a token that is rotated", () => {
  let accepted: string;
  let server: FakeApiServer;
  let client: KubeClient;
  beforeEach(async () => {
    accepted = "first";
    server = await FakeApiServer.start(({ headers, body, response }) => {
      if (headers.authorization === `Bearer ${accepted}`) json(response, 200, { body });
      else refuse(response, 401, "Unauthorized", "");
    });
    await writeFile(join(dir, "token"), "first\n");
    client = new KubeClient({ access: await access(server.access.server, "", `{tokenFile: ${join(dir, "token")}}`) });
    await client.json({ method: "GET", path: "/x" });
  });
  afterEach(async () => {
    await client.close();
    await server[Symbol.asyncDispose]();
  });

  it("is read anew when the old one is refused, and the request is made with it at once", async () => {
    accepted = "second";
    await writeFile(join(dir, "token"), "second\n");
    expect(await client.json({ method: "POST", path: "/x", body: { a: 1 } })).toEqual({ body: { a: 1 } });
    accepted = "third";
    await writeFile(join(dir, "token"), "third\n");
    const chunks: Uint8Array[] = [];
    for await (const chunk of await client.stream({ method: "GET", path: "/x" })) chunks.push(chunk);
    expect(Buffer.concat(chunks).toString()).toBe("{}");
    expect(server.asked).toHaveLength(5);
  });

  it("one that is refused and still in its file is not tried twice", async () => {
    accepted = "nobody's";
    await expect(client.json({ method: "GET", path: "/x" })).rejects.toMatchObject({ status: 401 });
    expect(server.asked).toHaveLength(2);
  });

  it("D8: a file that cannot be read is no answer: nobody's fault, and nothing was asked", async () => {
    accepted = "second";
    await rm(join(dir, "token"));
    await expect(client.json({ method: "GET", path: "/x" })).rejects.toMatchObject({ status: 0, reason: "NoAnswer" });
  });
});

it("an authority that is rotated is trusted by the next connection, and not before its certificate is in the file", async () => {
  const certificate = async (name: string) => {
    const [key, cert] = [join(dir, `${name}.key`), join(dir, `${name}.crt`)];
    const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    const subject = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1"];
    await run("openssl", ["req", ...kind, ...subject, "-keyout", key, "-out", cert]);
    return { key: await readFile(key, "utf8"), cert: await readFile(cert, "utf8") };
  };
  const [old, next] = [await certificate("old"), await certificate("next")];
  const server = createServer(old, (_request, response) => json(response, 200, {})).listen(0, "127.0.0.1");
  await once(server, "listening");
  const ca = join(dir, "ca.crt");
  await writeFile(ca, old.cert);
  const { port } = server.address() as AddressInfo;
  const client = new KubeClient({
    access: await access(`https://127.0.0.1:${port}`, `, certificate-authority: ${ca}`, "{token: t}"),
  });
  const ask = () => client.json({ method: "GET", path: "/x" });
  expect(await ask()).toEqual({});
  server.setSecureContext(next);
  server.closeAllConnections();
  await expect.poll(() => ask().catch((error: unknown) => error)).toMatchObject({ message: /certificate/ });
  await writeFile(`${ca}.new`, next.cert);
  await rename(`${ca}.new`, ca);
  expect(await ask()).toEqual({});
  await client.close();
  server.close();
});
