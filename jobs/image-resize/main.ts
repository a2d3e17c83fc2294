import { run } from "@millrace/worker";
import { ObjectStore } from "../image-store/object-store.ts";
import { settingsOrExit } from "../image-store/settings.ts";
import { imageResize } from "./image-resize.ts";
import { resizeSettings } from "./settings.ts";

const settings = settingsOrExit(resizeSettings, process.env);
const limits = { maxBytes: settings.MAX_IMAGE_BYTES, maxPixels: settings.MAX_IMAGE_PIXELS };
await run(imageResize({ store: new ObjectStore(settings), limits }));
