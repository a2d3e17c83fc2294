import type { V1ConfigMap } from "@kubernetes/client-node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { subjectsOverlap } from "../libs/contract/work-config.ts";
import { byName, refusal, template, WITH_KEDA } from "./testing/rendered.ts";
import { ELSEWHERE, installed, json, resize, withResize, workers } from "./testing/worker-release.ts";

describe("contradictions are refused:", () => {
  const withKeda = (...args: string[]) => refusal(...WITH_KEDA, ...args);

  it("workers without KEDA, with what to do about it", async () => {
    const message = await refusal(...withResize());
    expect(message).toContain("the cluster has no KEDA");
    expect(message).toContain("keda.enabled=false");
    expect(message).toContain("helm template --api-versions keda.sh/v1alpha1");
  });

  it.each([
    [{ resize: { image: "a" } }, "at '/workers/resize': missing property 'subject'"],
    [{ resize: { subject: "a" } }, "at '/workers/resize': missing property 'image'"],
    [{ resize: { ...resize, concurency: 1 } }, "at '/workers/resize': additional properties 'concurency' not allowed"],
    [{ resize: { ...resize, lagThreshold: 0 } }, "at '/workers/resize/lagThreshold': minimum: got 0, want 1"],
    [{ resize: { ...resize, retry: { oom: {} } } }, "at '/workers/resize/retry': additional properties 'oom' not allowed"],
    [{ resize: { ...resize, trigger: "pull" } }, "at '/workers/resize/trigger': value must be one of 'push', 'poll'"],
    [{ Resize: resize }, "at '/workers': additional properties 'Resize' not allowed"],
    [{ resize: { ...resize, min: 3, max: 2 } }, "workers.resize: min is 3, more than max, which is 2"],
    [{ resize: { ...resize, min: 11 } }, "workers.resize: min is 11, more than max, which is 10"],
    [{ resize: { ...resize, timeout: "0s" } }, "workers.resize.timeout is 0s, but must be more than 0s"],
    [{ resize: { ...resize, timeout: "315360000001ms" } }, "workers.resize.timeout is 315360000001ms, but must be"],
    [{ resize: { ...resize, timeout: "3651d0s" } }, "workers.resize.timeout is 3651d0s, but must be"],
    [{ resize: { ...resize, timeout: "3650d1ms" } }, "workers.resize.timeout is 3650d1ms, but must be"],
    [
      { resize: { ...resize, timeout: "99999999999999999999999h" } },
      "workers.resize.timeout is 99999999999999999999999h, but must be",
    ],
    [{ resize: { ...resize, cooldown: "88888888888888888888888m" } }, "workers.resize.cooldown is 88888888888888888888888m"],
    [{ resize: { ...resize, subject: "dlq.a" } }, "workers.resize.subject (dlq.a) begins with a name that is Millrace's own"],
    [{ resize: { ...resize, subject: "*.a" } }, "at '/workers/resize/subject': '*.a' does not match pattern"],
    [{ a: resize, b: resize }, "workers: a (image-downloaded) and b (image-downloaded) would take the same messages"],
    [{ a: { ...resize, subject: "i.>" }, b: { ...resize, subject: "i.*.x" } }, "workers: a (i.>) and b (i.*.x) would take"],
    [{ resize: { ...resize, env: { A: "1", NATS_URL: "x" } } }, "workers.resize.env: the chart itself sets NATS_URL"],
    [{ resize: { ...resize, env: { POD_UID: "1", NATS_TOKEN_FILE: "x" } } }, "sets NATS_TOKEN_FILE, POD_UID"],
  ])("%j", async (given, message) => {
    expect(await withKeda(...workers(given))).toContain(message);
  });

  it("poll, with a NATS elsewhere of which nobody knows the monitoring port", async () => {
    const message = await withKeda(...withResize({ trigger: "poll" }), "--set", ELSEWHERE);
    expect(message).toContain("workers.resize.trigger is poll");
    expect(message).toContain("nats.monitoring.endpoint");
  });

  it("a name that would be too long for KEDA", async () => {
    const long = "a".repeat(40);
    expect(await withKeda(...workers({ [long]: resize }), "--set", "fullnameOverride=a-rather-long-name")).toContain(
      `workers.${long}: "a-rather-long-name-worker-${long}" is longer than the 63 characters`,
    );
    await template("x", ...workers({ [long]: resize }), "--set", "fullnameOverride=just-short-nam");
  });

  it("credentials of workers that say half of what they must", async () => {
    expect(await refusal("--set", "workerNats.auth.existingSecret=s")).toContain(
      "workerNats.auth: existingSecret and exactly one",
    );
    expect(await refusal("--set", "workerNats.tls.existingSecret=s,workerNats.tls.caKey=")).toContain(
      "workerNats.tls.existingSecret",
    );
  });

  it("a queue called work, under whose name the DLQ keeps what workers gave up on", async () => {
    expect(await refusal("--set", "queues.work.slots=1")).toContain("a queue cannot be called work");
  });

  it("two subjects that overlap, exactly as the services see it", async () => {
    const token = fc.constantFrom("a", "b", "*");
    const subject = fc
      .tuple(fc.constantFrom("a", "b"), fc.array(token, { maxLength: 3 }), fc.boolean())
      .map(([first, rest, open]) => [first, ...rest, ...(open ? [">"] : [])].join("."));
    const pairs = fc.sample(fc.tuple(subject, subject), { seed: 7, numRuns: 400 });
    const data = pairs.map(([a, b], index) => [
      `p${index}`,
      `{{ include "millrace.subjectsOverlap" (dict "a" "${a}" "b" "${b}") }}`,
    ]);
    const asked = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "asked" }, data: Object.fromEntries(data) };
    const { data: answers } = byName<V1ConfigMap>(await installed(...json("extraObjects", [asked])), "ConfigMap", "asked");
    for (const [index, [a, b]] of pairs.entries())
      expect(answers?.[`p${index}`], `${a} and ${b}`).toBe(String(subjectsOverlap(a, b)));
  });
});
