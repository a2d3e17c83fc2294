import { expect, it } from "vitest";
import { gatewayPorts } from "./gateway.ts";

it("tries the port of the last start first, and no port twice", () => {
  const [first] = gatewayPorts(undefined);
  expect(gatewayPorts(20_000)[0]).toBe(20_000);
  expect(gatewayPorts(20_000)[1]).toBe(first);
  const within = gatewayPorts((first ?? 0) + 3);
  expect(within[0]).toBe((first ?? 0) + 3);
  expect(new Set(within).size).toBe(within.length);
});

it("stays below the ephemeral range, whose ports come and go with any connection", () => {
  expect(gatewayPorts(undefined).every((port) => port > 1024 && port < 32_768)).toBe(true);
});
