import about from "../../package.json" with { type: "json" };

/** Of the image that runs. */
export const VERSION = about.version;
