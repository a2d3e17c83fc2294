import { connect } from "@nats-io/transport-node";
import { expect, it } from "vitest";
import { BrokerLink } from "./broker-link.ts";
import { NatsTestServer } from "./testing/nats-server.ts";

it("says that NATS is away, for how long and why, until it is there again; closed is for good", async () => {
  let clockMs = 1_000;
  await using server = await NatsTestServer.start();
  const link = new BrokerLink({ nowMs: () => clockMs });
  const ready = () => link.reached.problem();
  clockMs += 5_000;
  expect(ready()).toBe("not connected for 5 s");
  link.failed("connection refused");
  expect(ready()).toBe("not connected for 5 s: connection refused");
  const connection = await connect({ servers: server.url, maxReconnectAttempts: -1, reconnectTimeWait: 20, reconnectJitter: 1 });
  const closed = link.follow(connection);
  expect(ready()).toBeUndefined();
  clockMs += 7_000;
  expect(link.upForMs()).toBe(7_000);

  await server.kill();
  await expect.poll(() => link.isUp).toBe(false);
  expect(link.upForMs()).toBe(0);
  clockMs += 90_000;
  expect(ready()).toBe("not connected for 90 s");
  // A restart would not bring it back.
  expect(link.open.problem()).toBeUndefined();

  await server.restart();
  await expect.poll(ready).toBeUndefined();
  clockMs += 3_000;
  expect(link.upForMs()).toBe(3_000);

  await connection.close();
  await closed;
  expect(link.isUp).toBe(false);
  expect(link.open.problem()).toBe("the connection is closed");
});

it("says what NATS does not permit, once, until it was not asked for again for long", async () => {
  let clockMs = 1_000;
  const config = `authorization { users: [{ user: s, password: p, permissions: { publish: { deny: ["$JS.ACK.>", "retry.>"] } } }] }`;
  await using server = await NatsTestServer.start({ config });
  const told: string[] = [];
  const link = new BrokerLink({ nowMs: () => clockMs, onDenied: (what) => told.push(what) });
  const connection = await connect({ servers: server.url, user: "s", pass: "p" });
  const closed = link.follow(connection);
  for (const subject of ["$JS.ACK.JOBS.queue-default.1.1", "$JS.ACK.JOBS.queue-default.1.2", "retry.at.hash.1", "events.x"]) {
    connection.publish(subject, "+WPI");
  }
  await connection.flush();
  await expect.poll(() => told).toEqual(["publish to $JS.ACK.…", "publish to retry.at.…"]);
  expect(link.denied()).toEqual([
    "NATS does not permit it to publish to $JS.ACK.…",
    "NATS does not permit it to publish to retry.at.…",
  ]);
  expect(link.reached.problem()).toBeUndefined();
  clockMs += 301_000;
  expect(link.denied()).toEqual([]);
  await connection.close();
  await closed;
});
