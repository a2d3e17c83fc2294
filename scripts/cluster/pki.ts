import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./command.ts";
import { type ClusterLayout, network, nodeName } from "./layout.ts";

interface CertificateSpec {
  readonly file: string;
  readonly subject: string;
  readonly use: "clientAuth" | "serverAuth" | "clientAuth,serverAuth";
  readonly alternativeNames?: readonly string[];
}

/** A development cluster may stand for years; its state folder is root's alone. */
const VALIDITY_DAYS = "3650";

const apiNames = [
  "kubernetes",
  "kubernetes.default",
  "kubernetes.default.svc",
  `kubernetes.default.svc.${network.clusterDomain}`,
  "localhost",
];
// 127.0.0.1 and localhost: what the gateway is reached by from the machine's own shell.
const apiAddresses = [network.nodeAddress, network.apiServiceAddress, "127.0.0.1"];

const certificates: readonly CertificateSpec[] = [
  {
    file: "apiserver",
    subject: "/CN=kube-apiserver",
    use: "serverAuth",
    alternativeNames: [...apiNames.map((name) => `DNS:${name}`), ...apiAddresses.map((address) => `IP:${address}`)],
  },
  {
    file: "kubelet",
    subject: `/O=system:nodes/CN=system:node:${nodeName}`,
    use: "clientAuth,serverAuth",
    alternativeNames: [`DNS:${nodeName}`, `IP:${network.nodeAddress}`],
  },
  { file: "admin", subject: "/O=system:masters/CN=admin", use: "clientAuth" },
  { file: "controller-manager", subject: "/CN=system:kube-controller-manager", use: "clientAuth" },
  { file: "scheduler", subject: "/CN=system:kube-scheduler", use: "clientAuth" },
  { file: "proxy", subject: "/CN=system:kube-proxy", use: "clientAuth" },
  { file: "coredns", subject: "/CN=system:coredns", use: "clientAuth" },
  { file: "front-proxy", subject: "/CN=front-proxy", use: "clientAuth" },
  { file: "apiserver-kubelet", subject: "/O=system:masters/CN=apiserver-kubelet", use: "clientAuth" },
];

/** One authority and all certificates of a cluster, made in a draft folder and renamed: half a set is never seen. */
export async function createPki(layout: ClusterLayout): Promise<void> {
  if (existsSync(layout.pkiDir)) return;
  const draft = `${layout.pkiDir}.draft`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true, mode: 0o700 });
  const inDraft = (file: string): string => join(draft, file);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const caName = ["-subj", `/CN=${layout.name}-ca`, "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
  await command("openssl", [
    "req",
    "-x509",
    ...newKey,
    "-keyout",
    inDraft("ca.key"),
    "-out",
    inDraft("ca.crt"),
    "-days",
    VALIDITY_DAYS,
    ...caName,
  ]);
  await command("openssl", ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", inDraft("service-account.key")]);
  for (const [index, spec] of certificates.entries()) await issue(spec, index + 2, newKey, inDraft);
  renameSync(draft, layout.pkiDir);
}

async function issue(
  spec: CertificateSpec,
  serial: number,
  newKey: readonly string[],
  inDraft: (file: string) => string,
): Promise<void> {
  const extensions = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature", `extendedKeyUsage=${spec.use}`];
  if (spec.alternativeNames !== undefined) extensions.push(`subjectAltName=${spec.alternativeNames.join(",")}`);
  const request = inDraft(`${spec.file}.csr`);
  const extensionFile = inDraft(`${spec.file}.ext`);
  writeFileSync(extensionFile, `${extensions.join("\n")}\n`);
  await command("openssl", ["req", ...newKey, "-keyout", inDraft(`${spec.file}.key`), "-out", request, "-subj", spec.subject]);
  const authority = ["-CA", inDraft("ca.crt"), "-CAkey", inDraft("ca.key"), "-set_serial", String(serial)];
  const output = ["-out", inDraft(`${spec.file}.crt`), "-days", VALIDITY_DAYS, "-extfile", extensionFile];
  await command("openssl", ["x509", "-req", "-in", request, ...authority, ...output]);
  rmSync(request);
  rmSync(extensionFile);
}
