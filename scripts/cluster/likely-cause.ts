import type { ClusterErrorCode } from "./cluster-error.ts";

export interface LikelyCause {
  readonly code: ClusterErrorCode;
  /** What it probably is and what to do, in words. Names no hosts: which ones are asked is a matter of the user's settings. */
  readonly hint: string;
}

interface Pattern extends LikelyCause {
  readonly output: RegExp;
  /** The programs whose output it is looked for in; all when absent. */
  readonly programs?: readonly string[];
}

const refused =
  "40[1379]|410|451|50[0234]|connection refused|no such host|i/o timeout|TLS handshake timeout|certificate|network is unreachable";

const patterns: readonly Pattern[] = [
  {
    output: /no space left on device|\bENOSPC\b|disk quota exceeded|\bEDQUOT\b/i,
    code: "DISK_FULL",
    hint: "A disk is full. `df -h` says which one; make room there (`go clean -cache` frees Go's own), then run the same command again; finished steps are kept.",
  },
  {
    programs: ["go"],
    output: new RegExp(
      `(?:reading|Get|dial tcp|proxyconnect|unrecognized import path|sum\\.?db|verifying)[^\\n]*(?:${refused})`,
      "i",
    ),
    code: "REGISTRY_REFUSED",
    hint: "Go modules could not be fetched: the Go module proxy refused or did not answer. Check `go env GOPROXY GOSUMDB`, the proxy settings of this shell (HTTPS_PROXY, NO_PROXY) and the network, then run the same command again.",
  },
  {
    programs: ["npm", "npx"],
    output: /npm (?:error|ERR!) (?:code )?(?:E4\d\d|E5\d\d|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|.*CERT)/,
    code: "REGISTRY_REFUSED",
    hint: "npm packages could not be fetched: the npm registry refused or did not answer. Check `npm config get registry`, its credentials, the proxy settings of this shell and the network, then run the same command again.",
  },
  {
    programs: ["apt-get", "apt"],
    output:
      /Failed to fetch|Unable to locate package|has no installation candidate|Temporary failure resolving|Could not connect|is not signed/,
    code: "REGISTRY_REFUSED",
    hint: "Debian packages could not be fetched: the package mirror refused or did not answer. Check /etc/apt/sources.list*, apt's proxy settings and the network, or install the packages by hand.",
  },
  {
    programs: ["skopeo", "buildah", "docker"],
    output: /unauthorized|authentication required|denied|no basic auth credentials/i,
    code: "REGISTRY_REFUSED",
    hint: "The image registry refused. Log in to it first (`skopeo login`, `buildah login` or `docker login`) as someone who may push there.",
  },
  {
    programs: ["skopeo", "buildah", "docker"],
    output: new RegExp(refused, "i"),
    code: "REGISTRY_REFUSED",
    hint: "The image registry could not be reached. Check its name, the proxy settings of this shell and the network.",
  },
];

/** What a failed program's output shows that its exit code does not. */
export function likelyCause(program: string, output: string): LikelyCause | undefined {
  const found = patterns.find(({ programs, output: pattern }) => (programs?.includes(program) ?? true) && pattern.test(output));
  return found === undefined ? undefined : { code: found.code, hint: found.hint };
}

/** The same for an error of our own file system calls. */
export function likelyCauseOf(error: unknown): LikelyCause | undefined {
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
  return code === "ENOSPC" || code === "EDQUOT" ? likelyCause("", code) : undefined;
}
