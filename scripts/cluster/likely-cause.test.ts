import { expect, it } from "vitest";
import { likelyCause, likelyCauseOf } from "./likely-cause.ts";

it.each([
  ["go", "/usr/local/go/pkg/tool/linux_amd64/link: write /tmp/x: no space left on device", "DISK_FULL", /disk is full/],
  ["tar", "tar: /c/image.tar: Cannot write: No space left on device", "DISK_FULL", /disk is full/],
  [
    "go",
    "go: github.com/a/b@v1.0.0: reading https://proxy.test/github.com/a/b/@v/v1.0.0.mod: 403 Forbidden",
    "REGISTRY_REFUSED",
    /Go modules/,
  ],
  [
    "go",
    'go: k8s.io/api@v1: Get "https://proxy.test/x": dial tcp: lookup proxy.test: no such host',
    "REGISTRY_REFUSED",
    /GOPROXY/,
  ],
  ["npm", "npm error code E403\nnpm error 403 Forbidden - GET https://r.test/zod", "REGISTRY_REFUSED", /npm packages/],
  ["npm", "npm error code ECONNREFUSED", "REGISTRY_REFUSED", /npm packages/],
  ["apt-get", "E: Failed to fetch http://m.test/runc.deb  403  Forbidden", "REGISTRY_REFUSED", /Debian packages/],
  ["apt-get", "E: Unable to locate package containernetworking-plugins", "REGISTRY_REFUSED", /Debian packages/],
  ["skopeo", 'level=fatal msg="trying to reuse blob: unauthorized: authentication required"', "REGISTRY_REFUSED", /Log in/],
  ["docker", "dial tcp 10.0.0.1:443: connect: connection refused", "REGISTRY_REFUSED", /could not be reached/],
])("%s saying %j is %s", (program, output, code, hint) => {
  const cause = likelyCause(program, output);
  expect(cause?.code).toBe(code);
  expect(cause?.hint).toMatch(hint);
  expect(cause?.hint).not.toMatch(/\.test\b/);
});

it.each([
  ["go", "# example.com/x\n./main.go:3:2: undefined: y"],
  ["kubectl", "error: dial tcp 127.0.0.1:6443: connection refused"],
  ["npm", 'npm error Missing script: "up"'],
])("%s saying %j is left to its own hint", (program, output) => {
  expect(likelyCause(program, output)).toBeUndefined();
});

it("knows a full disk from our own calls too", () => {
  const full = Object.assign(new Error("write"), { code: "ENOSPC" });
  expect(likelyCauseOf(full)?.code).toBe("DISK_FULL");
  expect(likelyCauseOf(Object.assign(new Error("open"), { code: "ENOENT" }))).toBeUndefined();
  expect(likelyCauseOf("ENOSPC")).toBeUndefined();
});
