import { expect, it } from "vitest";
import { parseImageUrl, shownUrl } from "./image-url.ts";

it.each([
  ["", "cannot be parsed"],
  ["//host/x", "cannot be parsed"],
  ["http://", "cannot be parsed"],
  ["http://a b/", "cannot be parsed"],
  ["http://[fe80::1%25eth0]/", "cannot be parsed"],
  ["file:///etc/passwd", "file:"],
  ["ftp://host/x", "ftp:"],
  ["gopher://host:6379/_INFO", "gopher:"],
  ["data:image/png;base64,AAAA", "data:"],
  ["javascript:alert(1)", "javascript:"],
  ["unix:/run/docker.sock", "unix:"],
  ["http://user:secret@host/x", "credentials"],
  ["https://user@host/x", "credentials"],
  ["https://:secret@host/x", "credentials"],
])("K11: refuses %j", (text, why) => {
  const parsed = parseImageUrl(text);
  expect(parsed.kind).toBe("refused");
  if (parsed.kind === "refused") {
    expect(parsed.reason).toContain(why);
    expect(parsed.reason).not.toContain("secret");
  }
});

// Whatever they are written as, the guard sees the address that they mean.
it.each([
  ["http://0x7f.1/", "127.0.0.1"],
  ["http://2130706433/", "127.0.0.1"],
  ["http://017700000001/", "127.0.0.1"],
  ["http://127.0.0.1./", "127.0.0.1"],
  ["http://①②⑦.0.0.1/", "127.0.0.1"],
  ["http://[::ffff:127.0.0.1]/", "[::ffff:7f00:1]"],
  ["http://host\\@other/", "host"],
])("reads %j as the host %s", (text, host) => {
  const parsed = parseImageUrl(text);
  expect(parsed.kind === "url" && parsed.url.hostname).toBe(host);
});

it("follows a relative redirect from where it came", () => {
  const parsed = parseImageUrl("../b.png", new URL("https://host.test/a/a/x?q"));
  expect(parsed.kind === "url" && parsed.url.href).toBe("https://host.test/a/b.png");
});

it("shows no query, and not endlessly much", () => {
  expect(shownUrl(new URL("https://host.test/a.png?signature=secret"))).toBe("https://host.test/a.png?…");
  expect(shownUrl(new URL(`https://host.test/${"a".repeat(5_000)}`)).length).toBeLessThanOrEqual(200);
});
