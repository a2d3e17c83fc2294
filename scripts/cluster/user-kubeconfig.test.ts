import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ClusterError } from "./cluster-error.ts";
import { namesContext, renderKubeconfig } from "./kubeconfig.ts";
import { UserKubeconfig, userKubeconfigPath } from "./user-kubeconfig.ts";

const ours = renderKubeconfig({
  name: "millrace",
  server: "https://127.0.0.1:1",
  ca: Buffer.from("a"),
  cert: Buffer.from("b"),
  key: Buffer.from("c"),
});
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-kubeconfig-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("takes the first file of KUBECONFIG that exists, else the last, else the home folder's", () => {
  const environment = { KUBECONFIG: "/a:/b:/c" };
  expect(userKubeconfigPath(environment, (path) => path === "/b")).toBe("/b");
  expect(userKubeconfigPath(environment, () => false)).toBe("/c");
  expect(userKubeconfigPath({}, () => false)).toBe(join(homedir(), ".kube", "config"));
});

it("makes a private file in a new folder, and leaves no lock or draft behind", async () => {
  const path = join(folder, "new", "config");
  await new UserKubeconfig({ path }).add(ours);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(join(folder, "new"))).toEqual(["config"]);
});

it("loses no entry when several clusters enter at once", async () => {
  const path = join(folder, "config");
  const names = ["one", "two", "three", "four"];
  await Promise.all(names.map((name) => new UserKubeconfig({ path }).add(ours.replaceAll("millrace", name))));
  const text = readFileSync(path, "utf8");
  expect(names.filter((name) => namesContext(text, name))).toEqual(names);
});

it("keeps a linked file a link", async () => {
  const path = join(folder, "config");
  writeFileSync(join(folder, "target"), "");
  symlinkSync(join(folder, "target"), path);
  await new UserKubeconfig({ path }).add(ours);
  expect(lstatSync(path).isSymbolicLink()).toBe(true);
  expect(namesContext(readFileSync(join(folder, "target"), "utf8"), "millrace")).toBe(true);
});

it("does not rewrite a file that never named the cluster, and makes none", async () => {
  const path = join(folder, "config");
  await new UserKubeconfig({ path }).remove("millrace");
  expect(readdirSync(folder)).toEqual([]);
  writeFileSync(path, "# mine\napiVersion: v1\n");
  await new UserKubeconfig({ path }).remove("millrace");
  expect(readFileSync(path, "utf8")).toBe("# mine\napiVersion: v1\n");
});

it("refuses to replace a file it cannot read", async () => {
  const path = join(folder, "config");
  writeFileSync(path, "clusters: 7\n");
  await expect(new UserKubeconfig({ path }).add(ours)).rejects.toThrow(ClusterError);
  expect(readFileSync(path, "utf8")).toBe("clusters: 7\n");
});
