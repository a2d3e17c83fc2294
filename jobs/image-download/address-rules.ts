import { BlockList, isIP } from "node:net";

/** What is not the public Internet, by IANA's registries of special-purpose addresses. */
const CLOSED_IPV4 = [
  "0.0.0.0/8", // this network
  "10.0.0.0/8", // private
  "100.64.0.0/10", // shared by a provider's customers (CGNAT); some clusters' pods
  "127.0.0.0/8", // loopback
  "169.254.0.0/16", // link-local: the clouds' metadata services
  "172.16.0.0/12", // private
  "192.0.0.0/24", // protocol assignments
  "192.0.2.0/24", // documentation
  "192.88.99.0/24", // 6to4 relays
  "192.168.0.0/16", // private
  "198.18.0.0/15", // benchmarks
  "198.51.100.0/24", // documentation
  "203.0.113.0/24", // documentation
  "224.0.0.0/4", // multicast
  "240.0.0.0/4", // reserved, and broadcast
];

/** Public by the registries, but answered by a cloud to its own machines alone. Those of other clouds are in the networks above and below. */
const CLOUD_SERVICES = [
  "168.63.129.16", // Azure: WireServer, with what the machine was set up with, and the DNS
  "192.80.8.124", // Equinix Metal: metadata
];

/** All but global unicast (2000::/3): loopback, v4-mapped, NAT64, unique local, link-local, multicast. And of that what leads to an IPv4 address or nowhere. */
const CLOSED_IPV6 = [
  "::/3",
  "4000::/2",
  "8000::/1",
  "2001::/23", // protocol assignments, Teredo among them
  "2001:db8::/32", // documentation
  "2002::/16", // 6to4: an IPv4 address inside
  "3fff::/20", // documentation
];

interface Networks {
  readonly ipv4: BlockList;
  readonly ipv6: BlockList;
}

/**
 * Which addresses may be dialled (K11): public ones, and those that `allowed` names. `blocked` counts before both: a cluster may use public
 * addresses for its own.
 */
export class AddressRules {
  readonly #closed = networks([...CLOSED_IPV4, ...CLOUD_SERVICES, ...CLOSED_IPV6]);
  readonly #allowed: Networks;
  readonly #blocked: Networks;

  /** Networks as `parseNetwork` takes them. */
  constructor(lists: { readonly allowed: readonly string[]; readonly blocked: readonly string[] }) {
    this.#allowed = networks(lists.allowed);
    this.#blocked = networks(lists.blocked);
  }

  mayDial(address: string): boolean {
    if (isIP(address) === 0) return false;
    if (isIn(this.#blocked, address)) return false;
    return isIn(this.#allowed, address) || !isIn(this.#closed, address);
  }
}

interface Network {
  readonly address: string;
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

/** `10.0.0.0/8`, `fd00::/8`, or one address. Undefined: it is none. */
export function parseNetwork(text: string): Network | undefined {
  const [address = "", bits, ...rest] = text.trim().split("/");
  const version = isIP(address);
  const most = version === 4 ? 32 : 128;
  const prefix = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN;
  if (version === 0 || address.includes("%") || !(prefix <= most) || rest.length > 0) return undefined;
  return { address, prefix, family: version === 4 ? "ipv4" : "ipv6" };
}

/** Of each family its own: a BlockList takes any IPv4 address for one of an IPv6 network that spans `::ffff:0:0/96`. */
function networks(list: readonly string[]): Networks {
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const text of list) {
    const network = parseNetwork(text);
    if (network === undefined) throw new TypeError(`"${text}" is no network`);
    lists[network.family].addSubnet(network.address, network.prefix, network.family);
  }
  return lists;
}

function isIn({ ipv4, ipv6 }: Networks, address: string): boolean {
  return isIP(address) === 4 ? ipv4.check(address, "ipv4") : ipv6.check(address, "ipv6");
}
