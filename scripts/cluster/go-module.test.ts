import { describe, expect, it } from "vitest";
import { moduleReplacements, renderGoMod, stagingModules, stagingVersion } from "./go-module.ts";

const kubernetesGoMod = `module k8s.io/kubernetes

go 1.26.0

require (
	github.com/blang/semver/v4 v4.0.0
	k8s.io/api v0.0.0
	k8s.io/kube-openapi v0.0.0-20260317180543-43fb72c5454a
	k8s.io/apimachinery v0.0.0
	k8s.io/cri-api v0.0.0 // indirect
)

require k8s.io/kubelet v0.0.0

replace k8s.io/api => ./staging/src/k8s.io/api
`;

it("finds the staging modules and takes no pseudo-version for one", () => {
  expect(stagingModules(kubernetesGoMod)).toEqual(["k8s.io/api", "k8s.io/apimachinery", "k8s.io/cri-api", "k8s.io/kubelet"]);
});

it("names a staging module's version after Kubernetes' own", () => {
  expect(stagingVersion("v1.36.3")).toBe("v0.36.3");
});

it("copies a program's own replacements by other modules, and not those by folders of its repository", () => {
  const goMod = `module k

replace a.test/x v0.1.0 => a.test/y v0.2.0 // why

replace (
	b.test/all => b.test/all v1.2.3
	k8s.io/api => ./staging/src/k8s.io/api
	// c.test/off => c.test/off v1.0.0
)
`;
  expect(moduleReplacements(goMod)).toEqual([
    { path: "a.test/x", when: "v0.1.0", by: { path: "a.test/y", version: "v0.2.0" } },
    { path: "b.test/all", by: { path: "b.test/all", version: "v1.2.3" } },
  ]);
});

describe("renderGoMod", () => {
  const module = {
    name: "millrace.local/kubernetes",
    goVersion: "1.26.0",
    godebugDefault: "go1.26",
    require: { path: "k8s.io/kubernetes", version: "v1.36.3" },
    replace: [
      { path: "k8s.io/api", by: { path: "k8s.io/api", version: "v0.36.3" } },
      { path: "a.test/x", when: "v0.1.0", by: { path: "a.test/y", version: "v0.2.0" } },
    ],
    packages: ["k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes/cmd/kubectl"],
  };

  it("requires the program's module, replaces the staging ones and lists the programs", () => {
    expect(renderGoMod(module)).toBe(`module millrace.local/kubernetes

go 1.26.0

godebug default=go1.26

require k8s.io/kubernetes v1.36.3

replace (
	k8s.io/api => k8s.io/api v0.36.3
	a.test/x v0.1.0 => a.test/y v0.2.0
)

tool (
	k8s.io/kubernetes/cmd/kubelet
	k8s.io/kubernetes/cmd/kubectl
)
`);
  });

  it("has no empty replace block", () => {
    expect(renderGoMod({ ...module, replace: [] })).not.toContain("replace");
  });
});
