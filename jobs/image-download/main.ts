import { run } from "@millrace/worker";
import { ObjectStore } from "../image-store/object-store.ts";
import { settingsOrExit } from "../image-store/settings.ts";
import { AddressRules } from "./address-rules.ts";
import { guardedAgent } from "./guarded-agent.ts";
import { imageDownload } from "./image-download.ts";
import { ImageOrigin } from "./image-origin.ts";
import { downloadSettings } from "./settings.ts";

const settings = settingsOrExit(downloadSettings, process.env);
const rules = new AddressRules({ allowed: settings.ALLOWED_NETWORKS, blocked: settings.BLOCKED_NETWORKS });
const origin = new ImageOrigin({ agent: guardedAgent({ rules }), maxBytes: settings.MAX_IMAGE_BYTES });
await run(imageDownload({ origin, store: new ObjectStore(settings) }));
