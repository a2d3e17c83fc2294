import { defineWorker, NonRetryable, type Worker } from "@millrace/worker";
import { z } from "zod";
import { isOriginalKey, resizedKey } from "../image-store/object-key.ts";
import type { ObjectStore } from "../image-store/object-store.ts";
import { type ThumbnailLimits, thumbnail } from "./thumbnail.ts";

const resizeMessage = z.object({
  r2_key: z.string().refine(isOriginalKey, "must be the key of an object below images/"),
});

export interface ResizeLimits extends ThumbnailLimits {
  readonly maxBytes: number;
}

/** `image-downloaded`: makes of `images/<name>` the object `images_resized/<name>`; again, and it is overwritten with the same. */
export function imageResize({ store, limits }: { readonly store: ObjectStore; readonly limits: ResizeLimits }): Worker {
  return defineWorker({
    queue: "image-resize",
    schema: resizeMessage,
    // One image may take most of the container's memory.
    concurrency: 1,
    timeout: "3m",
    async handler({ data, signal, log }) {
      const source = data.r2_key;
      const found = await store.get({ key: source, limitBytes: limits.maxBytes, signal });
      if (found.kind === "missing") throw new NonRetryable(`the object ${source} does not exist`);
      if (found.kind === "too-large") {
        throw new NonRetryable(`the object ${source} is larger than ${found.limitBytes} bytes (MAX_IMAGE_BYTES)`);
      }
      const small = await thumbnail(found.bytes, limits);
      if (small.kind === "refused") throw new NonRetryable(`${source}: ${small.reason}`);
      const { bytes, format, width, height } = small;
      const key = resizedKey(source);
      await store.put({ key, bytes, contentType: format.contentType, signal });
      log.info("image.resized", { key, width, height, bytes: bytes.byteLength });
    },
  });
}
