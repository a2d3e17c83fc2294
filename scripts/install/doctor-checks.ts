import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { baseBinaries, missingBinaries } from "../cluster/binaries.ts";
import { LocalCluster } from "../cluster/cluster.ts";
import { command, onPath, programPath } from "../cluster/command.ts";
import { FREE_FOR_BUILD, FREE_FOR_CLUSTER, freeBytes, gib, type SpaceNeed, spaceMessage } from "../cluster/disk-space.ts";
import { gatewayPorts } from "../cluster/gateway.ts";
import { cacheHome, stateHome } from "../cluster/layout.ts";
import { missingPackages, systemTools } from "../cluster/preflight.ts";
import { dockerAnswers } from "./docker-engine.ts";
import { failureText } from "./failure.ts";
import type { Finding } from "./finding.ts";
import { LocalTarget } from "./local-target.ts";

const VERSION_TIMEOUT_MS = 5_000;
const NATS_PORT = 4222;
const OLDEST_GO_MINOR = 26;
/** How these say their version; of the others, that they are there is what counts. */
const versionArguments: Readonly<Record<string, readonly string[]>> = {
  containerd: ["--version"],
  runc: ["--version"],
  etcd: ["--version"],
  nft: ["--version"],
  iptables: ["--version"],
  openssl: ["version"],
  ip: ["-Version"],
};

export async function diagnose(name: string): Promise<Finding[]> {
  const tools = await Promise.all(systemTools.map(toolFinding));
  return [
    rootFinding(),
    await goFinding(),
    ...tools,
    cgroupFinding(),
    spaceFinding(
      "space in the cache",
      cacheHome(),
      missingBinaries(baseBinaries).length === 0 ? FREE_FOR_CLUSTER : FREE_FOR_BUILD,
    ),
    spaceFinding("space for the cluster", stateHome(), FREE_FOR_CLUSTER),
    await gatewayPortFinding(),
    await natsPortFinding(),
    await kindFinding(),
    await clusterFinding(name),
  ];
}

function rootFinding(): Finding {
  const what = "root";
  if (process.getuid?.() === 0) return { what, state: "ok", detail: "" };
  const fix = 'run the same command as root: sudo -E env PATH="$PATH" make …';
  return { what, state: "missing", detail: "network namespaces, mounts and cgroups need it", fix };
}

async function goFinding(): Promise<Finding> {
  return judgeGo((await command("go", ["env", "GOVERSION"]).catch(() => "")).trim());
}

export function judgeGo(version: string): Finding {
  const what = "Go";
  const fix = `install Go 1.${OLDEST_GO_MINOR} or newer and put its bin folder on the PATH`;
  if (version === "") return { what, state: "missing", detail: "no `go` is on the PATH", fix };
  const minor = Number(/^go1\.(\d+)/.exec(version)?.[1] ?? 0);
  return minor >= OLDEST_GO_MINOR
    ? { what, state: "ok", detail: version }
    : { what, state: "missing", detail: `${version} is too old`, fix };
}

async function toolFinding(tool: (typeof systemTools)[number]): Promise<Finding> {
  const what = tool.package;
  if (missingPackages(programPath(), existsSync).includes(tool.package)) {
    const byItself = existsSync("/usr/bin/apt-get")
      ? "`make up` installs it, or by hand: "
      : "with this system's own package manager, what Debian has as: ";
    return { what, state: "missing", detail: `${tool.proof} is not there`, fix: `${byItself}apt-get install ${tool.package}` };
  }
  const arguments_ = versionArguments[tool.proof];
  if (arguments_ === undefined) return { what, state: "ok", detail: onPath(tool.proof) ?? tool.proof };
  const version = await command(tool.proof, arguments_, { timeoutMs: VERSION_TIMEOUT_MS }).catch(() => "");
  return { what, state: "ok", detail: version.split("\n")[0]?.trim() ?? "" };
}

function cgroupFinding(): Finding {
  const what = "cgroups";
  if (existsSync("/sys/fs/cgroup/cgroup.controllers")) {
    return judgeControllers("v2", readFileSync("/sys/fs/cgroup/cgroup.controllers", "utf8").trim().split(" "));
  }
  const v1 = ["cpu", "cpuset", "memory", "pids"].filter((controller) => existsSync(`/sys/fs/cgroup/${controller}/tasks`));
  if (v1.length > 0) return judgeControllers("v1", v1);
  return {
    what,
    state: "missing",
    detail: "/sys/fs/cgroup is not mounted",
    fix: "mount it, or leave the container that hides it",
  };
}

export function judgeControllers(version: "v1" | "v2", there: readonly string[]): Finding {
  const lacking = ["cpu", "cpuset", "memory", "pids"].filter((controller) => !there.includes(controller));
  const what = "cgroups";
  if (lacking.length === 0) return { what, state: "ok", detail: version };
  return {
    what,
    state: "missing",
    detail: `${version} without ${lacking.join(", ")}`,
    fix: "the kubelet needs these controllers: enable them at boot or in the container's settings",
  };
}

export function spaceFinding(
  what: string,
  folder: string,
  need: SpaceNeed,
  free: (folder: string) => number = freeBytes,
): Finding {
  const found = free(folder);
  if (found >= need.bytes) return { what, state: "ok", detail: `${gib(found)} GiB free in ${folder}` };
  return { what, state: "missing", detail: `${gib(found)} GiB free in ${folder}`, fix: spaceMessage(folder, found, need) };
}

async function gatewayPortFinding(): Promise<Finding> {
  const ports = gatewayPorts(undefined);
  for (const port of ports)
    if (await isFree(port)) return { what: "port for the API server", state: "ok", detail: `127.0.0.1:${port} is free` };
  const fix = "end the programs that hold them: ss -ltnp";
  return { what: "port for the API server", state: "missing", detail: `none of ${ports.length} from ${ports[0]} is free`, fix };
}

async function natsPortFinding(): Promise<Finding> {
  const what = "port for `make port-forward`";
  if (await isFree(NATS_PORT)) return { what, state: "ok", detail: `127.0.0.1:${NATS_PORT} is free` };
  return { what, state: "note", detail: `127.0.0.1:${NATS_PORT} is taken`, fix: "node scripts/port-forward.ts --port PORT" };
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  const { promise, resolve } = Promise.withResolvers<boolean>();
  server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  return promise;
}

/** Not needed: without it the local cluster is made of processes. */
async function kindFinding(): Promise<Finding> {
  const what = "Docker and kind";
  const engine = await dockerAnswers();
  const kind = onPath("kind") !== undefined;
  const detail = `${engine ? "a Docker engine answers" : "no Docker engine answers"}, kind is ${kind ? "" : "not "}installed`;
  return {
    what,
    state: "ok",
    detail: `${detail}: \`make up\` ${engine && kind ? "makes a kind cluster" : "makes a cluster without them"}`,
  };
}

async function clusterFinding(name: string): Promise<Finding> {
  const target = new LocalTarget({ name });
  const what = target.title;
  try {
    if (!new LocalCluster({ name, progress: () => {} }).exists())
      return { what, state: "ok", detail: "not there; make up makes it" };
    const { well, lines } = await target.health();
    return well
      ? { what, state: "ok", detail: lines.join("; ") }
      : { what, state: "missing", detail: lines.slice(0, -1).join("; "), fix: "make up" };
  } catch (error) {
    return { what, state: "missing", detail: "cannot be looked into", fix: failureText(error) };
  }
}
