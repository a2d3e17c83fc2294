import type { V1PodSpec, V1StatefulSet } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { natsEnv } from "../libs/streams/connection.ts";
import {
  byName,
  deployedPod,
  documents,
  EXTERNAL,
  environment,
  environmentOf,
  only,
  pods,
  refusal,
  template,
  testPods,
} from "./testing/rendered.ts";

const URL = "nats.enabled=false,nats.external.url=nats://nats.example.org:4222";

/** The NATS variables of a pod, and the files that its volumes hold: path → Secret and key. */
function credentials(pod: V1PodSpec) {
  const variables = Object.entries(environmentOf(pod)).filter(([name]) => name.startsWith("NATS_") && name !== "NATS_URL");
  const [container] = pod.containers;
  const files = (pod.volumes ?? []).flatMap(({ name, secret }) => {
    const mount = container?.volumeMounts?.find((candidate) => candidate.name === name);
    return (secret?.items ?? []).map(({ key, path }) => [`${mount?.mountPath}/${path}`, `${secret?.secretName}/${key}`]);
  });
  return { variables: Object.fromEntries(variables), files: Object.fromEntries(files) };
}

describe("a NATS that is not part of the release", () => {
  it("is what services and test are told of, and nothing of the release's own is left", async () => {
    const all = documents(await template("x", "--set", URL));
    for (const pod of [...pods(all), ...testPods(all)]) {
      expect(environmentOf(pod)["NATS_URL"]).toBe("nats://nats.example.org:4222");
    }
    expect(all.filter(({ metadata }) => metadata.name.includes("nats"))).toEqual([]);
    expect(only(testPods(all)).containers[0]?.args?.slice(-2)).toEqual(["--server", "nats://nats.example.org:4222"]);
  });

  it("has the copies and the room that the values say", async () => {
    const given = environment(documents(await template("millrace", "-f", EXTERNAL)), "millrace-monitor");
    expect(given).toMatchObject({ STREAM_REPLICAS: "3", STORE_SIZE: "100Gi" });
  });

  it("needs no volume to compare its store with", async () => {
    await template("x", "--set", `${URL},nats.maxFileStore=500Gi`);
  });
});

describe("the credentials for NATS", () => {
  const secret = "nats.auth.existingSecret=s";
  it.each([
    ["credsKey=a.creds", { NATS_CREDS_FILE: "/etc/nats-auth/creds" }, { "/etc/nats-auth/creds": "s/a.creds" }],
    ["tokenKey=t", { NATS_TOKEN_FILE: "/etc/nats-auth/token" }, { "/etc/nats-auth/token": "s/t" }],
    ["nkeyKey=n", { NATS_NKEY_FILE: "/etc/nats-auth/nkey" }, { "/etc/nats-auth/nkey": "s/n" }],
    [
      "user=$(u),nats.auth.passwordKey=p",
      { NATS_USER: "$$(u)", NATS_PASSWORD_FILE: "/etc/nats-auth/password" },
      { "/etc/nats-auth/password": "s/p" },
    ],
  ])("%s is a file of every pod that talks to NATS", async (setting, variables, files) => {
    const all = documents(await template("x", "--set", `${URL},${secret},nats.auth.${setting}`));
    const found = [...pods(all), ...testPods(all)];
    expect(found).toHaveLength(3);
    for (const pod of found) expect(credentials(pod)).toEqual({ variables, files });
  });

  it("are for the release's own NATS too, whose pod has none of them", async () => {
    const all = documents(await template("x", "--set", `${secret},nats.auth.tokenKey=t`));
    expect(credentials(deployedPod(all, "x-millrace-monitor")).files).toEqual({ "/etc/nats-auth/token": "s/t" });
    const server = byName<V1StatefulSet>(all, "StatefulSet", "x-millrace-nats").spec?.template.spec;
    expect(server?.volumes?.map(({ name }) => name)).toEqual(["config"]);
  });

  it("may be certificates: an authority to trust, and one to show", async () => {
    const trust = documents(await template("x", "--set", `${URL},nats.tls.existingSecret=s`));
    expect(credentials(deployedPod(trust, "x-millrace-monitor"))).toEqual({
      variables: { NATS_TLS_CA_FILE: "/etc/nats-tls/ca.crt" },
      files: { "/etc/nats-tls/ca.crt": "s/ca.crt" },
    });
    const keys = "nats.tls.existingSecret=s,nats.tls.caKey=,nats.tls.certKey=c,nats.tls.keyKey=k";
    const show = documents(await template("x", "--set", `${URL},${keys}`));
    expect(credentials(deployedPod(show, "x-millrace-monitor"))).toEqual({
      variables: { NATS_TLS_CERT_FILE: "/etc/nats-tls/tls.crt", NATS_TLS_KEY_FILE: "/etc/nats-tls/tls.key" },
      files: { "/etc/nats-tls/tls.crt": "s/c", "/etc/nats-tls/tls.key": "s/k" },
    });
  });

  it("are told of in variables that the services know", async () => {
    for (const pod of pods(documents(await template("millrace", "-f", EXTERNAL)))) {
      expect(Object.keys(natsEnv)).toEqual(expect.arrayContaining(Object.keys(credentials(pod).variables)));
    }
  });
});

describe("the server of the release", () => {
  it("reads what a user adds to its configuration, and starts anew when that changes", async () => {
    const server = async (...args: string[]) => {
      const all = documents(await template("x", ...args));
      const { data } = byName<{ data: { [file: string]: string } }>(all, "ConfigMap", "x-millrace-nats");
      const annotations = byName<V1StatefulSet>(all, "StatefulSet", "x-millrace-nats").spec?.template.metadata?.annotations;
      return { config: data["nats.conf"], checksum: annotations?.["checksum/config"] };
    };
    const plain = await server();
    const extended = await server("--set-literal", 'nats.extraConfig=authorization { token: "$2a$11$x" } # {{ no }}\n');
    expect(extended.config).toBe(`${plain.config}\nauthorization { token: "$2a$11$x" } # {{ no }}\n`);
    expect(extended.checksum).not.toBe(plain.checksum);
  });
});

describe("contradictions are refused:", () => {
  it.each([
    ["nats.enabled=false", "nats.enabled is false, so nats.external.url must say which NATS to use"],
    ["nats.external.url=nats://a:4222", "nats.external.url is nats://a:4222, but nats.enabled is true"],
    ["nats.external.url=nats://me:secret@a:4222,nats.enabled=false", "at '/nats/external/url'"],
    ["nats.external.url=http://a:4222,nats.enabled=false", "at '/nats/external/url'"],
    ["nats.auth.existingSecret=s", "nats.auth: existingSecret and exactly one of"],
    ["nats.auth.credsKey=c", "nats.auth: existingSecret and exactly one of"],
    ["nats.auth.existingSecret=s,nats.auth.credsKey=c,nats.auth.tokenKey=t", "nats.auth: existingSecret and exactly one of"],
    ["nats.auth.existingSecret=s,nats.auth.passwordKey=p", "nats.auth: user and passwordKey belong together"],
    ["nats.auth.user=u", "nats.auth: user and passwordKey belong together"],
    ["nats.tls.existingSecret=s,nats.tls.caKey=", "nats.tls.existingSecret is set, but neither caKey nor certKey"],
    ["nats.tls.existingSecret=s,nats.tls.certKey=c", "nats.tls: certKey and keyKey belong together"],
  ])("%s", async (setting, message) => {
    expect(await refusal("--set", setting)).toContain(message);
  });
});
