import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./command.ts";
import type { ClusterLayout } from "./layout.ts";
import { network } from "./network.ts";
import { type NodeLayout, nodeNames } from "./node-layout.ts";

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
const apiAddresses = [network.controlPlaneAddress, network.apiServiceAddress, "127.0.0.1"];

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
/** Apart from those of the control plane's certificates, which are numbered from 2 on. */
const FIRST_NODE_SERIAL = 100;

const certificates: readonly CertificateSpec[] = [
  {
    file: "apiserver",
    subject: "/CN=kube-apiserver",
    use: "serverAuth",
    alternativeNames: [...apiNames.map((name) => `DNS:${name}`), ...apiAddresses.map((address) => `IP:${address}`)],
  },
  { file: "admin", subject: "/O=system:masters/CN=admin", use: "clientAuth" },
  { file: "controller-manager", subject: "/CN=system:kube-controller-manager", use: "clientAuth" },
  { file: "scheduler", subject: "/CN=system:kube-scheduler", use: "clientAuth" },
  { file: "proxy", subject: "/CN=system:kube-proxy", use: "clientAuth" },
  { file: "coredns", subject: "/CN=system:coredns", use: "clientAuth" },
  { file: "front-proxy", subject: "/CN=front-proxy", use: "clientAuth" },
  { file: "apiserver-kubelet", subject: "/O=system:masters/CN=apiserver-kubelet", use: "clientAuth" },
];

/** One authority and all certificates of a control plane, made in a draft folder and renamed: half a set is never seen. */
export async function createPki(layout: ClusterLayout): Promise<void> {
  if (existsSync(layout.pkiDir)) return;
  const draft = `${layout.pkiDir}.draft`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true, mode: 0o700 });
  const inDraft = (file: string): string => join(draft, file);
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
  for (const [index, spec] of certificates.entries()) await issue({ spec, serial: index + 2, authority: draft, folder: draft });
  renameSync(draft, layout.pkiDir);
}

/** For tests of rotation: another key and certificate of the same name, from the same authority, in the place of those in use. */
export async function renewCertificate(layout: ClusterLayout, file: string, serial: number): Promise<void> {
  const spec = certificates.find((each) => each.file === file);
  if (spec === undefined) throw new Error(`${file} is none of the control plane's certificates`);
  const draft = `${layout.pkiDir}.${file}`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true, mode: 0o700 });
  await issue({ spec, serial, authority: layout.pkiDir, folder: draft });
  for (const part of [`${file}.key`, `${file}.crt`]) renameSync(join(draft, part), layout.pki(part));
  rmSync(draft, { recursive: true });
}

/** A node comes when it comes, also to a cluster that has stood for long. Key first, certificate last: with that one there, both are. */
export async function createNodeCertificate(node: NodeLayout): Promise<void> {
  if (existsSync(node.pki("kubelet.crt"))) return;
  const draft = `${node.cluster.pkiDir}.${node.name}`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true, mode: 0o700 });
  const spec: CertificateSpec = {
    file: "kubelet",
    subject: `/O=system:nodes/CN=system:node:${node.name}`,
    use: "clientAuth,serverAuth",
    alternativeNames: [`DNS:${node.name}`, `IP:${node.address}`],
  };
  const serial = FIRST_NODE_SERIAL + nodeNames.indexOf(node.name);
  await issue({ spec, serial, authority: node.cluster.pkiDir, folder: draft });
  for (const file of ["kubelet.key", "kubelet.crt"]) renameSync(join(draft, file), node.pki(file));
  rmSync(draft, { recursive: true });
}

interface Issue {
  readonly spec: CertificateSpec;
  readonly serial: number;
  /** The folder of the authority's key. */
  readonly authority: string;
  readonly folder: string;
}

async function issue({ spec, serial, authority, folder }: Issue): Promise<void> {
  const extensions = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature", `extendedKeyUsage=${spec.use}`];
  if (spec.alternativeNames !== undefined) extensions.push(`subjectAltName=${spec.alternativeNames.join(",")}`);
  const request = join(folder, `${spec.file}.csr`);
  const extensionFile = join(folder, `${spec.file}.ext`);
  writeFileSync(extensionFile, `${extensions.join("\n")}\n`);
  const key = join(folder, `${spec.file}.key`);
  await command("openssl", ["req", ...newKey, "-keyout", key, "-out", request, "-subj", spec.subject]);
  const signer = ["-CA", join(authority, "ca.crt"), "-CAkey", join(authority, "ca.key"), "-set_serial", String(serial)];
  const output = ["-out", join(folder, `${spec.file}.crt`), "-days", VALIDITY_DAYS, "-extfile", extensionFile];
  await command("openssl", ["x509", "-req", "-in", request, ...signer, ...output]);
  rmSync(request);
  rmSync(extensionFile);
}
