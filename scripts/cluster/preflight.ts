import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { ClusterError } from "./cluster-error.ts";
import { command, programPath } from "./command.ts";
import { withElapsed } from "./progress.ts";

interface SystemTool {
  readonly package: string;
  /** A program on the PATH, or an absolute path. */
  readonly proof: string;
}

export const systemTools: readonly SystemTool[] = [
  { package: "containerd", proof: "containerd" },
  { package: "runc", proof: "runc" },
  { package: "containernetworking-plugins", proof: "/usr/lib/cni/bridge" },
  { package: "etcd-server", proof: "etcd" },
  { package: "busybox-static", proof: "/bin/busybox" },
  { package: "iproute2", proof: "ip" },
  { package: "nftables", proof: "nft" },
  { package: "iptables", proof: "iptables" },
  { package: "conntrack", proof: "conntrack" },
  { package: "openssl", proof: "openssl" },
  { package: "ca-certificates", proof: "/etc/ssl/certs/ca-certificates.crt" },
];

export function missingPackages(path: string, exists: (file: string) => boolean): string[] {
  const folders = path.split(delimiter);
  return systemTools
    .filter(({ proof }) => (proof.startsWith("/") ? !exists(proof) : !folders.some((folder) => exists(join(folder, proof)))))
    .map((tool) => tool.package);
}

export function requireRoot(action: string): void {
  if (process.getuid?.() === 0) return;
  throw new ClusterError(
    "ROOT_REQUIRED",
    `${action} needs root, because of its network namespaces, mounts and cgroups. Run the same command as root: sudo -E env PATH="$PATH" …`,
  );
}

/** Installs what Debian has and the machine lacks. A service that a package starts on its own does no harm: ours live in their own namespace. */
export async function ensurePackages(progress: (line: string) => void): Promise<void> {
  const missing = missingPackages(programPath(), existsSync);
  if (missing.length === 0) return;
  const byHand = `apt-get install ${missing.join(" ")}`;
  if (!existsSync("/usr/bin/apt-get")) {
    throw new ClusterError(
      "TOOL_MISSING",
      `This machine lacks ${missing.join(", ")} and has no apt-get. Install these with its own package manager.`,
    );
  }
  await withElapsed({ label: `installing ${missing.join(" ")} (first time only)`, progress }, async () => {
    const options = {
      env: { DEBIAN_FRONTEND: "noninteractive" },
      code: "TOOL_MISSING",
      hint: `Try it by hand: apt-get update && ${byHand}`,
    } as const;
    await command("apt-get", ["update", "--quiet"], options);
    await command("apt-get", ["install", "--quiet", "--yes", "--no-install-recommends", ...missing], options);
  });
}
