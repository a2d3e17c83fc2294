import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { rawMessage } from "../contract/message.ts";
import { isLabelValue, jobHash } from "../contract/names.ts";
import { type QueueConfig, queueConfig, templateConfig } from "../contract/queue-config.ts";
import { seedMessage } from "../contract/testing/seed-message.ts";
import { type AttemptIdentity, jobManifest } from "./job-manifest.ts";
import { type RenderedJob, renderRaw, renderTemplate } from "./rendered-job.ts";

const hash = jobHash("ns.rel", "default", "a");
const identity: AttemptIdentity = {
  instance: "ns.rel",
  queue: "default",
  type: "hello",
  id: "a",
  hash,
  life: 1,
  attempt: 1,
  messageHash: "m".repeat(64),
  ack: "$JS.ACK.JOBS.queue-default.1.5.1.1758000000000000005.0",
  traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
  podTrace: { traceparent: `00-${"a".repeat(32)}-${"c".repeat(16)}-01`, tracestate: "vendor=$(HOME)" },
};
const queue = queueConfig.parse({});
const fromTemplate = (template: object, params: object = {}, config: QueueConfig = queue): RenderedJob =>
  renderTemplate({
    message: { template: "hello", params: {} },
    template: templateConfig.parse(template),
    params: { ...params },
    queue: config,
    namespace: "jobs",
  });
const podOf = (rendered: RenderedJob, config: QueueConfig = queue) => {
  const spec = jobManifest(identity, rendered, config).spec?.template.spec;
  if (spec === undefined) throw new Error("no pod");
  return spec;
};
const raw = renderRaw({ message: rawMessage.parse(seedMessage), queue });

describe("design §4.2: the Job of one attempt", () => {
  it("of a template, whole", () => {
    const rendered = fromTemplate(
      {
        image: "busybox",
        command: ["echo", "hello $(params.name)"],
        env: { GREETING: "$(params.name)!", QUEUE: "$(MILLRACE_QUEUE)" },
      },
      { name: "$(MILLRACE_QUEUE)" },
    );
    expect(jobManifest(identity, rendered, queue)).toEqual({
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: {
        name: `hello-${hash}-a1`,
        namespace: "jobs",
        labels: {
          "app.kubernetes.io/managed-by": "millrace",
          "millrace.dev/instance": "ns.rel",
          "millrace.dev/queue": "default",
          "millrace.dev/job": hash,
          "millrace.dev/attempt": "1",
        },
        annotations: {
          "millrace.dev/id": "a",
          "millrace.dev/type": "hello",
          "millrace.dev/message-hash": "m".repeat(64),
          "millrace.dev/ack": identity.ack,
          "millrace.dev/life": "1",
          "millrace.dev/traceparent": identity.traceparent,
        },
      },
      spec: {
        backoffLimit: 0,
        activeDeadlineSeconds: 3600,
        template: {
          metadata: { labels: expect.objectContaining({ "millrace.dev/instance": "ns.rel", "millrace.dev/job": hash }) },
          spec: {
            restartPolicy: "Never",
            enableServiceLinks: false,
            automountServiceAccountToken: false,
            activeDeadlineSeconds: 3600,
            tolerations: [
              { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute", tolerationSeconds: 0 },
              { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute", tolerationSeconds: 0 },
            ],
            securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: "RuntimeDefault" } },
            containers: [
              {
                name: "main",
                image: "busybox",
                imagePullPolicy: "IfNotPresent",
                command: ["echo", "hello $$(MILLRACE_QUEUE)"],
                securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
                env: [
                  { name: "GREETING", value: "$$(MILLRACE_QUEUE)!" },
                  { name: "QUEUE", value: "$(MILLRACE_QUEUE)" },
                  { name: "MILLRACE_JOB_ID", value: "a" },
                  { name: "MILLRACE_ATTEMPT", value: "1" },
                  { name: "MILLRACE_QUEUE", value: "default" },
                  { name: "MILLRACE_PARAMS", value: '{"name":"$$(MILLRACE_QUEUE)"}' },
                  { name: "TRACEPARENT", value: identity.podTrace?.traceparent },
                  { name: "TRACESTATE", value: "vendor=$$(HOME)" },
                ],
              },
            ],
          },
        },
      },
    });
  });

  it("has no ttl and no finalizer, and never a second attempt of Kubernetes' own", () => {
    for (const rendered of [
      raw,
      fromTemplate({ image: "i" }),
      fromTemplate({ podSpec: { containers: [{ name: "x", image: "i" }], restartPolicy: "OnFailure" } }),
    ]) {
      const job = jobManifest(identity, rendered, queue);
      expect(job.spec?.ttlSecondsAfterFinished).toBeUndefined();
      expect(job.metadata?.finalizers).toBeUndefined();
      expect(job.spec?.backoffLimit).toBe(0);
      expect(job.spec?.template.spec?.restartPolicy).toBe("Never");
    }
  });

  it("J6: the pod carries the Job's deadline, whatever the template says", () => {
    const rendered = fromTemplate(
      { podSpec: { containers: [{ name: "x" }], activeDeadlineSeconds: 1 } },
      {},
      queueConfig.parse({ deadline: "90s" }),
    );
    const job = jobManifest(identity, rendered, queue);
    expect(job.spec?.activeDeadlineSeconds).toBe(90);
    expect(job.spec?.template.spec?.activeDeadlineSeconds).toBe(90);
  });

  it("A23: labels are label values and the app label is left out when it cannot be one", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 80 }), (service) => {
        const labels = jobManifest(identity, { ...raw, service }, queue).metadata?.labels ?? {};
        for (const value of Object.values(labels)) expect(isLabelValue(value)).toBe(true);
        expect(labels["app"]).toBe(service !== "" && isLabelValue(service) ? service : undefined);
      }),
    );
  });

  it("PSS restricted for every container; baseline only where the queue says so", () => {
    const template = { podSpec: { containers: [{ name: "a" }, { name: "b" }], initContainers: [{ name: "c" }] } };
    const restricted = podOf(fromTemplate(template));
    for (const container of [...restricted.containers, ...(restricted.initContainers ?? [])]) {
      expect(container.securityContext).toEqual({ allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } });
    }
    const config = queueConfig.parse({ policy: { podSecurity: "baseline" } });
    const baseline = podOf(fromTemplate(template, {}, config), config);
    expect(baseline.securityContext).toEqual({ seccompProfile: { type: "RuntimeDefault" } });
    expect(baseline.containers[0]?.securityContext).toBeUndefined();
  });

  it("env of ours is in every container and cannot be overridden", () => {
    const forged = [
      { name: "MILLRACE_JOB_ID", value: "forged" },
      { name: "TRACEPARENT", value: "forged" },
      { name: "MINE", value: "x" },
    ];
    const pod = podOf(
      fromTemplate({ podSpec: { containers: [{ name: "a", env: forged }], initContainers: [{ name: "b", env: forged }] } }),
    );
    for (const container of [...pod.containers, ...(pod.initContainers ?? [])]) {
      expect(JSON.stringify(container)).not.toContain("forged");
      expect(container.env?.filter(({ name }) => name === "MILLRACE_JOB_ID")).toEqual([{ name: "MILLRACE_JOB_ID", value: "a" }]);
      expect(container.env?.[0]).toEqual({ name: "MINE", value: "x" });
    }
  });

  it("an id that the kubelet would expand arrives literally", () => {
    const job = jobManifest({ ...identity, id: "$(SECRET)$" }, raw, queue);
    expect(job.spec?.template.spec?.containers[0]?.env).toContainEqual({ name: "MILLRACE_JOB_ID", value: "$$(SECRET)$$" });
    expect(job.metadata?.annotations?.["millrace.dev/id"]).toBe("$(SECRET)$");
  });

  it("J4: nodeLoss fast leaves a lost node at once, unless the template says otherwise", () => {
    const own = { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute", tolerationSeconds: 600 };
    const gpu = { key: "gpu", operator: "Exists" };
    const pod = podOf(fromTemplate({ podSpec: { containers: [{ name: "x" }], tolerations: [gpu, own] } }));
    expect(pod.tolerations).toEqual([
      gpu,
      own,
      { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute", tolerationSeconds: 0 },
    ]);
  });

  it("J4: nodeLoss safe leaves tolerations as they are", () => {
    const safe = queueConfig.parse({ nodeLoss: "safe" });
    expect(podOf(fromTemplate({ image: "i" }), safe)).not.toHaveProperty("tolerations");
    const gpu = { key: "gpu", operator: "Exists" };
    const rendered = fromTemplate({ podSpec: { containers: [{ name: "x" }], tolerations: [gpu] } });
    expect(podOf(rendered, safe).tolerations).toEqual([gpu]);
  });

  describe("a retry's memory", () => {
    const given = (resources: object) => ({
      podSpec: {
        containers: [
          { name: "main", resources },
          { name: "b", resources },
        ],
        initContainers: [{ name: "c", resources }],
      },
    });
    const resourcesWith = (memory: Record<string, string>, resources: object) => {
      const spec = jobManifest({ ...identity, memory }, fromTemplate(given(resources)), queue).spec?.template.spec;
      return [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].map((container) => container.resources);
    };

    it("is the limit of that container alone, init containers too", () => {
      const old = { limits: { memory: "64Mi", cpu: "1" } };
      expect(resourcesWith({ main: "96Mi", c: "128Mi" }, old)).toEqual([
        { limits: { memory: "96Mi", cpu: "1" } },
        old,
        { limits: { memory: "128Mi", cpu: "1" } },
      ]);
    });

    it.each([
      [
        "a request that equalled the limit follows it",
        { limits: { memory: "1Gi" }, requests: { memory: "1024Mi" } },
        { memory: "2Gi" },
      ],
      [
        "a smaller request stays",
        { limits: { memory: "1Gi" }, requests: { memory: "64Mi", cpu: "1" } },
        { memory: "64Mi", cpu: "1" },
      ],
    ])("%s", (_what, old, requests) => {
      expect(resourcesWith({ main: "2Gi" }, old)[0]).toEqual({ limits: { memory: "2Gi" }, requests });
    });

    it.each([
      ["less than the template gives", { limits: { memory: "64Mi" } }],
      ["a container without a limit", { limits: { cpu: "1" } }],
    ])("changes nothing: %s", (_what, old) => {
      expect(resourcesWith({ main: "32Mi" }, old)[0]).toEqual(old);
    });
  });

  it("pull secrets come from the queue unless the template has its own", () => {
    const config = queueConfig.parse({ imagePullSecrets: ["registry"] });
    expect(podOf(fromTemplate({ image: "i" }), config).imagePullSecrets).toEqual([{ name: "registry" }]);
    const own = fromTemplate({ podSpec: { containers: [{ name: "x" }], imagePullSecrets: [] } });
    expect(podOf(own, config).imagePullSecrets).toEqual([]);
  });
});

describe("design §4.1: every field of seed 001 has its place", () => {
  it("in the Job", () => {
    expect(raw).toEqual({
      namespace: "default",
      prefix: "my-job",
      service: "example",
      deadlineSeconds: 600,
      keepSeconds: 60,
      attempts: 1,
      params: {},
      podSpec: {
        nodeSelector: { "kubernetes.io/hostname": "k8s-node-1" },
        tolerations: [{ key: "key", operator: "Equal", value: "value" }],
        volumes: [{ name: "data", persistentVolumeClaim: { claimName: "persistent-volume-claim" } }],
        containers: [
          {
            name: "main",
            image: "busybox:latest",
            command: ["/bin/sh", "-c", "echo Hello World"],
            env: [{ name: "ENV_VAR", value: "value" }],
            envFrom: [{ configMapRef: { name: "configmap-name" } }],
            volumeMounts: [{ name: "data", mountPath: "/workdir" }],
            resources: { limits: { cpu: "1", memory: "512Mi" }, requests: { cpu: "500m", memory: "256Mi" } },
          },
        ],
      },
    });
    const job = jobManifest(identity, raw, queue);
    expect(job.metadata).toMatchObject({
      name: `my-job-${hash}-a1`,
      labels: { app: "example" },
      annotations: { "millrace.dev/keep-seconds": "60", "millrace.dev/attempts": "1" },
    });
    expect(job.spec?.template.spec?.automountServiceAccountToken).toBe(false);
  });

  const rendered = (fields: object, config: QueueConfig = queue) =>
    renderRaw({ message: rawMessage.parse({ job: { prefixName: "p", namespace: "n", image: "i", ...fields } }), queue: config });

  it("what is absent comes from the queue: deadline, limits at the ceiling, small requests", () => {
    expect(rendered({})).toMatchObject({
      deadlineSeconds: 3600,
      keepSeconds: undefined,
      service: undefined,
      podSpec: {
        containers: [{ resources: { limits: { cpu: "4", memory: "8Gi" }, requests: { cpu: "100m", memory: "128Mi" } } }],
      },
    });
  });

  it.each([
    [0, "1"],
    [2, "3"],
    [undefined, undefined],
  ])("backoffLimit %s: %s attempts", (backoffLimit, attempts) => {
    const job = jobManifest(identity, rendered(backoffLimit === undefined ? {} : { backoffLimit }), queue);
    expect(job.metadata?.annotations?.["millrace.dev/attempts"]).toBe(attempts);
    expect(job.spec?.backoffLimit).toBe(0);
  });

  it("A25: empty args are no args, and a ConfigMap by either spelling is one reference", () => {
    for (const type of ["configmap", "configMap"]) {
      const { podSpec } = rendered({ args: [], envRef: [{ name: "c", type }] });
      expect(podSpec.containers[0]).not.toHaveProperty("args");
      expect(podSpec.containers[0]?.envFrom).toEqual([{ configMapRef: { name: "c" } }]);
    }
  });

  it("A25: no envRef at all is no envFrom", () => {
    expect(rendered({ envRef: [] }).podSpec.containers[0]).not.toHaveProperty("envFrom");
  });

  it("A7, A23: whatever the schema accepts becomes a Job with a DNS name", () => {
    const text = fc.oneof(fc.string(), fc.string({ unit: "binary" }));
    const job = fc.record(
      {
        prefixName: text,
        namespace: text,
        image: text,
        command: fc.array(text),
        serviceAccount: text,
        env: fc.array(fc.record({ name: text, value: text })),
        backoffLimit: fc.nat(100),
        gpuEnable: fc.boolean(),
        resources: fc.record({ limits: fc.dictionary(text, fc.constantFrom("1", "1e3", "64Mi", "500m", "x")) }),
        nodeSelector: fc.record({ matchKey: text, matchValue: text }),
        volume: fc.record({ mountPath: text, pvc: text }),
      },
      { requiredKeys: ["prefixName", "namespace", "image"] },
    );
    let accepted = 0;
    fc.assert(
      fc.property(job, text, (fields, service) => {
        const message = rawMessage.safeParse({ service, job: fields });
        if (!message.success) return;
        accepted += 1;
        const { metadata } = jobManifest(identity, renderRaw({ message: message.data, queue }), queue);
        expect(metadata?.name).toMatch(/^[a-z0-9](?:[a-z0-9-]{0,55}[a-z0-9])?$/);
      }),
      { seed: 20261122, numRuns: 1_000 },
    );
    expect(accepted).toBeGreaterThan(50);
  });

  it("a ceiling of another resource allows it and does not hand it out", () => {
    const config = queueConfig.parse({ policy: { ceiling: { cpu: "1", "nvidia.com/gpu": "8" } } });
    expect(rendered({}, config).podSpec.containers[0]?.resources?.limits).toEqual({ cpu: "1" });
  });

  it("requests are never above limits that the message gave", () => {
    expect(
      rendered({ resources: { limits: { cpu: "50m", memory: "64Mi" } } }).podSpec.containers[0]?.resources?.requests,
    ).toEqual({
      cpu: "50m",
      memory: "64Mi",
    });
  });

  it("only the account that was asked for gets its token", () => {
    expect(rendered({ serviceAccount: "default" }).podSpec.serviceAccountName).toBeUndefined();
    expect(rendered({ serviceAccount: "robot" }).podSpec).toMatchObject({
      serviceAccountName: "robot",
      automountServiceAccountToken: true,
    });
  });

  it.each([
    [{ gpuEnable: true, gpuNumber: 2 }, "2"],
    [{ gpuEnable: true }, "1"],
    [{ gpuEnable: false, gpuNumber: 2 }, undefined],
    [{ gpuNumber: 2 }, undefined],
  ])("%j: gpus %s", (fields, gpus) => {
    expect(rendered(fields).podSpec.containers[0]?.resources?.limits?.["nvidia.com/gpu"]).toBe(gpus);
  });

  it("secrets and ConfigMaps by their kind, by either name", () => {
    for (const field of ["envRef", "envFrom"]) {
      const refs = [
        { name: "c", type: "configMap" },
        { name: "s", type: "secret" },
      ];
      expect(rendered({ [field]: refs }).podSpec.containers[0]?.envFrom).toEqual([
        { configMapRef: { name: "c" } },
        { secretRef: { name: "s" } },
      ]);
    }
  });
});

describe("templates", () => {
  it("the shorthand is one container main", () => {
    const { podSpec } = fromTemplate(
      { image: "i", args: ["$(params.n)"], resources: { limits: { cpu: "1" } }, serviceAccount: "robot" },
      { n: 3 },
    );
    expect(podSpec).toEqual({
      serviceAccountName: "robot",
      automountServiceAccountToken: true,
      containers: [{ name: "main", image: "i", args: ["3"], resources: { limits: { cpu: "1" } } }],
    });
  });

  it("a podSpec is filled in command, args and env values of every container, and never changed itself", () => {
    const template = templateConfig.parse({
      podSpec: {
        hostname: "$(params.x)",
        containers: [
          {
            name: "a",
            command: ["$(params.x)"],
            env: [
              { name: "V", value: "$(params.x)" },
              { name: "F", valueFrom: { fieldRef: {} } },
            ],
          },
        ],
        initContainers: [{ name: "b", args: ["$(params.x)"] }],
      },
    });
    const before = structuredClone(template);
    const { podSpec } = renderTemplate({ message: { template: "t" }, template, params: { x: "$v" }, queue, namespace: "jobs" });
    expect(podSpec).toMatchObject({
      hostname: "$(params.x)",
      containers: [
        {
          command: ["$$v"],
          env: [
            { name: "V", value: "$$v" },
            { name: "F", valueFrom: { fieldRef: {} } },
          ],
        },
      ],
      initContainers: [{ args: ["$$v"] }],
    });
    expect(template).toEqual(before);
  });

  it.each([
    ["no containers", {}, "podSpec.containers"],
    ["no container", { containers: [] }, "podSpec.containers"],
    ["containers that are none", { containers: { main: {} } }, "podSpec.containers"],
    ["an empty container", { containers: [null] }, "podSpec.containers[0]"],
    ["a container without a name", { containers: [{ image: "i" }] }, "podSpec.containers[0].name"],
    ["a command that is one string", { containers: [{ name: "a", command: "ls -l" }] }, "podSpec.containers[0].command"],
    ["an argument that is a number", { containers: [{ name: "a", args: ["-n", 3] }] }, "podSpec.containers[0].args[1]"],
    ["env as a map", { containers: [{ name: "a", env: { A: "b" } }] }, "podSpec.containers[0].env"],
    [
      "an env value that is a number",
      { containers: [{ name: "a", env: [{ name: "A", value: 1 }] }] },
      "podSpec.containers[0].env[0].value",
    ],
    ["tolerations as a map", { containers: [{ name: "a" }], tolerations: { key: "a" } }, "podSpec.tolerations"],
    ["an odd init container", { containers: [{ name: "a" }], initContainers: ["b"] }, "podSpec.initContainers[0]"],
  ])("a podSpec with %s is the template's fault, by path", (_what, podSpec, path) => {
    expect(() => fromTemplate({ podSpec })).toThrow(
      expect.objectContaining({ code: "TEMPLATE_INVALID", message: expect.stringContaining(`template hello: ${path}: `) }),
    );
  });

  it("YAML's empty fields are absent ones", () => {
    const empty = { name: "a", command: null, args: null, env: null };
    const pod = podOf(fromTemplate({ podSpec: { containers: [empty], initContainers: null } }));
    expect(pod.initContainers).toBeUndefined();
    expect(pod.containers[0]).toMatchObject({ name: "a", env: [{ name: "MILLRACE_JOB_ID" }, {}, {}, {}, {}, {}] });
    expect(pod.containers[0]?.command).toBeUndefined();
  });

  it("whatever else a podSpec holds reaches the API server as it is", () => {
    const rest = {
      ephemeralContainers: [{ name: "debug", command: ["$(params.x)"] }],
      hostAliases: [{ ip: "10.0.0.1", hostnames: ["a"] }],
      volumes: [{ name: "scratch", emptyDir: { medium: "Memory" } }],
      runtimeClassName: "gvisor",
      dnsConfig: null,
      notAField: 7,
    };
    const sidecar = { name: "proxy", restartPolicy: "Always", startupProbe: { exec: { command: ["$(params.x)"] } } };
    const pod = podOf(fromTemplate({ podSpec: { containers: [{ name: "a" }], initContainers: [sidecar], ...rest } }, { x: "y" }));
    expect(pod).toMatchObject({ ...rest, initContainers: [sidecar] });
  });

  it("any podSpec becomes a Job or is refused by a typed error", () => {
    const odd = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constant([{ name: "a" }]), fc.constant([{ name: "a", env: [null] }]));
    const shape = fc.record(
      { containers: odd, initContainers: odd, tolerations: odd, securityContext: fc.jsonValue() },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(shape, (podSpec) => {
        try {
          podOf(fromTemplate({ podSpec }));
        } catch (error) {
          expect(error).toMatchObject({ code: "TEMPLATE_INVALID" });
        }
      }),
      { seed: 20261122, numRuns: 1_000 },
    );
  });
});
