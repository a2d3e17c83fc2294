import type { V1ContainerPort } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { readEnv } from "../libs/runtime/env.ts";
import { dispatcherEnv } from "../services/dispatcher/env.ts";
import { monitorEnv } from "../services/monitor/env.ts";
import { scalerEnv } from "../services/scaler/env.ts";
import { documents, EVERYTHING, environment, only, pods, template, testPods } from "./testing/rendered.ts";
import { withResize } from "./testing/worker-release.ts";

describe("every pod", () => {
  const sets: [string, string[], number][] = [
    ["defaults", [], 4],
    ["every value set", ["-f", EVERYTHING], 7],
  ];
  it.each(sets)("is restricted, as the Pod Security Standard means it (%s)", async (_name, args, count) => {
    const all = documents(await template("x", ...args));
    const found = [...pods(all), ...testPods(all)];
    expect(found).toHaveLength(count);
    for (const pod of found) {
      expect(pod.securityContext).toMatchObject({
        runAsNonRoot: true,
        runAsUser: 65532,
        fsGroup: 65532,
        seccompProfile: { type: "RuntimeDefault" },
      });
      expect(pod.hostNetwork ?? pod.hostPID ?? pod.hostIPC).toBeUndefined();
      for (const { name, ...source } of pod.volumes ?? []) {
        expect(["configMap", "emptyDir", "secret"]).toEqual(expect.arrayContaining(Object.keys(source)));
        // The user 65532 reads it as a member of the group; nobody else does.
        if (source.secret !== undefined) expect(source.secret.defaultMode, name).toBe(0o440);
      }
      for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
        expect(container.securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        });
        expect(container.ports ?? []).toSatisfy((ports: V1ContainerPort[]) =>
          ports.every(({ hostPort }) => hostPort === undefined),
        );
      }
    }
  });

  it("has requests, a memory limit and all three probes", async () => {
    for (const pod of pods(documents(await template("x", ...withResize())))) {
      for (const container of pod.containers) {
        expect(container.resources).toMatchObject({
          requests: { cpu: expect.any(String), memory: expect.any(String) },
          limits: { memory: expect.any(String) },
        });
        expect(container).toMatchObject({ startupProbe: {}, livenessProbe: {}, readinessProbe: {} });
      }
    }
  });

  it("carries a Secret or a token only where it needs one", async () => {
    const all = pods(documents(await template("x", ...withResize())));
    expect(all.map((pod) => [only(pod.containers).name, pod.serviceAccountName, pod.automountServiceAccountToken])).toEqual([
      ["dispatcher", "x-millrace-dispatcher", true],
      ["monitor", "x-millrace-monitor", true],
      ["scaler", undefined, false],
      ["worker", undefined, false],
      ["nats", undefined, false],
    ]);
  });
});

describe("the services", () => {
  it("get their settings as plain variables", async () => {
    const all = documents(await template("x", "-n", "home", "--set", "jobs.extraNamespaces={home,more,more}"));
    const common = {
      MILLRACE_INSTANCE: "home.x",
      POD_NAME: undefined,
      POD_NAMESPACE: undefined,
      CONFIG_MAP: "x-millrace-config",
      JOBS_NAMESPACE: "home",
      JOB_NAMESPACES: "home,more",
      NATS_URL: "nats://x-millrace-nats.home.svc:4222",
      ACK_WAIT: "120s",
      HISTORY: "720h",
      LOG_LEVEL: "info",
      HTTP_SERVER_PORT: "8080",
      SHUTDOWN_TIMEOUT: "25s",
    };
    expect(environment(all, "x-millrace-dispatcher")).toEqual({
      ...common,
      LEASE_NAME: "x-millrace-dispatcher",
      LEADER_ELECTION: "false",
    });
    expect(environment(all, "x-millrace-monitor")).toEqual({
      ...common,
      LEASE_NAME: "x-millrace-monitor",
      STREAM_REPLICAS: "1",
      STORE_SIZE: "8Gi",
      SWEEP_INTERVAL: "30s",
      UNKNOWN_QUEUE_AFTER: "10m",
    });
  });

  it.each([
    ["dispatcher", dispatcherEnv],
    ["monitor", monitorEnv],
    ["scaler", scalerEnv],
  ] as const)("the %s knows every variable that it is given, and accepts the values", async (service, known) => {
    const all = documents(await template("x", "-n", "home", ...withResize()));
    const given = environment(all, `x-millrace-${service}`);
    expect(Object.keys(known)).toEqual(expect.arrayContaining(Object.keys(given)));
    expect(() => readEnv(known, { ...given, POD_NAME: "pod", POD_NAMESPACE: "home" })).not.toThrow();
  });

  it.each([
    [[], "millrace/millrace:0.1.0", "nats:2.15.2"],
    [["--set", "image.registry=ghcr.io,nats.image.registry=quay.io"], "ghcr.io/millrace/millrace:0.1.0", "quay.io/nats:2.15.2"],
    [
      ["--set", "global.imageRegistry=local:5000,image.registry=ghcr.io"],
      "local:5000/millrace/millrace:0.1.0",
      "local:5000/nats:2.15.2",
    ],
    [
      ["--set", `image.digest=sha256:${"a".repeat(64)},image.tag=dev`],
      `millrace/millrace@sha256:${"a".repeat(64)}`,
      "nats:2.15.2",
    ],
    [["--set", "image.tag=dev"], "millrace/millrace:dev", "nats:2.15.2"],
  ])("come from the image that %j says", async (args, image, natsImage) => {
    const images = pods(documents(await template("x", ...args))).map((pod) => only(pod.containers).image);
    expect(images).toEqual([image, image, natsImage]);
  });
});
