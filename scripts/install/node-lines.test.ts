import { expect, it } from "vitest";
import { nodeComplaints } from "./node-lines.ts";

const metadata = { name: "node1" };
const ready = { type: "Ready", status: "True" };

it("has nothing to say of a node that is well", () => {
  expect(nodeComplaints({ metadata, status: { conditions: [ready, { type: "DiskPressure", status: "False" }] } })).toEqual([]);
});

it("says why a node is not Ready", () => {
  const conditions = [
    { type: "Ready", status: "Unknown", reason: "NodeStatusUnknown", message: "Kubelet stopped posting node status." },
  ];
  expect(nodeComplaints({ metadata, status: { conditions } })).toEqual([
    "is not Ready: NodeStatusUnknown, Kubelet stopped posting node status.",
  ]);
  expect(nodeComplaints({ metadata })).toEqual(["is not Ready: it has not said anything yet"]);
});

it("tells of pressure and of a cordon", () => {
  const pressure = { type: "DiskPressure", status: "True", reason: "KubeletHasDiskPressure" };
  expect(nodeComplaints({ metadata, spec: { unschedulable: true }, status: { conditions: [ready, pressure] } })).toEqual([
    "has DiskPressure: KubeletHasDiskPressure",
    "takes no new pods: it is cordoned",
  ]);
});
