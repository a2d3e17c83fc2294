import type { V1ConfigMap, V1Deployment, V1PodSpec, V1Role, V1RoleBinding } from "@kubernetes/client-node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dispatchConfig } from "../libs/contract/queue-config.ts";
import { parseDurationMs } from "../libs/contract/units.ts";
import { natsEnv } from "../libs/streams/connection.ts";
import { defineWorker } from "../sdk/src/worker.ts";
import { workerEnv, workerSettings } from "../sdk/src/worker-env.ts";
import { helmCommand } from "./testing/helm-command.ts";
import { byName, CHART, type Document, deployedPod, environment, ofKind, only, refusal, rendered } from "./testing/rendered.ts";
import { ELSEWHERE, installed, json, RESIZE, resize, withResize, workers } from "./testing/worker-release.ts";

describe("without workers", () => {
  it("there is nothing of them, whether or not the cluster has KEDA", async () => {
    const helm = await helmCommand();
    const without = await helm("template", "x", CHART, "-n", "home");
    expect(without).toMatchObject({ code: 0, stderr: "" });
    const all = await rendered(helm, "x", "-n", "home");
    expect(all).toBe(without.stdout);
    expect(all).not.toMatch(/scaler|worker|keda/iu);
  });
});

describe("a worker", () => {
  it("is a Deployment whose pods are found by its name", async () => {
    const all = await installed(...withResize({ podLabels: { app: "stolen", tier: "a" } }));
    const { metadata, spec } = byName<V1Deployment>(all, "Deployment", RESIZE);
    const labels = { app: "resize", "millrace.dev/worker": "resize" };
    expect(metadata.labels).toMatchObject(labels);
    expect(spec?.template.metadata?.labels).toMatchObject({ ...labels, "millrace.dev/instance": "home.x", tier: "a" });
    expect(spec?.selector.matchLabels).toEqual({
      "app.kubernetes.io/name": "millrace",
      "app.kubernetes.io/instance": "x",
      "app.kubernetes.io/component": "worker",
      "millrace.dev/worker": "resize",
    });
    expect(spec?.strategy).toEqual({ type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } });
    const { containers, ...pod } = deployedPod(all, RESIZE);
    expect(pod).toMatchObject({ automountServiceAccountToken: false, enableServiceLinks: false });
    expect(pod).not.toHaveProperty("serviceAccountName");
    expect(only(containers)).toMatchObject({ name: "worker", image: resize.image });
  });

  it("J4: leaves a lost node at once, besides what its user tolerates", async () => {
    const own = { key: "gpu", operator: "Exists" };
    const { tolerations } = deployedPod(await installed(...withResize({ tolerations: [own] })), RESIZE);
    const leaves = { operator: "Exists", effect: "NoExecute", tolerationSeconds: 0 };
    expect(tolerations).toEqual([
      { key: "node.kubernetes.io/unreachable", ...leaves },
      { key: "node.kubernetes.io/not-ready", ...leaves },
      own,
    ]);
  });

  it("is told what the SDK reads, and nothing else", async () => {
    const retry = { attempts: 15, backoff: { initial: "41m", increment: "41m", max: "24h" } };
    const all = await installed(...withResize({ concurrency: 4, timeout: "1m30s", retry, env: { SIZE: "200" } }));
    const { MILLRACE_RETRY, ...given } = environment(all, RESIZE);
    expect(JSON.parse(MILLRACE_RETRY ?? "")).toEqual(retry);
    expect(given).toEqual({
      POD_NAME: undefined,
      POD_NAMESPACE: undefined,
      POD_UID: undefined,
      NODE_NAME: undefined,
      MILLRACE_WORKER: "resize",
      MILLRACE_INSTANCE: "home.x",
      MILLRACE_CONCURRENCY: "4",
      MILLRACE_TIMEOUT: "1m30s",
      MILLRACE_GRACE: "110s",
      ACK_WAIT: "120s",
      LOG_LEVEL: "info",
      HTTP_SERVER_PORT: "8080",
      NATS_URL: "nats://x-millrace-nats.home.svc:4222",
      SIZE: "200",
    });
    const fields = deployedPod(all, RESIZE).containers[0]?.env?.flatMap(({ valueFrom }) => valueFrom?.fieldRef?.fieldPath ?? []);
    expect(fields).toEqual(["metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName"]);
    expect(deployedPod(all, RESIZE).terminationGracePeriodSeconds).toBe(120);
  });

  it("is a process of the SDK: that knows every variable, and accepts the values", async () => {
    const all = await installed(...withResize({ timeout: "1m", concurrency: 3, retry: { attempts: 5 } }));
    const given = environment(all, RESIZE);
    expect(Object.keys(workerEnv)).toEqual(expect.arrayContaining(Object.keys(given)));
    const worker = defineWorker({ queue: "another", handler: () => Promise.resolve() });
    const { settings } = workerSettings([worker], { ...given, POD_UID: "uid" });
    expect(settings).toMatchObject({
      name: "resize",
      concurrency: 3,
      timeoutMs: 60_000,
      graceMs: 80_000,
      retry: { attempts: 5 },
    });
  });

  it("ends when it is told to while it still loads: its program is not process 1, which the kernel would keep that from", async () => {
    expect(deployedPod(await installed(...withResize()), RESIZE).shareProcessNamespace).toBe(true);
  });

  it("has its image as it is written, and Secrets as its user says", async () => {
    const envFrom = [{ secretRef: { name: "image-jobs" } }];
    const settings = ["--set", "global.imageRegistry=local:5000", ...json("global.imagePullSecrets", [{ name: "all" }])];
    const all = await installed(...settings, ...withResize({ envFrom, imagePullSecrets: [{ name: "all" }, { name: "mine" }] }));
    const pod = deployedPod(all, RESIZE);
    expect(only(pod.containers)).toMatchObject({ image: resize.image, envFrom });
    expect(pod.imagePullSecrets).toEqual([{ name: "all" }, { name: "mine" }]);
  });

  it("has more volumes as its user says, after the chart's own: credentials as files", async () => {
    const extraVolumes = [{ name: "r2", secret: { secretName: "image-jobs", defaultMode: 0o440 } }];
    const extraVolumeMounts = [{ name: "r2", mountPath: "/etc/r2", readOnly: true }];
    const secret = "workerNats.auth.existingSecret=w,workerNats.auth.credsKey=c";
    const all = await installed(...withResize({ extraVolumes, extraVolumeMounts }), "--set", secret);
    const { containers, volumes } = deployedPod(all, RESIZE);
    expect(volumes?.map(({ name }) => name)).toEqual(["tmp", "nats-auth", "r2"]);
    expect(volumes?.at(-1)).toEqual(extraVolumes[0]);
    expect(only(containers).volumeMounts?.map(({ mountPath }) => mountPath)).toEqual(["/tmp", "/etc/nats-auth", "/etc/r2"]);
    expect(only(containers).volumeMounts?.at(-1)).toEqual(extraVolumeMounts[0]);
    // The services want to know nothing of them.
    expect(byName<V1ConfigMap>(all, "ConfigMap", "x-millrace-config").data?.["config.json"]).not.toContain("r2");
  });

  it.each([
    [{ extraVolumes: [{ secret: {} }] }, "at '/workers/resize/extraVolumes/0': missing property 'name'"],
    [{ extraVolumeMounts: [{ name: "r2" }] }, "at '/workers/resize/extraVolumeMounts/0': missing property 'mountPath'"],
    [{ extraVolumes: {} }, "at '/workers/resize/extraVolumes': got object, want array"],
  ])("with %j is refused", async (more, message) => {
    expect(await refusal(...withResize(more))).toContain(message);
  });

  it.each([
    [{}, { requests: { cpu: "100m", memory: "128Mi" }, limits: { memory: "512Mi" } }],
    [{ limits: { memory: "2Gi" } }, { requests: { cpu: "100m", memory: "128Mi" }, limits: { memory: "2Gi" } }],
    [{ requests: { cpu: "1" }, limits: {} }, { requests: { cpu: "1" } }],
  ])("with the resources %j gets %j", async (resources, wanted) => {
    expect(only(deployedPod(await installed(...withResize({ resources })), RESIZE).containers).resources).toEqual(wanted);
  });

  it.each([
    [{ min: 0 }, 1],
    [{ min: 3 }, 3],
  ])("without KEDA has a fixed number of pods: %j means %i", async (more, replicas) => {
    const all = await installed(...withResize(more), "--set", "keda.enabled=false");
    expect(byName<V1Deployment>(all, "Deployment", RESIZE).spec?.replicas).toBe(replicas);
    expect(ofKind(all, "ScaledObject")).toEqual([]);
    expect(all.filter(({ metadata }) => metadata.name.includes("scaler"))).toEqual([]);
  });

  it("with KEDA leaves the number of its pods to KEDA, also when it is upgraded", async () => {
    const { spec } = byName<V1Deployment>(await installed(...withResize({ min: 2 })), "Deployment", RESIZE);
    expect(spec).not.toHaveProperty("replicas");
  });

  it("is told to the services as they read it, without what is only its pods' business", async () => {
    const more = { concurrency: 4, deletionCost: true, trigger: "poll", env: { A: "secret" }, timeout: "10s" };
    const all = await installed(...workers({ resize: { ...resize, ...more }, plain: { image: "plain", subject: "plain" } }));
    const { data } = byName<V1ConfigMap>(all, "ConfigMap", "x-millrace-config");
    const config = JSON.parse(data?.["config.json"] ?? "");
    const { env: _env, ...told } = more;
    expect(config.workers).toEqual({ resize: { subject: resize.subject, ...told }, plain: { subject: "plain" } });
    expect(dispatchConfig.parse(config).workers).toMatchObject({
      resize: { timeout: 10_000, max: 10 },
      plain: { concurrency: 1, deletionCost: false },
    });
  });
});

describe("durations in seconds", () => {
  it("are those of the services, rounded up, whatever units they have", async () => {
    const amount = fc.tuple(
      fc.integer({ min: 0, max: 5_000 }),
      fc.constantFrom("ms", "s", "m", "h", "d"),
      fc.constantFrom("", "0", "00"),
    );
    const duration = fc
      .array(amount, { minLength: 1, maxLength: 4 })
      .map((parts) => parts.map(([number, unit, zeros]) => `${zeros}${number}${unit}`).join(""))
      .filter((text) => parseDurationMs(text) > 0 && parseDurationMs(text) <= 3_650 * 86_400_000);
    const texts = [
      ...fc.sample(duration, { seed: 1, numRuns: 60 }),
      "1ms",
      "20000000000ms0h",
      "315360000000ms",
      "315359999999ms1ms",
      "999ms",
      "3650d",
      "08m",
      "1s1ms",
      "90m30s",
    ];
    const all = await installed(
      ...workers(
        Object.fromEntries(
          texts.map((timeout, index) => [`w${index}`, { image: "w", subject: `w${index}`, timeout, cooldown: timeout }]),
        ),
      ),
    );
    for (const [index, text] of texts.entries()) {
      const seconds = Math.ceil(parseDurationMs(text) / 1000);
      const name = `x-millrace-worker-w${index}`;
      expect(deployedPod(all, name).terminationGracePeriodSeconds, text).toBe(seconds + 30);
      expect(byName(all, "ScaledObject", name), text).toMatchObject({ spec: { cooldownPeriod: seconds } });
    }
  });
});

describe("the monitor", () => {
  const rights = (all: Document[]) =>
    ofKind<V1Role>(all, "Role")
      .filter(({ metadata }) => metadata.name.endsWith("workers"))
      .flatMap(({ metadata, rules }) => (rules ?? []).map((rule) => [metadata.namespace, rule.resources, rule.verbs]));

  it("W1: may watch the pods of workers, in the release's namespace only", async () => {
    const all = await installed(...withResize(), "--set", "jobs.namespace=work");
    expect(rights(all)).toEqual([["home", ["pods"], ["get", "list", "watch"]]]);
    const binding = byName<V1RoleBinding>(all, "RoleBinding", "x-millrace-monitor-workers");
    expect(binding.subjects).toEqual([{ kind: "ServiceAccount", name: "x-millrace-monitor", namespace: "home" }]);
  });

  it("may mark them only when a worker asks for that", async () => {
    const all = await installed(...withResize({ deletionCost: true }));
    expect(rights(all)).toContainEqual(["home", ["pods"], ["patch"]]);
    expect(byName(all, "RoleBinding", "x-millrace-monitor-busy-workers")).toMatchObject({
      subjects: [{ name: "x-millrace-monitor" }],
    });
  });
});

describe("who workers are for NATS", () => {
  const files = (pod: V1PodSpec): string[] =>
    (pod.volumes ?? []).flatMap(({ secret }) =>
      (secret?.items ?? []).map(({ key, path }) => `${secret?.secretName}/${key}: ${path}`),
    );
  const shown = (all: Document[], deployment: string) => ({
    files: files(deployedPod(all, deployment)),
    variables: Object.entries(environment(all, deployment)).filter(([name]) => name.startsWith("NATS_") && name !== "NATS_URL"),
  });
  const engine = "nats.auth.existingSecret=s,nats.auth.user=me,nats.auth.passwordKey=p,nats.tls.existingSecret=t";

  it("is who the services are, unless the user says otherwise", async () => {
    const all = await installed(...withResize(), "--set", `${ELSEWHERE},${engine}`);
    expect(shown(all, RESIZE)).toEqual(shown(all, "x-millrace-monitor"));
    expect(shown(all, RESIZE).files).toEqual(["s/p: password", "t/ca.crt: ca.crt"]);
  });

  it("can be somebody else, and then nothing of the services' Secrets is in their pods", async () => {
    const certificate = "nats.tls.certKey=c,nats.tls.keyKey=k";
    const others =
      "workerNats.auth.existingSecret=w,workerNats.auth.credsKey=c,workerNats.tls.existingSecret=wt,workerNats.tls.caKey=ca";
    const all = await installed(...withResize(), "--set", `${ELSEWHERE},${engine},${certificate},${others}`);
    expect(shown(all, RESIZE)).toEqual({
      files: ["w/c: creds", "wt/ca: ca.crt"],
      variables: [
        ["NATS_CREDS_FILE", "/etc/nats-auth/creds"],
        ["NATS_TLS_CA_FILE", "/etc/nats-tls/ca.crt"],
      ],
    });
    expect(Object.keys(natsEnv)).toEqual(expect.arrayContaining(shown(all, RESIZE).variables.map(([name]) => name)));
    expect(shown(all, "x-millrace-scaler").files).toEqual(["s/p: password", "t/ca.crt: ca.crt", "t/c: tls.crt", "t/k: tls.key"]);
  });
});
