import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { V1ConfigMap } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { dispatchConfig } from "../libs/contract/queue-config.ts";
import { byName, documents, EVERYTHING, ofKind, only, refusal, template } from "./testing/rendered.ts";

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
    ["queues.default.retry.oom.factor=1", "at '/queues/default/retry/oom/factor': exclusiveMinimum: got 1, want 1"],
    ["queues.default.retry.classes.tired=free", "additional properties 'tired' not allowed"],
    ["queues.default.retry.classes.oom=maybe", "at '/queues/default/retry/classes/oom': value must be one of"],
    ["dispatcher.leaderElection=maybe", "at '/dispatcher/leaderElection': got string, want boolean"],
    ["monitor.leaderElection=true", "at '/monitor': additional properties 'leaderElection' not allowed"],
    ["nats.maxFileStore=8GB", "at '/nats/maxFileStore': '8GB' does not match pattern"],
    ["nats.image.tag=", "at '/nats/image/tag': '' does not match pattern"],
    ["nats=null", "missing property 'nats'"],
    ["unknown=1", "at '': additional properties 'unknown' not allowed"],
  ])("%s is refused, with its path", async (setting, message) => {
    expect(await refusal("--set", setting)).toContain(message);
  });

  it.each(["10Gi", "10240Mi", "1Ti"])("a store of %s does not fit into a volume of 10Gi", async (size) => {
    const message = await refusal("--set", `nats.maxFileStore=${size}`);
    expect(message).toContain(`nats.maxFileStore (${size}) must be less than nats.storage.size (10Gi)`);
  });

  it("a release whose instance would not fit into a label is refused", async () => {
    expect(await refusal("-n", "n".repeat(63))).toContain("is longer than the 63 characters of a label");
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
