import { z } from "zod";
import { MAX_IMAGE_BYTES } from "../image-store/settings.ts";
import { storeSettings } from "../image-store/store-settings.ts";
import { parseNetwork } from "./address-rules.ts";

const networkList = z
  .string()
  .default("")
  .transform((text) =>
    text
      .split(",")
      .map((entry) => entry.trim())
      .filter((entry) => entry !== ""),
  )
  .refine(
    (list) => list.every((entry) => parseNetwork(entry) !== undefined),
    "must be networks such as 10.0.0.0/8, fd00::/8, comma-separated",
  );

export const downloadSettings = z.intersection(
  storeSettings,
  z.object({
    MAX_IMAGE_BYTES,
    /** Networks that may be dialled though they are not public: CIDRs, comma-separated. */
    ALLOWED_NETWORKS: networkList,
    /** Networks that may not be dialled though they are public, such as those of the cluster. */
    BLOCKED_NETWORKS: networkList,
  }),
);
