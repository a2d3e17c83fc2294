import { homedir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ContextTarget } from "./context-target.ts";
import { userKubeconfig } from "./target.ts";

it("leaves a list of kubeconfig files a list", () => {
  expect(userKubeconfig({ KUBECONFIG: "/a:/b" })).toBe("/a:/b");
  for (const unset of [{}, { KUBECONFIG: "" }]) expect(userKubeconfig(unset)).toBe(join(homedir(), ".kube", "config"));
});

it("has a cluster behind a context pull the image from where it was pushed", () => {
  const target = new ContextTarget({ context: "prod", registry: "a.test:5000/team" });
  expect(target.imageValues({ tag: "abc" })).toEqual({
    image: { registry: "a.test:5000", repository: "team/millrace", tag: "abc" },
  });
});

it("says how the image gets there when no registry was named", () => {
  const target = new ContextTarget({ context: "prod", registry: undefined });
  expect(() => target.imageValues({ tag: "abc" })).toThrow(/make push.*--registry/);
});
