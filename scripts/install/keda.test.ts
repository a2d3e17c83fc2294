import { expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { withLocalImages } from "./keda.ts";

const manifests = `apiVersion: v1
kind: Namespace
metadata: {name: keda}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: keda-metrics-apiserver}
spec:
  replicas: 1
  template:
    metadata: {labels: {app: x}}
    spec:
      serviceAccountName: keda
      containers:
        - {name: c, image: "ghcr.test/kedacore/keda-metrics-apiserver:main", imagePullPolicy: Always, args: [a]}
`;

it("takes each image of KEDA's from the node instead of a registry, and leaves everything else as it is", () => {
  const [namespace, deployment] = parseAllDocuments(withLocalImages(manifests, "2.21.0")).map((document) => document.toJS());
  expect(namespace).toEqual({ apiVersion: "v1", kind: "Namespace", metadata: { name: "keda" } });
  expect(deployment.spec.replicas).toBe(1);
  expect(deployment.spec.template.spec).toEqual({
    serviceAccountName: "keda",
    containers: [{ name: "c", image: "localhost/keda-metrics-apiserver:2.21.0", imagePullPolicy: "IfNotPresent", args: ["a"] }],
  });
});

it("refuses an image that it does not build, instead of leaving a pod that can never start", () => {
  expect(() => withLocalImages(manifests.replace("keda-metrics-apiserver:main", "keda-new-part:main"), "2.21.0")).toThrow(
    /keda-new-part/,
  );
});
