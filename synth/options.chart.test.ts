import type {
  V1NetworkPolicy,
  V1Pod,
  V1PodDisruptionBudget,
  V1PodSpec,
  V1RoleBinding,
  V1Service,
  V1ServiceAccount,
} from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import {
  byName,
  deployedPod,
  documents,
  EVERYTHING,
  environment,
  environmentOf,
  ofKind,
  only,
  refusal,
  template,
  testPods,
  workloads,
} from "./testing/rendered.ts";

const json = (path: string, value: unknown): string[] => ["--set-json", `${path}=${JSON.stringify(value)}`];

describe("common labels and annotations", () => {
  const labels = { team: "a", "app.kubernetes.io/instance": "stolen" };

  it("are on every object and every pod, and never win over the chart's own", async () => {
    const all = documents(await template("x", ...json("commonLabels", labels), ...json("commonAnnotations", { note: "n" })));
    const templates = workloads(all).map(({ spec }) => spec?.template.metadata);
    for (const metadata of [...all.map((document) => document.metadata), ...templates]) {
      expect(metadata?.labels).toMatchObject({ team: "a", "app.kubernetes.io/instance": "x" });
      expect(metadata?.annotations).toMatchObject({ note: "n" });
    }
    const test = only(ofKind<V1Pod>(all, "Pod")).metadata.annotations;
    expect(test).toMatchObject({ "helm.sh/hook": "test", note: "n" });
  });

  it("are in no selector and no volume claim, which can never change", async () => {
    const all = documents(await template("x", ...json("commonLabels", labels), "--set", "networkPolicy.enabled=true"));
    const plain = documents(await template("x", "--set", "networkPolicy.enabled=true"));
    const fixed = (from: typeof all) => [
      ...workloads(from).map(({ spec }) => [spec?.selector, spec?.volumeClaimTemplates]),
      ...ofKind<V1Service>(from, "Service").map(({ spec }) => spec?.selector),
      ...ofKind<V1PodDisruptionBudget>(from, "PodDisruptionBudget").map(({ spec }) => spec?.selector),
      ...ofKind<V1NetworkPolicy>(from, "NetworkPolicy").map(({ spec }) => spec),
    ];
    expect(fixed(all)).toEqual(fixed(plain));
  });

  it("of a pod win over the common ones", async () => {
    const all = documents(await template("blue", "-n", "team-a", "-f", EVERYTHING));
    const { metadata } =
      workloads(all).find((workload) => workload.metadata.name === "blue-engine-dispatcher")?.spec?.template ?? {};
    expect(metadata?.labels).toMatchObject({ team: "b", tier: "backend", "example.org/cost-center": "0042" });
    expect(metadata?.annotations).toMatchObject({ "example.org/owner": "team: a", "example.org/note": 'say "hi"' });
  });
});

describe("a service", () => {
  it("gets more variables from the user, of any kind, after its own", async () => {
    const extra = [
      { name: "A", value: "1e3" },
      { name: "B", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
    ];
    const all = documents(await template("x", ...json("monitor.extraEnv", extra)));
    expect(deployedPod(all, "x-millrace-monitor").containers[0]?.env?.slice(-2)).toEqual(extra);
    expect(Object.keys(environment(all, "x-millrace-dispatcher"))).not.toContain("A");
  });

  it.each([
    ["dispatcher", ["NATS_URL"], "dispatcher.extraEnv: the chart itself sets NATS_URL, or it is there twice"],
    ["dispatcher", ["NATS_TOKEN_FILE"], "the chart itself sets NATS_TOKEN_FILE"],
    ["monitor", ["A", "POD_NAME", "HISTORY", "A"], "monitor.extraEnv: the chart itself sets POD_NAME, HISTORY, A, or"],
  ])("%s refuses the variables %j, which would be there twice", async (service, names, message) => {
    const extra = names.map((name) => ({ name, value: "1" }));
    expect(await refusal(...json(`${service}.extraEnv`, extra))).toContain(message);
  });

  it("has all but five seconds of its grace period to finish", async () => {
    const all = documents(await template("x", "--set", "monitor.terminationGracePeriodSeconds=1000000"));
    expect(environment(all, "x-millrace-monitor")).toMatchObject({ SHUTDOWN_TIMEOUT: "999995s" });
  });

  it("runs as an account of the chart's making, or as one that exists", async () => {
    const own = documents(await template("x", ...json("monitor.serviceAccount", { name: "own", annotations: { role: "r" } })));
    expect(byName<V1ServiceAccount>(own, "ServiceAccount", "own").metadata.annotations).toEqual({ role: "r" });
    const existing = documents(
      await template("x", "--set", "monitor.serviceAccount.create=false,monitor.serviceAccount.name=it"),
    );
    expect(ofKind(existing, "ServiceAccount").map(({ metadata }) => metadata.name)).toEqual(["x-millrace-dispatcher"]);
    expect(deployedPod(existing, "x-millrace-monitor").serviceAccountName).toBe("it");
    const subjects = ofKind<V1RoleBinding>(existing, "RoleBinding").flatMap((binding) => binding.subjects ?? []);
    expect(new Set(subjects.map(({ name }) => name))).toEqual(new Set(["x-millrace-dispatcher", "it"]));
    expect(await refusal("--set", "monitor.serviceAccount.create=false")).toContain("monitor.serviceAccount.name must name");
  });

  it("gets no rights from the chart when somebody else gives them", async () => {
    const kinds = documents(await template("x", "--set", "rbac.create=false")).map(({ kind }) => kind);
    expect(kinds.filter((kind) => /Role/u.test(kind))).toEqual([]);
  });
});

describe("traces", () => {
  const traced = async (...args: string[]) => {
    const all = documents(await template("x", ...args));
    return ["dispatcher", "monitor"].map((name) => deployedPod(all, `x-millrace-${name}`));
  };
  const variables = (pod: V1PodSpec) =>
    Object.fromEntries(Object.entries(environmentOf(pod)).filter(([name]) => /^OT/.test(name)));

  it("are sent nowhere unless a collector is named", async () => {
    const none = await traced("--set", "tracing.headers.existingSecret=otlp");
    for (const pod of none) expect([variables(pod), pod.volumes?.length]).toEqual([{}, 1]);
  });

  it.each([
    ["100", "1.00"],
    ["5", "0.05"],
    ["0", "0.00"],
  ])("of %s in a hundred jobs", async (percent, ratio) => {
    const pods = await traced("--set", `tracing.endpoint=http://collector:4318,tracing.samplePercent=${percent}`);
    for (const pod of pods) {
      expect(variables(pod)).toEqual({
        OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318",
        OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG: ratio,
      });
    }
  });

  it("have their credentials from a file of a Secret, and from nowhere else", async () => {
    const secret = "tracing.endpoint=http://collector:4318,tracing.headers.existingSecret=otlp,tracing.headers.key=k";
    for (const pod of await traced("--set", secret)) {
      expect(variables(pod)["OTLP_HEADERS_FILE"]).toBe("/etc/otlp/headers");
      const volume = pod.volumes?.find(({ secret: of }) => of?.secretName === "otlp");
      expect(volume?.secret?.items).toEqual([{ key: "k", path: "headers" }]);
      const mount = pod.containers[0]?.volumeMounts?.find(({ name }) => name === volume?.name);
      expect(mount).toMatchObject({ mountPath: "/etc/otlp", readOnly: true });
    }
    expect(await refusal("--set", "tracing.headers.existingSecret=otlp,tracing.headers.key=")).toContain("tracing.headers");
  });

  it("an address that is none is refused", async () => {
    expect(await refusal("--set", "tracing.endpoint=collector:4318")).toContain("tracing");
  });
});

describe("availability", () => {
  it("by default: two of each service, spread over nodes, of which a drain takes one at a time", async () => {
    const all = documents(await template("x"));
    for (const name of ["x-millrace-dispatcher", "x-millrace-monitor"]) {
      const labels = { "app.kubernetes.io/instance": "x", "app.kubernetes.io/component": name.slice("x-millrace-".length) };
      const [constraint] = deployedPod(all, name).topologySpreadConstraints ?? [];
      expect(constraint).toMatchObject({ topologyKey: "kubernetes.io/hostname", labelSelector: { matchLabels: labels } });
      // Pods that an upgrade replaces do not count.
      expect(constraint?.matchLabelKeys).toEqual(["pod-template-hash"]);
      const { spec } = byName<V1PodDisruptionBudget>(all, "PodDisruptionBudget", name);
      expect(spec).toMatchObject({ maxUnavailable: 1, selector: { matchLabels: labels } });
    }
    expect(workloads(all).map(({ spec }) => spec?.replicas)).toEqual([2, 2, 1]);
    expect(ofKind(all, "PodDisruptionBudget")).toHaveLength(2);
  });

  it("is the user's to choose", async () => {
    const settings = "dispatcher.pdb.enabled=false,monitor.pdb.enabled=false,nats.pdb.enabled=true,nats.pdb.maxUnavailable=0";
    const all = documents(await template("x", "--set", settings, ...json("monitor.topologySpreadConstraints", [])));
    expect(only(ofKind<V1PodDisruptionBudget>(all, "PodDisruptionBudget")).spec).toMatchObject({ maxUnavailable: 0 });
    expect(deployedPod(all, "x-millrace-monitor")).not.toHaveProperty("topologySpreadConstraints");
  });

  it("a constraint keeps the selector that it has", async () => {
    const constraint = { maxSkew: 1000000, topologyKey: "zone", whenUnsatisfiable: "DoNotSchedule", labelSelector: {} };
    const all = documents(await template("x", ...json("monitor.topologySpreadConstraints", [constraint])));
    expect(deployedPod(all, "x-millrace-monitor").topologySpreadConstraints).toEqual([constraint]);
  });
});

describe("network policies", () => {
  it("let only the release's pods and named peers to NATS, and everybody to the services' HTTP port", async () => {
    const peer = { namespaceSelector: { matchLabels: { team: "a" } } };
    const all = documents(await template("x", "--set", "networkPolicy.enabled=true", ...json("networkPolicy.natsFrom", [peer])));
    const release = { "app.kubernetes.io/name": "millrace", "app.kubernetes.io/instance": "x" };
    expect(byName<V1NetworkPolicy>(all, "NetworkPolicy", "x-millrace-nats").spec).toEqual({
      podSelector: { matchLabels: { ...release, "app.kubernetes.io/component": "nats" } },
      policyTypes: ["Ingress"],
      ingress: [
        {
          from: [{ podSelector: { matchLabels: release } }, peer],
          ports: [
            { port: 4222, protocol: "TCP" },
            { port: 8222, protocol: "TCP" },
          ],
        },
      ],
    });
    for (const service of ["dispatcher", "monitor"]) {
      expect(byName<V1NetworkPolicy>(all, "NetworkPolicy", `x-millrace-${service}`).spec?.ingress).toEqual([
        { ports: [{ port: 8080, protocol: "TCP" }] },
      ]);
    }
    expect(ofKind(documents(await template("x")), "NetworkPolicy")).toEqual([]);
  });
});

describe("helm test", () => {
  it("publishes with the product's image, without a token for the API server", async () => {
    const all = documents(await template("x", "-n", "home"));
    const { metadata, spec } = only(ofKind<V1Pod>(all, "Pod"));
    expect(metadata.annotations).toEqual({
      "helm.sh/hook": "test",
      "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    });
    expect(spec).toMatchObject({ automountServiceAccountToken: false, restartPolicy: "Never" });
    const [container] = spec?.containers ?? [];
    expect(container?.image).toBe(deployedPod(all, "x-millrace-monitor").containers[0]?.image);
    expect(container?.args).toEqual([
      "cli",
      "pub",
      "jobs.default.hello",
      '{"template":"hello","params":{"name":"helm test"}}',
      "--wait",
      "--timeout",
      "2m",
      "--server",
      "nats://x-millrace-nats.home.svc:4222",
    ]);
  });

  it("publishes what the values say, in which the kubelet expands nothing", async () => {
    const body = '{"a":"$(NATS_URL) it\'s \\n {{x}}"}';
    const all = documents(await template("x", ...json("test", { subject: "jobs.a.b.c", body })));
    expect(only(testPods(all)).containers[0]?.args?.slice(2, 4)).toEqual(["jobs.a.b.c", body.replaceAll("$", "$$$$")]);
    expect(ofKind(documents(await template("x", "--set", "test.enabled=false")), "Pod")).toEqual([]);
  });
});

describe("more objects", () => {
  it("are those that the values hold, as objects or as texts, with their expressions resolved", async () => {
    const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "{{ .Release.Name }}-a" }, data: { n: "1e3" } };
    const text = 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n  labels: {{ dict "a" "1" | toJson }}\n';
    const all = documents(await template("x", ...json("extraObjects", [object, text])));
    expect(byName(all, "ConfigMap", "x-a")).toEqual({ ...object, metadata: { name: "x-a" } });
    expect(byName(all, "ConfigMap", "b").metadata.labels).toEqual({ a: "1" });
    expect(await refusal(...json("extraObjects", [{ kind: "ConfigMap" }]))).toContain("at '/extraObjects/0'");
  });
});
