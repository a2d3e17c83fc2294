import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ensureBinaries } from "../../scripts/cluster/binaries.ts";
import { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { Installation } from "../harness/installation.ts";
import { SMALL, TestRelease } from "../harness/release.ts";

const cluster = new LocalCluster({ name: testProfile.cluster, progress: () => {} });

/** Several of Helm's and kubectl's own limits, on a machine that runs two more suites. */
const LIFE_LIMIT_MS = process.env["SOAK"] === "1" ? 0 : 900_000;
const STARTS_LIMIT_MS = 300_000;

/**
 * Does nothing for some seconds and asks for almost nothing, so that many fit on one node. Of itself the first process of a container ignores
 * SIGTERM, and its namespace would not be gone before its grace period is over.
 */
const sleepTemplate = {
  params: { type: "object", properties: { seconds: { type: "integer" } }, required: ["seconds"] },
  image: "busybox:latest",
  command: ["/bin/sh", "-c", "trap 'exit 143' TERM; sleep \"$1\" & wait $!", "sleep"],
  args: ["$(params.seconds)"],
  resources: { requests: { cpu: "1m", memory: "4Mi" } },
};
const withSleep = { ...SMALL, templates: { sleep: sleepTemplate } };
const sleep = (id: string, seconds: number): object => ({ id, template: "sleep", params: { seconds } });

async function expectEachOnce(millrace: Installation, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    expect((await millrace.outcome(id)).state, id).toBe("succeeded");
    expect([millrace.eventsOf(id, "created"), millrace.eventsOf(id, "succeeded"), millrace.eventsOf(id, "dead")], id).toEqual([
      1, 1, 0,
    ]);
  }
  await FaultLoad.expectNothingLeft(millrace);
}

/** Resolves when each of these has started. */
async function started(millrace: Installation, ids: readonly string[]): Promise<void> {
  const hashes = new Set(ids.map((id) => millrace.hash(id)));
  const isStart = ({ kind, hash }: { readonly kind: string; readonly hash: string }): boolean =>
    kind === "started" && hashes.has(hash);
  await millrace.events.waitFor(`the starts of ${ids[0]} …`, isStart, ids.length, STARTS_LIMIT_MS);
}

let helm3: string;
beforeAll(async () => {
  ({ helm3 } = await ensureBinaries(["helm3"], (line) => process.stderr.write(`${line}\n`)));
});

// Each of the three has releases of its own and mostly waits for pods: they run beside each other.
describe.concurrent("two releases that share a namespace of Jobs", () => {
  const jobsNamespace = "pair-jobs";
  const names = ["one", "other"].map((name) => ({ release: name, namespace: name, jobsNamespace }));
  const releases = names.map((each) => new TestRelease({ cluster, names: each }));
  beforeAll(async () => {
    for (const release of releases) await release.createNamespaces();
    await Promise.all(releases.map((release) => release.upgrade(SMALL)));
  });
  afterAll(async () => {
    await Promise.all(releases.map((release) => release.uninstall()));
    for (const release of releases) await release.deleteNamespaces();
  });

  it("N6: each runs and settles the same id, and leaves the other's Job alone", { timeout: LIFE_LIMIT_MS }, async () => {
    const [one, other] = names;
    await using first = await Installation.open(one);
    await using second = await Installation.open(other);
    const body = { id: "in-both", template: "hello", params: { name: "both" } };
    await Promise.all([first.publish("jobs.default.hello", body), second.publish("jobs.default.hello", body)]);
    await Promise.all([expectEachOnce(first, ["in-both"]), expectEachOnce(second, ["in-both"])]);
    const jobs = [...(await first.jobs("in-both")), ...(await second.jobs("in-both"))];
    expect(new Set(jobs.map((job) => job.metadata?.uid)).size).toBe(2);
    expect(first.hash("in-both")).not.toBe(second.hash("in-both"));
  });
});

describe.concurrent("the life of a release, in namespaces that enforce Pod Security restricted", () => {
  const life = new TestRelease({ cluster, names: { release: "life", namespace: "life", jobsNamespace: "life-jobs" } });
  beforeAll(async () => {
    await life.createNamespaces();
    await life.upgrade(withSleep);
  });

  it("helm test publishes a job and sees its outcome", { concurrent: false, timeout: LIFE_LIMIT_MS }, async () => {
    expect(await life.test()).toContain("Phase:          Succeeded");
  });

  it("upgrade with changed values and rollback while 50 jobs run: each runs once and none is lost", {
    concurrent: false,
    timeout: LIFE_LIMIT_MS,
  }, async () => {
    const ids = Array.from({ length: 50 }, (_, index) => `upgraded-${index}`);
    {
      await using millrace = await Installation.open(life.names);
      await Promise.all(ids.map((id) => millrace.publish("jobs.default.sleep", sleep(id, 20))));
      await millrace.events.waitFor("the first starts", ({ kind }) => kind === "started", 5, STARTS_LIMIT_MS);
    }
    await life.upgrade({ ...withSleep, logLevel: "debug", sweepInterval: "3s" });
    await life.rollback();
    await using millrace = await Installation.open(life.names);
    await expectEachOnce(millrace, ids);
  });

  it("uninstalled and installed again while jobs run: what was published is settled", {
    concurrent: false,
    timeout: LIFE_LIMIT_MS,
  }, async () => {
    const ids = Array.from({ length: 5 }, (_, index) => `kept-${index}`);
    {
      await using millrace = await Installation.open(life.names);
      await Promise.all(ids.map((id) => millrace.publish("jobs.default.sleep", sleep(id, 15))));
      await started(millrace, ids);
    }
    await life.uninstall();
    await life.upgrade(withSleep);
    await using millrace = await Installation.open(life.names);
    await expectEachOnce(millrace, ids);
  });

  it("its namespaces can be deleted while jobs run", { concurrent: false, timeout: LIFE_LIMIT_MS }, async () => {
    {
      await using millrace = await Installation.open(life.names);
      await millrace.publish("jobs.default.sleep", sleep("cut-off", 600));
      await started(millrace, ["cut-off"]);
    }
    await life.deleteNamespaces();
    expect(await life.kubectl(["get", "namespaces", "-o", "name"])).not.toContain("namespace/life");
  });
});

it.concurrent("Helm 3 installs, tests, upgrades, rolls back and uninstalls the same chart", {
  timeout: LIFE_LIMIT_MS,
}, async () => {
  const names = { release: "three", namespace: "three", jobsNamespace: "three" };
  const three = new TestRelease({ cluster, names, helm: helm3 });
  await three.createNamespaces();
  await three.upgrade(withSleep);
  expect(await three.test()).toContain("Succeeded");
  {
    await using millrace = await Installation.open(names);
    await millrace.publish("jobs.default.sleep", sleep("through-the-upgrade", 10));
    await started(millrace, ["through-the-upgrade"]);
  }
  await three.upgrade({ ...withSleep, logLevel: "debug" });
  await three.rollback();
  {
    await using millrace = await Installation.open(names);
    await expectEachOnce(millrace, ["through-the-upgrade"]);
  }
  await three.uninstall();
  await three.deleteNamespaces();
});
