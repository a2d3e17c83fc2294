import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { ensureBinaries } from "../../scripts/cluster/binaries.ts";
import { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { Installation, NOTHING } from "../harness/installation.ts";
import { SMALL, TestRelease } from "../harness/release.ts";

const cluster = new LocalCluster({ name: testProfile.cluster, progress: () => {} });

/** Does nothing for some seconds and asks for almost nothing, so that many fit on one node. */
const sleepTemplate = {
  params: { type: "object", properties: { seconds: { type: "integer" } }, required: ["seconds"] },
  image: "busybox:latest",
  command: ["sleep"],
  args: ["$(params.seconds)"],
  resources: { requests: { cpu: "1m", memory: "4Mi" } },
};
const withSleep = { templates: { sleep: sleepTemplate } };
const sleep = (id: string, seconds: number): object => ({ id, template: "sleep", params: { seconds } });

async function expectEachOnce(millrace: Installation, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    expect((await millrace.outcome(id)).state, id).toBe("succeeded");
    expect([millrace.eventsOf(id, "created"), millrace.eventsOf(id, "succeeded"), millrace.eventsOf(id, "dead")], id).toEqual([
      1, 1, 0,
    ]);
  }
  // `expect.poll` knows only one test at a time, and these run beside each other.
  await vi.waitFor(async () => expect(await millrace.leftovers()).toEqual(NOTHING), { timeout: 60_000, interval: 250 });
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

  it("N6: each runs and settles the same id, and leaves the other's Job alone", async () => {
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

  it("helm test publishes a job and sees its outcome", { concurrent: false }, async () => {
    expect(await life.test()).toContain("Phase:          Succeeded");
  });

  it("upgrade with changed values and rollback while 50 jobs run: each runs once and none is lost", {
    concurrent: false,
  }, async () => {
    const ids = Array.from({ length: 50 }, (_, index) => `upgraded-${index}`);
    {
      await using millrace = await Installation.open(life.names);
      await Promise.all(ids.map((id) => millrace.publish("jobs.default.sleep", sleep(id, 20))));
      await millrace.events.waitFor("the first starts", ({ kind }) => kind === "started", 5);
    }
    await life.upgrade({ ...withSleep, logLevel: "debug", sweepInterval: "3s" });
    await life.rollback();
    await using millrace = await Installation.open(life.names);
    await expectEachOnce(millrace, ids);
  });

  it("uninstalled and installed again while jobs run: what was published is settled", { concurrent: false }, async () => {
    const ids = Array.from({ length: 5 }, (_, index) => `kept-${index}`);
    {
      await using millrace = await Installation.open(life.names);
      await Promise.all(ids.map((id) => millrace.publish("jobs.default.sleep", sleep(id, 15))));
      await millrace.events.waitFor(
        "the starts",
        ({ kind, data }) => kind === "started" && ids.includes(String(data["id"])),
        ids.length,
      );
    }
    await life.uninstall();
    await life.upgrade(withSleep);
    await using millrace = await Installation.open(life.names);
    await expectEachOnce(millrace, ids);
  });

  it("its namespaces can be deleted while jobs run", { concurrent: false }, async () => {
    {
      await using millrace = await Installation.open(life.names);
      await millrace.publish("jobs.default.sleep", sleep("cut-off", 600));
      await millrace.events.waitFor("its start", ({ kind, data }) => kind === "started" && data["id"] === "cut-off");
    }
    await life.deleteNamespaces();
    expect(await life.kubectl(["get", "namespaces", "-o", "name"])).not.toContain("namespace/life");
  });
});

it.concurrent("Helm 3 installs, tests, upgrades, rolls back and uninstalls the same chart", async () => {
  const names = { release: "three", namespace: "three", jobsNamespace: "three" };
  const three = new TestRelease({ cluster, names, helm: helm3 });
  await three.createNamespaces();
  await three.upgrade(withSleep);
  expect(await three.test()).toContain("Succeeded");
  {
    await using millrace = await Installation.open(names);
    await millrace.publish("jobs.default.sleep", sleep("through-the-upgrade", 10));
    await millrace.events.waitFor("its start", ({ kind, data }) => kind === "started" && data["id"] === "through-the-upgrade");
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
