import { type Context, defineWorker, NonRetryable, RetryLater, type Worker } from "@millrace/worker";
import { z } from "zod";
import { IMAGE_FORMATS, type ImageFormat } from "../image-store/image-format.ts";
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
 * bytes, so that another attempt overwrites the object; its publish is the same message to the stream. Of one message there is one object, also when
 * the origin changes its mind about the format.
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
      const kept = await storedOtherwise(store, ctx, format);
      const key = originalKey(ctx.id, kept ?? format);
      if (kept === undefined) await store.put({ key, bytes, contentType: format.contentType, signal });
      // Of each object a message of its own: it must never be taken for that of another one.
      await ctx.publish(NEXT_SUBJECT, { r2_key: key }, { id: (kept ?? format).name });
      if (kept === undefined) ctx.log.info("image.downloaded", { key, bytes: bytes.byteLength });
      else ctx.log.info("image.kept", { key, now: format.name });
    },
  });
}

/**
 * The other format in which an earlier attempt has stored the image, for an origin that gives now this and now that. That object stays and is the one
 * to announce: it may have been announced already, and a second one would be the same image twice.
 */
async function storedOtherwise(
  store: ObjectStore,
  { id, attempt, signal }: Pick<Context, "id" | "attempt" | "signal">,
  format: ImageFormat,
): Promise<ImageFormat | undefined> {
  if (attempt === 1) return undefined;
  for (const other of IMAGE_FORMATS) {
    if (other.name !== format.name && (await store.has({ key: originalKey(id, other), signal }))) return other;
  }
  return undefined;
}
