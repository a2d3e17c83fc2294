import type { V1Pod } from "@kubernetes/client-node";
import type { App } from "cdk8s";
import { inFile, when } from "../helm/documents.ts";
import { manifest } from "../helm/templated.ts";
import { named, part, productImage, RESTRICTED_CONTAINER, RESTRICTED_POD, unexpanded } from "../release.ts";
import { v } from "../values.ts";
import { natsClientEnvironment, natsClientMounts, natsClientVolumes, natsUrl } from "./nats-client.ts";

/** `helm test`: a message goes the whole way, and its job has to succeed. */
export function test(app: App): void {
  const chart = part(app, "test");
  inFile(chart, "tests/job");
  when(chart, v.test.enabled);
  manifest<V1Pod>(chart, "pod", {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: named("test"),
      annotations: {
        "helm.sh/hook": "test",
        // A test that failed stays, with its log, until the next one.
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
      },
    },
    spec: {
      restartPolicy: "Never",
      activeDeadlineSeconds: 300,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      imagePullSecrets: v.global.imagePullSecrets,
      securityContext: RESTRICTED_POD,
      containers: [
        {
          name: "publish",
          image: productImage,
          imagePullPolicy: v.image.pullPolicy,
          args: [
            "cli",
            "pub",
            unexpanded(v.test.subject),
            unexpanded(v.test.body),
            "--wait",
            "--timeout",
            "2m",
            "--server",
            unexpanded(natsUrl),
          ],
          env: natsClientEnvironment(),
          resources: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } },
          securityContext: RESTRICTED_CONTAINER,
          volumeMounts: [{ name: "tmp", mountPath: "/tmp" }, ...natsClientMounts()],
        },
      ],
      volumes: [{ name: "tmp", emptyDir: {} }, ...natsClientVolumes()],
    },
  });
}
