import { z } from "zod";
import { MAX_IMAGE_BYTES, wholeNumber } from "../image-store/settings.ts";
import { storeSettings } from "../image-store/store-settings.ts";

/** Of what a container of 512Mi decodes in the worst of the formats' ways: a progressive JPEG of 49 megapixels takes 300 MB. */
const DEFAULT_PIXELS = 50_000_000;
const MOST_PIXELS = 1_000_000_000;

export const resizeSettings = z.intersection(
  storeSettings,
  z.object({ MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS: wholeNumber(MOST_PIXELS).default(DEFAULT_PIXELS) }),
);
