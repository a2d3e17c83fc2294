import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { threadFile } from "./thread-file.ts";

describe("threadFile", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "millrace-thread-"));
    await writeFile(join(folder, "heartbeat-thread.js"), "");
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("lies beside the file that it is started from, with the same ending", () => {
    expect(threadFile({}).href).toMatch(/\/sdk\/src\/heartbeat\/heartbeat-thread\.ts$/);
    const bundle = pathToFileURL(join(folder, "main.js")).href;
    expect(threadFile({}, bundle)).toEqual(pathToFileURL(join(folder, "heartbeat-thread.js")));
  });

  it("or where the environment says", () => {
    const file = join(folder, "heartbeat-thread.js");
    expect(threadFile({ MILLRACE_HEARTBEAT_THREAD: file })).toEqual(pathToFileURL(file));
  });

  it("says what to do when it is not there", () => {
    const bundle = pathToFileURL(join(folder, "main.mjs")).href;
    expect(() => threadFile({}, bundle)).toThrow(/heartbeat-thread\.mjs is not there.*MILLRACE_HEARTBEAT_THREAD/);
  });
});
