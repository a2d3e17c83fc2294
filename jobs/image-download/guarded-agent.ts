import { type LookupAddress, lookup as systemLookup } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import { Agent, buildConnector } from "undici";
import type { AddressRules } from "./address-rules.ts";

const CONNECT_TIMEOUT_MS = 10_000;
/** Until an answer begins, and between two pieces of its body. */
const SILENCE_TIMEOUT_MS = 30_000;

export class AddressRefused extends Error {
  readonly code = "ADDRESS_REFUSED";
}

/** Every address of a host, as `dns.lookup` with `all` gives them: with an error it gives none at all, whatever its types say. */
export type ResolveHost = (host: string, callback: (error: Error | null, addresses?: readonly LookupAddress[]) => void) => void;

const resolveBySystem: ResolveHost = (host, callback) => systemLookup(host, { all: true }, callback);

/**
 * Dials only what the rules allow. What is checked is the address that is dialled, in the lookup of the very connection: whoever answers a name with
 * a public address first and with a private one a moment later is refused all the same, and so is each hop of a redirect.
 */
export function guardedAgent(options: { readonly rules: AddressRules; readonly resolve?: ResolveHost }): Agent {
  const { rules, resolve = resolveBySystem } = options;
  const connect = buildConnector({ timeout: CONNECT_TIMEOUT_MS, lookup: guardedLookup(rules, resolve), allowH2: false });
  return new Agent({
    // An address in the URL is dialled without a lookup.
    connect: (target, callback) => {
      const host = target.hostname.replace(/^\[|\]$/g, "");
      if (isIP(host) !== 0 && !rules.mayDial(host)) callback(refusal(host), null);
      else connect(target, callback);
    },
    headersTimeout: SILENCE_TIMEOUT_MS,
    bodyTimeout: SILENCE_TIMEOUT_MS,
    // One image, one connection: a connection that is kept would only be one more thing to hold.
    pipelining: 0,
  });
}

function guardedLookup(rules: AddressRules, resolve: ResolveHost): LookupFunction {
  return (host, { all, family }, callback) => {
    resolve(host, (error, addresses = []) => {
      // Nobody catches what is thrown here: the process would end, with every message in flight.
      if (error !== null) return callback(error, []);
      const wanted = addresses.filter((one) => family === undefined || family === 0 || one.family === family);
      const open = wanted.filter(({ address }) => rules.mayDial(address));
      const [first] = open;
      if (first === undefined) return callback(refusal(host), []);
      if (all === true) return callback(null, open);
      return callback(null, first.address, first.family);
    });
  };
}

function refusal(host: string): AddressRefused {
  return new AddressRefused(
    `${host.slice(0, 253)} is at no public address; if it is meant to be reached, name its network in ALLOWED_NETWORKS`,
  );
}
