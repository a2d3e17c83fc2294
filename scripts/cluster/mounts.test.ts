import { expect, it } from "vitest";
import { mountsBelow } from "./mounts.ts";

const mountinfo = `22 1 0:20 / / rw - ext4 /dev/vda rw
30 22 0:40 / /s/clusters/millrace/kubelet/pods/1/volumes/token rw - tmpfs tmpfs rw
31 22 0:41 / /s/clusters/millrace/with\\040space rw - tmpfs tmpfs rw
32 22 0:42 / /s/clusters/millrace-e2e/kubelet rw - tmpfs tmpfs rw
33 30 0:43 / /s/clusters/millrace/kubelet/pods/1/volumes/token/inner rw - tmpfs tmpfs rw
`;

it("lists the mounts below a folder, the latest first, and not those of a folder whose name begins alike", () => {
  expect(mountsBelow("/s/clusters/millrace", mountinfo)).toEqual([
    "/s/clusters/millrace/kubelet/pods/1/volumes/token/inner",
    "/s/clusters/millrace/with space",
    "/s/clusters/millrace/kubelet/pods/1/volumes/token",
  ]);
});
