import { describe, expect, it } from "vitest";
import { isMillraceError } from "../libs/contract/errors.ts";
import { readDispatcherEnv } from "./dispatcher/env.ts";
import { readMonitorEnv } from "./monitor/env.ts";
import { readScalerEnv } from "./scaler/env.ts";

const valid = {
  MILLRACE_INSTANCE: "millrace.millrace",
  POD_NAMESPACE: "millrace",
  CONFIG_MAP: "millrace-queues",
  JOBS_NAMESPACE: "millrace-jobs",
  LEASE_NAME: "millrace-monitor",
  JOB_NAMESPACES: "millrace-jobs, other,millrace-jobs,",
};
const problem = (env: NodeJS.ProcessEnv): string => {
  try {
    readMonitorEnv(env);
    return "";
  } catch (error) {
    if (!isMillraceError(error)) throw error;
    expect(error.code).toBe("CONFIG_INVALID");
    return error.message;
  }
};

describe("the environment of a service", () => {
  it("is read with its defaults", () => {
    expect(readDispatcherEnv(valid)).toMatchObject({
      NATS_URL: "nats://127.0.0.1:4222",
      HTTP_SERVER_PORT: 8080,
      ACK_WAIT: 120_000,
      SHUTDOWN_TIMEOUT: 25_000,
      LEADER_ELECTION: false,
      JOB_NAMESPACES: ["millrace-jobs", "other"],
    });
    expect(readMonitorEnv(valid)).toMatchObject({ HISTORY: 30 * 86_400_000, STORE_SIZE: 8 * 2 ** 30, STREAM_REPLICAS: 1 });
    expect(readScalerEnv({ MILLRACE_INSTANCE: "millrace.millrace" })).toMatchObject({
      GRPC_SERVER_PORT: 9090,
      HTTP_SERVER_PORT: 8080,
    });
  });

  it("says every problem at once, by name, and quotes no value", () => {
    const message = problem({
      MILLRACE_INSTANCE: "Sup3rSecret!",
      POD_NAMESPACE: "millrace",
      HTTP_SERVER_PORT: "Sup3rSecret",
      LOG_LEVEL: "Sup3rSecret",
      ACK_WAIT: "Sup3rSecret",
      STORE_SIZE: "Sup3rSecret",
      JOB_NAMESPACES: " , ",
    });
    for (const name of [
      "MILLRACE_INSTANCE",
      "HTTP_SERVER_PORT",
      "LOG_LEVEL",
      "ACK_WAIT",
      "STORE_SIZE",
      "JOB_NAMESPACES",
      "CONFIG_MAP",
      "JOBS_NAMESPACE",
      "LEASE_NAME",
    ]) {
      expect(message).toContain(`  ${name}: `);
    }
    expect(message).not.toContain("Sup3rSecret");
    expect(message).not.toContain("POD_NAMESPACE:");
  });

  it.each([
    ["true", true],
    ["false", false],
    ["", false],
  ])("LEADER_ELECTION=%s is %s; any other word is refused, not taken for one of them", (text, truth) => {
    expect(readDispatcherEnv({ ...valid, LEADER_ELECTION: text }).LEADER_ELECTION).toBe(truth);
    for (const other of ["1", "yes", "True"])
      expect(() => readDispatcherEnv({ ...valid, LEADER_ELECTION: other })).toThrow("LEADER_ELECTION: ");
  });

  it("an empty variable is as good as none", () => {
    expect(readDispatcherEnv({ ...valid, HTTP_SERVER_PORT: "", NATS_CREDS_FILE: "" })).toMatchObject({ HTTP_SERVER_PORT: 8080 });
    expect(problem({ ...valid, CONFIG_MAP: "" })).toContain("CONFIG_MAP: ");
  });
});
