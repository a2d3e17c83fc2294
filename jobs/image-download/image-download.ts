import { defineWorker, NonRetryable, RetryLater, type Worker } from "@millrace/worker";
import { z } from "zod";
import { originalKey } from "../image-store/object-key.ts";
import type { ObjectStore } from "../image-store/object-store.ts";
import type { ImageOrigin } from "./image-origin.ts";
import { messageHeaders } from "./request-headers.ts";

const LONGEST_URL = 8_192;
const NEXT_SUBJECT = "image-downloaded";

const downloadMessage = z.object({
  url: z.string().min(1).max(LONGEST_URL),
  headers: messageHeaders.default({}),
});

/**
 * `image-download`: gets an image, stores it as `images/<name><ext>` and says so. The name comes from the message's id and the extension from the
 * bytes, so that another attempt overwrites the object; its publish is the same message to the stream.
 */
export function imageDownload({ origin, store }: { readonly origin: ImageOrigin; readonly store: ObjectStore }): Worker {
  return defineWorker({
    queue: "image-download",
    schema: downloadMessage,
    concurrency: 4,
    async handler(ctx) {
      const { data, signal } = ctx;
      const download = await origin.download({ ...data, signal });
      if (download.kind === "refused") throw new NonRetryable(download.reason);
      if (download.kind === "later") throw new RetryLater(download.afterMs, download.reason);
      const { bytes, format } = download;
      const key = originalKey(ctx.id, format);
      await store.put({ key, bytes, contentType: format.contentType, signal });
      await ctx.publish(NEXT_SUBJECT, { r2_key: key });
      ctx.log.info("image.downloaded", { key, bytes: bytes.byteLength });
    },
  });
}
