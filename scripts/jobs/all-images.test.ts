import { describe, expect, it } from "vitest";
import type { PushTarget } from "../install/registry.ts";
import { buildAll, pushAll } from "./all-images.ts";
import type { JobImage } from "./job-image.ts";

/** Contents of workers, by tag, and what was done with them, in order. */
class Workshop {
  readonly done: string[] = [];
  readonly #tags: Readonly<Record<string, string>>;

  constructor(tags: Readonly<Record<string, string>>) {
    this.#tags = tags;
  }

  get jobs(): string[] {
    return Object.keys(this.#tags);
  }

  readonly progress = (line: string): void => void this.done.push(line);

  readonly tagOf = async (job: string): Promise<string> => this.#tags[job] ?? "";

  readonly build = async (job: string): Promise<JobImage> => {
    this.done.push(`build ${job}`);
    const tag = await this.tagOf(job);
    return { job, tag, reference: `localhost/${job}:${tag}`, archivePath: `/cache/${job}.tar`, contentHash: tag };
  };

  registry(...has: readonly string[]) {
    const referenceOf = ({ place, name, tag }: PushTarget): string => `${place}/${name}:${tag}`;
    return {
      has: async (target: PushTarget) => {
        this.done.push(`ask for ${referenceOf(target)}`);
        return has.find((reference) => reference === referenceOf(target));
      },
      push: async (image: JobImage, target: PushTarget) => {
        this.done.push(`push ${image.archivePath}`);
        return referenceOf(target);
      },
    };
  }
}

describe("build-all", () => {
  it("says which workers have changed since, at whatever registry they are", async () => {
    const workshop = new Workshop({ one: "aaa", two: "bbb", three: "ccc" });
    const before = { one: "a.test/x/one:aaa", two: "localhost/two:old" };
    const images = await buildAll({ ...workshop, jobs: workshop.jobs, before });
    expect(images.map(({ reference }) => reference)).toEqual(["localhost/one:aaa", "localhost/two:bbb", "localhost/three:ccc"]);
    expect(workshop.done.filter((line) => line.includes(":"))).toEqual(["one: unchanged", "two: built", "three: built"]);
  });
});

describe("push-all", () => {
  const place = "a.test/x";

  it("asks the registry first, and neither builds nor pushes what it has", async () => {
    const workshop = new Workshop({ one: "aaa", two: "bbb" });
    const registry = workshop.registry("a.test/x/one:aaa", "a.test/x/two:old");
    expect(await pushAll({ ...workshop, jobs: workshop.jobs, place, registry })).toEqual({
      one: "a.test/x/one:aaa",
      two: "a.test/x/two:bbb",
    });
    expect(workshop.done).toEqual([
      "ask for a.test/x/one:aaa",
      "one: unchanged",
      "ask for a.test/x/two:bbb",
      "build two",
      "two: pushing localhost/two:bbb",
      "push /cache/two.tar",
    ]);
  });

  it("pushes under the tag of what was built, should a file have been saved since it was asked for", async () => {
    const workshop = new Workshop({ one: "new" });
    const tagOf = async () => "old";
    const registry = workshop.registry();
    expect(await pushAll({ ...workshop, jobs: workshop.jobs, tagOf, place, registry })).toEqual({ one: "a.test/x/one:new" });
  });

  it("builds nothing when the registry cannot be asked, and pushes nothing when a build fails", async () => {
    const workshop = new Workshop({ one: "aaa", two: "bbb" });
    const registry = workshop.registry();
    const { jobs } = workshop;
    const has = () => Promise.reject(new Error("no skopeo"));
    await expect(pushAll({ ...workshop, jobs, place, registry: { ...registry, has } })).rejects.toThrow("no skopeo");
    const build = () => Promise.reject(new Error("no package"));
    await expect(pushAll({ ...workshop, jobs, build, place, registry })).rejects.toThrow("no package");
    expect(workshop.done).toEqual(["ask for a.test/x/one:aaa"]);
  });
});
