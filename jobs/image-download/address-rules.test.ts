import { expect, it } from "vitest";
import { AddressRules, parseNetwork } from "./address-rules.ts";

const rules = new AddressRules({ allowed: [], blocked: [] });

it.each([
  "0.0.0.0",
  "10.0.0.1",
  "10.255.255.255",
  "100.64.0.1",
  "100.127.255.255",
  "127.0.0.1",
  "127.255.255.254",
  "169.254.169.254",
  "172.16.0.1",
  "172.31.255.255",
  "192.0.0.192",
  "192.0.2.1",
  "192.88.99.1",
  "192.168.1.1",
  "198.18.0.1",
  "198.51.100.7",
  "203.0.113.7",
  "224.0.0.1",
  "239.255.255.255",
  "240.0.0.1",
  "255.255.255.255",
  "::",
  "::1",
  "::7f00:1",
  "::ffff:127.0.0.1",
  "::ffff:a00:1",
  "::ffff:8.8.8.8",
  "64:ff9b::a00:1",
  "64:ff9b:1::a00:1",
  "100::1",
  "2001::1",
  "2001:db8::1",
  "2002:7f00:1::1",
  "3fff::1",
  "5f00::1",
  "fc00::1",
  "fd12:3456::1",
  "fe80::1",
  "fe80::1%eth0",
  "fec0::1",
  "ff02::1",
])("K11: %s is not dialled", (address) => {
  expect(rules.mayDial(address)).toBe(false);
});

it.each([
  ["AWS, Google, Azure and most others", "169.254.169.254"],
  ["AWS", "fd00:ec2::254"],
  ["AWS, of containers", "169.254.170.2"],
  ["AWS, of pods", "fd00:ec2::23"],
  ["Google", "fd20:ce::254"],
  ["Azure, WireServer", "168.63.129.16"],
  ["Alibaba", "100.100.100.200"],
  ["Oracle", "192.0.0.192"],
  ["Oracle", "fd00:c1::a9fe:a9fe"],
  ["OpenStack", "fe80::a9fe:a9fe%eth0"],
  ["Akamai", "fd00:a9fe:a9fe::1"],
  ["Scaleway", "169.254.42.42"],
  ["Equinix Metal", "192.80.8.124"],
])("K11: what a cloud tells its own machines (%s: %s) is not dialled", (_, address) => {
  expect(rules.mayDial(address)).toBe(false);
});

it.each(["168.63.129.15", "168.63.129.17", "192.80.8.123"])("the neighbour %s is public", (address) => {
  expect(rules.mayDial(address)).toBe(true);
});

it.each(["8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "192.0.1.1", "223.255.255.255"])(
  "%s is public",
  (address) => {
    expect(rules.mayDial(address)).toBe(true);
  },
);

it.each(["2606:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001::200e"])("%s is public", (address) => {
  expect(rules.mayDial(address)).toBe(true);
});

it.each(["", "localhost", "8.8.8", "0x7f.1", "2130706433", "%eth0", "127.0.0.1 ", "[::1]"])(
  "K11: what is no address (%j) is not dialled",
  (text) => {
    expect(rules.mayDial(text)).toBe(false);
  },
);

it("opens what ALLOWED_NETWORKS names, and nothing beside it", () => {
  const opened = new AddressRules({ allowed: ["10.1.0.0/16", "fd00:1::/32", "127.0.0.1"], blocked: [] });
  for (const address of ["10.1.2.3", "fd00:1::5", "127.0.0.1", "8.8.8.8"]) expect(opened.mayDial(address)).toBe(true);
  for (const address of ["10.2.0.1", "fd00:2::5", "127.0.0.2", "::1", "::ffff:10.1.2.3"])
    expect(opened.mayDial(address)).toBe(false);
});

it("closes what BLOCKED_NETWORKS names, also when it is public or allowed", () => {
  const closed = new AddressRules({ allowed: ["10.0.0.0/8"], blocked: ["8.8.8.0/24", "10.96.0.0/12", "2606:4700::/32"] });
  for (const address of ["8.8.8.8", "10.96.0.1", "2606:4700::1111"]) expect(closed.mayDial(address)).toBe(false);
  for (const address of ["8.8.9.8", "10.1.0.1"]) expect(closed.mayDial(address)).toBe(true);
});

it.each([
  "",
  "10.0.0.0/33",
  "10.0.0.0/-1",
  "10.0.0.0/8/8",
  "fd00::/129",
  "example.test",
  "10.0.0.0/x",
  "10.0.0.0/",
  "10.0.0/8",
  "fe80::1%eth0",
])("takes %j for no network", (text) => {
  expect(parseNetwork(text)).toBeUndefined();
  expect(() => new AddressRules({ allowed: [text], blocked: [] })).toThrow(TypeError);
});
