import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type {
  V1ConfigMap,
  V1Container,
  V1Deployment,
  V1Pod,
  V1PodSpec,
  V1Role,
  V1RoleBinding,
  V1Service,
  V1StatefulSet,
} from "@kubernetes/client-node";
import { beforeAll, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { dispatchConfig } from "../libs/contract/queue-config.ts";
import { readEnv } from "../libs/runtime/env.ts";
import { dispatcherEnv } from "../services/dispatcher/env.ts";
import { monitorEnv } from "../services/monitor/env.ts";
import { type Helm, helmCommand } from "./helm-command.ts";

const CHART = fileURLToPath(new URL("../charts/millrace", import.meta.url));
const EVERYTHING = fileURLToPath(new URL("__golden__/everything.values.yaml", import.meta.url));

type Document = {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: { [key: string]: string } };
};

let helm: Helm;
beforeAll(async () => {
  helm = await helmCommand();
});

async function template(release: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await helm("template", release, CHART, ...args);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return stdout;
}

function documents(rendered: string): Document[] {
  return parseAllDocuments(rendered).flatMap((document) => {
    expect(document.errors).toEqual([]);
    return document.contents === null ? [] : [document.toJS() as Document];
  });
}

const ofKind = <T>(all: Document[], kind: string): (T & Document)[] =>
  all.filter((document) => document.kind === kind) as (T & Document)[];

function only<T>(found: T[]): T {
  const [first] = found;
  if (first === undefined || found.length !== 1) throw new Error(`expected one, found ${found.length}`);
  return first;
}

const byName = <T>(all: Document[], kind: string, name: string): T & Document =>
  only(ofKind<T>(all, kind).filter((document) => document.metadata.name === name));

const pods = (all: Document[]): V1PodSpec[] =>
  [...ofKind<V1Deployment>(all, "Deployment"), ...ofKind<V1StatefulSet>(all, "StatefulSet")].map((document) => {
    const spec = document.spec?.template.spec;
    if (spec === undefined) throw new Error(`${document.metadata.name} has no pod`);
    return spec;
  });

const testPods = (all: Document[]): V1PodSpec[] => ofKind<V1Pod>(all, "Pod").flatMap(({ spec }) => spec ?? []);

function environment(all: Document[], deployment: string): { [name: string]: string | undefined } {
  const spec = byName<V1Deployment>(all, "Deployment", deployment).spec?.template.spec;
  return Object.fromEntries(only<V1Container>(spec?.containers ?? []).env?.map(({ name, value }) => [name, value]) ?? []);
}

describe("the chart", () => {
  it("passes helm lint --strict", async () => {
    const { code, stdout } = await helm("lint", "--strict", CHART);
    expect(stdout).toContain("0 chart(s) failed");
    expect(code).toBe(0);
  });

  it("renders as committed: defaults", async () => {
    await expect(await template("millrace", "-n", "millrace")).toMatchFileSnapshot("__golden__/defaults.yaml");
  });

  it("renders as committed: every value set", async () => {
    await expect(await template("blue", "-n", "team-a", "-f", EVERYTHING)).toMatchFileSnapshot("__golden__/everything.yaml");
  });

  it("tells the user how to go on", async () => {
    const { stdout } = await helm(
      "install",
      "millrace",
      CHART,
      "-n",
      "millrace",
      "--dry-run=client",
      "--set",
      "jobs.namespace=millrace-jobs",
    );
    await expect(stdout.slice(stdout.indexOf("NOTES:"))).toMatchFileSnapshot("__golden__/notes.txt");
  });
});

describe("the values", () => {
  it.each([
    ["dispatcher.replica=2", "at '/dispatcher': additional properties 'replica' not allowed"],
    ["dispatcher.replicas=-1", "at '/dispatcher/replicas': minimum: got -1, want 0"],
    ["dispatcher.replicas=null", "at '/dispatcher': missing property 'replicas'"],
    ["history=soon", "at '/history': 'soon' does not match pattern"],
    ["ackWait=5", "at '/ackWait': got number, want string"],
    ["logLevel=loud", "at '/logLevel': value must be one of"],
    ["jobs.namespace=My_NS", "at '/jobs/namespace': 'My_NS' does not match pattern"],
    ["jobs.extraNamespaces={a,B}", "at '/jobs/extraNamespaces/1': 'B' does not match pattern"],
    ["queues.Big.slots=1", "at '/queues': additional properties 'Big' not allowed"],
    ["nats.maxFileStore=8GB", "at '/nats/maxFileStore': '8GB' does not match pattern"],
    ["nats.image.tag=", "at '/nats/image/tag': '' does not match pattern"],
    ["nats=null", "missing property 'nats'"],
    ["unknown=1", "at '': additional properties 'unknown' not allowed"],
  ])("%s is refused, with its path", async (setting, message) => {
    const { code, stderr } = await helm("template", "x", CHART, "--set", setting);
    expect(stderr).toContain(message);
    expect(code).toBe(1);
  });

  it.each(["10Gi", "10240Mi", "1Ti"])("a store of %s does not fit into a volume of 10Gi", async (size) => {
    const { stderr } = await helm("template", "x", CHART, "--set", `nats.maxFileStore=${size}`);
    expect(stderr).toContain(`nats.maxFileStore (${size}) must be less than nats.storage.size (10Gi)`);
  });

  it("a release whose instance would not fit into a label is refused", async () => {
    const { stderr } = await helm("template", "r".repeat(40), CHART, "-n", "n".repeat(40));
    expect(stderr).toContain("is longer than the 63 characters of a label");
  });

  it("what other charts share in global is no error", async () => {
    await template("x", "--set", "global.domain=example.org");
  });

  it("large numbers are not written with an exponent", async () => {
    const rendered = await template(
      "x",
      "--set-json",
      "queues.default.slots=1000000,dispatcher.terminationGracePeriodSeconds=2000000",
    );
    expect(rendered).not.toMatch(/^[^:]*: "?[\d.]+e\+?\d+"?$/imu);
    const configMap = byName<V1ConfigMap>(documents(rendered), "ConfigMap", "x-millrace-config");
    expect(JSON.parse(configMap.data?.["config.json"] ?? "")).toMatchObject({ queues: { default: { slots: 1_000_000 } } });
  });

  it.each([
    ["defaults", []],
    ["every value set", ["-f", EVERYTHING]],
  ])("queues and templates are what the services accept (%s)", async (_name, args) => {
    const all = documents(await template("millrace", ...args));
    const { data } = only(ofKind<V1ConfigMap>(all, "ConfigMap").filter(({ metadata }) => metadata.name.endsWith("-config")));
    expect(dispatchConfig.safeParse(JSON.parse(data?.["config.json"] ?? "")).error).toBeUndefined();
  });

  it("the template of the quick start says hello, whatever the name holds", async () => {
    const { data } = byName<V1ConfigMap>(documents(await template("millrace")), "ConfigMap", "millrace-config");
    const { command, args } = JSON.parse(data?.["config.json"] ?? "").templates.hello;
    const name = '$(id) "wo\'rld" `id`; exit 1';
    const [shell, ...rest] = [...command, ...args.map((arg: string) => arg.replace("$(params.name)", () => name))];
    expect((await promisify(execFile)(shell, rest)).stdout).toBe(`hello, ${name}\n`);
  });

  it("queues and templates reach the services as they were given", async () => {
    const queues = { default: null, big: { slots: 5, policy: { images: ["*"] } } };
    const templates = {
      echo: { image: "busybox", command: ["sh", "-c", "a && b > c; echo {{x}} \"$1\" '\\n'"], args: ["$(params.x)"] },
    };
    const args = ["--set-json", `queues=${JSON.stringify(queues)}`, "--set-json", `templates=${JSON.stringify(templates)}`];
    const configMap = byName<V1ConfigMap>(documents(await template("x", ...args)), "ConfigMap", "x-millrace-config");
    const config = JSON.parse(configMap.data?.["config.json"] ?? "");
    expect(config.queues).toEqual({ big: queues.big });
    expect(config.templates).toMatchObject(templates);
  });
});

describe("every pod", () => {
  const sets: [string, string[]][] = [
    ["defaults", []],
    ["every value set", ["-f", EVERYTHING]],
  ];
  it.each(sets)("is restricted, as the Pod Security Standard means it (%s)", async (_name, args) => {
    const all = documents(await template("x", ...args));
    const found = [...pods(all), ...testPods(all)];
    expect(found).toHaveLength(4);
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
        expect(container.ports?.every(({ hostPort }) => hostPort === undefined)).toBe(true);
      }
    }
  });

  it("has requests, a memory limit and all three probes", async () => {
    for (const pod of pods(documents(await template("x")))) {
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
    const tokens = pods(documents(await template("x"))).map((pod) => [pod.serviceAccountName, pod.automountServiceAccountToken]);
    expect(tokens).toEqual([
      ["x-millrace-dispatcher", true],
      ["x-millrace-monitor", true],
      [undefined, false],
    ]);
  });
});

describe("access", () => {
  const CONFIG_RULES = [
    { apiGroups: [""], resources: ["configmaps"], resourceNames: ["x-millrace-config"], verbs: ["get", "list", "watch"] },
  ];
  const JOB_RULES = {
    dispatcher: [{ apiGroups: ["batch"], resources: ["jobs"], verbs: ["create", "get"] }],
    monitor: [
      { apiGroups: ["batch"], resources: ["jobs"], verbs: ["get", "list", "watch", "patch", "delete"] },
      { apiGroups: [""], resources: ["pods"], verbs: ["get", "list", "watch"] },
      { apiGroups: [""], resources: ["pods/log"], verbs: ["get"] },
    ],
  };

  it("is exactly what the services need, and never cluster-wide", async () => {
    const all = documents(await template("x", "-n", "home", "--set", "jobs.namespace=work,jobs.extraNamespaces={more,work}"));
    expect(new Set(all.map(({ kind }) => kind))).toEqual(
      new Set([
        "ServiceAccount",
        "ConfigMap",
        "Role",
        "RoleBinding",
        "Service",
        "Deployment",
        "StatefulSet",
        "PodDisruptionBudget",
        "Pod",
      ]),
    );
    const roles = ofKind<V1Role>(all, "Role").map(({ metadata, rules }) => ({
      where: `${metadata.namespace}/${metadata.name}`,
      rules,
    }));
    expect(roles).toHaveLength(6);
    for (const service of ["dispatcher", "monitor"] as const) {
      expect(roles).toContainEqual({ where: `home/x-millrace-${service}-config`, rules: CONFIG_RULES });
      expect(roles).toContainEqual({ where: `work/home.x-${service}-jobs`, rules: JOB_RULES[service] });
      expect(roles).toContainEqual({ where: `more/home.x-${service}-jobs`, rules: JOB_RULES[service] });
    }
  });

  it("is bound to the service's own account", async () => {
    const all = documents(await template("x", "-n", "home", "--set", "jobs.namespace=work"));
    const bindings = ofKind<V1RoleBinding>(all, "RoleBinding");
    expect(bindings).toHaveLength(4);
    for (const { metadata, roleRef, subjects } of bindings) {
      const service = metadata.name.includes("dispatcher") ? "dispatcher" : "monitor";
      expect(roleRef.name).toBe(metadata.name);
      expect(subjects).toEqual([{ kind: "ServiceAccount", name: `x-millrace-${service}`, namespace: "home" }]);
    }
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
      LOG_LEVEL: "info",
      HTTP_SERVER_PORT: "8080",
      SHUTDOWN_TIMEOUT: "25s",
    };
    expect(environment(all, "x-millrace-dispatcher")).toEqual(common);
    expect(environment(all, "x-millrace-monitor")).toEqual({
      ...common,
      HISTORY: "720h",
      STREAM_REPLICAS: "1",
      STORE_SIZE: "8Gi",
      SWEEP_INTERVAL: "30s",
      UNKNOWN_QUEUE_AFTER: "10m",
    });
  });

  it.each([
    ["dispatcher", dispatcherEnv],
    ["monitor", monitorEnv],
  ] as const)("the %s knows every variable that it is given, and accepts the values", async (service, known) => {
    const all = documents(await template("x", "-n", "home"));
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

describe("two releases", () => {
  it("side by side are as committed: every object, and what it selects", async () => {
    const both = [
      await template("millrace", "-n", "one"),
      await template("green", "-n", "one"),
      await template("millrace", "-n", "two"),
    ];
    const rows = both.flatMap(documents).map((document) => {
      const { kind, metadata, spec } = document as Document & { spec?: { selector?: { matchLabels?: object } } };
      const selected = Object.values(spec?.selector?.matchLabels ?? spec?.selector ?? {}).join(" ");
      return `${kind} ${metadata.namespace}/${metadata.name}${selected === "" ? "" : ` → ${selected}`}\n`;
    });
    await expect(rows.join("")).toMatchFileSnapshot("__golden__/releases.txt");
  });

  it("share neither names nor selectors in one namespace", async () => {
    const [one, two] = [documents(await template("one", "-n", "shared")), documents(await template("two", "-n", "shared"))];
    const names = (all: Document[]) => all.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`);
    expect(new Set([...names(one), ...names(two)]).size).toBe(one.length + two.length);
    const selectors = (all: Document[]) => [
      ...ofKind<V1Service>(all, "Service").map(({ spec }) => spec?.selector),
      ...ofKind<V1Deployment>(all, "Deployment").map(({ spec }) => spec?.selector.matchLabels),
      ...ofKind<V1StatefulSet>(all, "StatefulSet").map(({ spec }) => spec?.selector.matchLabels),
    ];
    for (const selector of selectors(one)) expect(selector).toMatchObject({ "app.kubernetes.io/instance": "one" });
    for (const selector of selectors(two)) expect(selector).toMatchObject({ "app.kubernetes.io/instance": "two" });
  });

  it("of the same name in two namespaces share no Role in a common job namespace", async () => {
    const roles = async (namespace: string, release: string) =>
      ofKind<V1Role>(documents(await template(release, "-n", namespace, "--set", "jobs.namespace=work")), "Role")
        .filter(({ metadata }) => metadata.namespace === "work")
        .map(({ metadata }) => metadata.name);
    const all = [
      ...(await roles("a", "x")),
      ...(await roles("b", "x")),
      ...(await roles("a-b", "c")),
      ...(await roles("a", "b-c")),
    ];
    expect(new Set(all).size).toBe(8);
  });

  it("may have the longest name that Helm allows", async () => {
    const long = "r".repeat(53);
    for (const { kind, metadata } of documents(await template(long, "-n", "n"))) {
      // A Service's name is a label; a StatefulSet's must leave room for the hash in a label of its pods.
      const limit = { Service: 63, StatefulSet: 52 }[kind] ?? 253;
      expect(metadata.name.length).toBeLessThanOrEqual(limit);
    }
  });

  it("keep every object in their namespaces", async () => {
    for (const { kind, metadata } of documents(await template("x", "-n", "home", "--set", "jobs.namespace=work"))) {
      expect(["home", "work"], `${kind} ${metadata.name}`).toContain(metadata.namespace);
    }
  });
});
