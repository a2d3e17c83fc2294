import { describe, expect, it } from "vitest";
import {
  formatIdentity,
  identityOf,
  isAlive,
  type ProcessIdentity,
  parseIdentity,
  parseProcessStat,
} from "./process-identity.ts";

const tail = "1 2 2 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1000 0 18446744073709551615";

function own(): ProcessIdentity {
  const identity = identityOf(process.pid);
  if (identity === undefined) throw new Error("/proc does not know this process");
  return identity;
}

describe("parseProcessStat", () => {
  it.each(["etcd", "a b", ") S 1 (", "x) R 5 5 5"])("reads past the command name %j", (command) => {
    expect(parseProcessStat(`42 (${command}) S ${tail}`)).toEqual({ state: "S", parentPid: 1, startTicks: "987654" });
  });

  it.each(["", "42", "42 (etcd) S 1 2"])("knows nothing from %j", (text) => {
    expect(parseProcessStat(text)).toBeUndefined();
  });
});

describe("isAlive", () => {
  it("recognizes this very process after a round through a pid file", () => {
    expect(parseIdentity(formatIdentity(own()))).toEqual(own());
    expect(isAlive(own())).toBe(true);
  });

  it("takes a process that was given the same pid for another one", () => {
    expect(isAlive({ ...own(), startTicks: "1" })).toBe(false);
  });

  it("takes the same pid and start time after a reboot for another one", () => {
    expect(isAlive({ ...own(), bootId: "00000000-0000-0000-0000-000000000000" })).toBe(false);
  });
});

it.each(["", "12", "12 34", "x 1 abc", "-5 1 abc"])("takes no identity from %j", (text) => {
  expect(parseIdentity(text)).toBeUndefined();
});
